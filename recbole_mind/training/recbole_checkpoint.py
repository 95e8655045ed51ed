"""RecBole's own checkpoints, which are pickles of live objects, read without any of them coming to life.

A pickle names classes and functions, imports and calls them. Here nothing is imported and nothing called: each name
that such a file needs, and no other, stands for a :class:`_Record` that keeps what it is given. When all is read,
records of tensors, arrays and matrices are made into such, checked against the bytes that are there, settings are taken
out of RecBole's ``Config``, and what a record cannot become (a model's class, a data set) is left out.
"""

from __future__ import annotations

import importlib
import io
import math
import pickle
import re
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch

from recbole_mind.config.keys import recbole_folder
from recbole_mind.config.model_names import models
from recbole_mind.training.archive import Archive, BadArchiveError, RefusedError

BUDGET = 50_000_000  # values and characters that a file may come to; a list that stands twice counts twice
WHOLE = 2**63  # numbers beyond are none of a checkpoint's
DEPTH = 100  # of what is in each other
SIDE = 2**27  # rows or columns of a matrix: some of its forms keep a number for each
_DTYPES = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool,
}  # fmt: skip
STORAGES = frozenset(f"torch {name}Storage" for name in _DTYPES)
_NUMBERS = re.compile("[<|=]?(b1|[iu][1248]|f[248])")
_MATRIX = re.compile(r"scipy\.sparse\._?(csr|csc|coo|lil) \1_matrix")
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_KINDS = {  # the names of the list, and what becomes of them
    "torch._utils _rebuild_tensor_v2": "tensor", "torch._utils _rebuild_parameter": "parameter",
    **dict.fromkeys((f"{module} _reconstruct" for module in _NUMPY), "array"),
    **dict.fromkeys((f"{module} scalar" for module in _NUMPY), "scalar"),
    "numpy dtype": "dtype", "_codecs encode": "bytes",
    "collections OrderedDict": "items", "collections defaultdict": "items", "torch Size": "first",
    "builtins set": "set", "recbole.config.configurator Config": "config",
    # what is left out
    **dict.fromkeys((
        "numpy ndarray", "numpy matrix", "builtins list", "yaml.loader FullLoader", "torch device",
        *(f"recbole.utils.enum_type {name}Type" for name in ("Model", "Input", "Evaluator", "Feature")),
        "recbole.utils.enum_type FeatureSource",
        # in the layers of features that GRU4RecF, SASRecF, FDSA, DIN and DIEN keep with the whole data set
        "logging getLogger", "recbole.data.interaction Interaction",
        "recbole.data.dataset.sequential_dataset SequentialDataset", "recbole.model.layers FMEmbedding",
        "recbole.model.layers FeatureSeqEmbLayer", "recbole.model.layers ContextSeqEmbLayer",
        "torch.nn.modules.container ModuleDict", "torch.nn.modules.container ModuleList",
        "torch.nn.modules.sparse Embedding", "recbole_mind.data.counts Counts",
        "recbole_mind.data.dataset SequentialDataset", "recbole_mind.data.dataset TokenIds",
        "recbole_mind.data.interaction LazyInteraction", "recbole.data.dataset.customized_dataset DIENDataset",
        "recbole.sampler.sampler SeqSampler",
        *(f"recbole_mind.data.history_store {name}" for name in ("History", "Length", "Samples", "Store", "Target")),
        # as they were called before the package had rooms
        "recbole_mind.data_counts Counts", "recbole_mind.dataset SequentialDataset", "recbole_mind.dataset TokenIds",
        "recbole_mind.interactions LazyInteraction",
        *(f"recbole_mind.sequences {name}" for name in ("History", "Length", "Samples", "Store", "Target")),
        *(f"recbole_mind.{place}" for place in ("mind MIND", "comirec ComiRecSA", "comirec ComiRecDR",
                                                "youtube_dnn YouTubeDNN")),
    ), "left out"),
}  # fmt: skip


def read(archive: Archive, device: torch.device | str) -> dict[str, Any]:
    """The content of an archive that RecBole's trainer wrote.

    Returns:
        what it holds, in plain values, tensors, arrays and matrices; under ``config`` the settings in force, or none.

    Raises:
        RefusedError: it names what no checkpoint of RecBole needs.
        BadArchiveError: it is damaged, or its parts do not belong together.
    """
    try:
        found = _Unpickler(archive).load()
        if not isinstance(found, dict):
            raise BadArchiveError("is not a checkpoint of recbole-mind or RecBole")
        return {str(key): value for key, value in _Reader(archive, torch.device(device)).value(found).items()}
    except BadArchiveError:
        raise
    except Exception:  # pickle, numpy, scipy and torch have no common word
        raise BadArchiveError("is truncated, corrupt or not a checkpoint") from None


def _kinds() -> dict[str, type[_Record]]:
    """Every name that a checkpoint may hold, ``module name``, and the class of its records."""
    return _kinds_with(tuple(models().items()))


@cache
def _kinds_with(targets: tuple[tuple[str, str], ...]) -> dict[str, type[_Record]]:
    known = dict(_KINDS) | dict.fromkeys(STORAGES, "storage")
    for path in (recbole_folder() / "model").glob("*_recommender/*.py"):  # a model's class, which Config names
        for name in re.findall(r"^class (\w+)\(", path.read_text("utf-8"), re.MULTILINE):
            known[f"recbole.model.{path.parent.name}.{path.stem} {name}"] = "left out"
    for name, target in targets:
        module, _, attribute = target.partition(":")
        known[f"{module} {attribute or name}"] = "left out"
    for form in ("csr", "csc", "coo", "lil"):
        known |= dict.fromkeys((f"scipy.sparse.{mark}{form} {form}_matrix" for mark in ("", "_")), "matrix")
    return {
        name: type("Record", (_Record,), {"__slots__": (), "kind": kind, "name": name}) for name, kind in known.items()
    }


class _Record:
    """What a file would have made: by which name, of which arguments, with which state and items."""

    __slots__ = ("args", "items", "state")
    kind: ClassVar[str]
    name: ClassVar[str]
    args: tuple[Any, ...]
    state: Any
    items: list[tuple[Any, Any]]

    def __new__(cls, *args: Any) -> _Record:
        record = super().__new__(cls)
        record.args, record.state, record.items = args, None, []
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))


class _Unpickler(pickle.Unpickler):
    """Know the names of the list, each as a class of records; import nothing."""

    def __init__(self, archive: Archive) -> None:
        super().__init__(io.BytesIO(archive.read("data.pkl")), encoding="utf-8")

    def find_class(self, module: str, name: str) -> Any:
        module = {"__builtin__": "builtins"}.get(module, module)
        try:
            return _kinds()[f"{module} {name}"]
        except KeyError:
            raise RefusedError(f"{module}.{name}") from None

    def persistent_load(self, saved: Any) -> Any:
        return _kinds()["torch ByteStorage"](saved)  # any class of storages: the reader asks what it was given


class _Reader:
    """Make plain values, tensors, arrays and matrices of what was unpickled."""

    def __init__(self, archive: Archive, device: torch.device) -> None:
        self._archive, self._device = archive, device
        self._storages: dict[str, tuple[torch.dtype, Any]] = {}
        self._left = BUDGET

    def value(self, found: Any, depth: int = 0) -> Any:
        self._left -= 1 + (len(found) if isinstance(found, (str, bytes)) else 0)
        if self._left < 0 or depth > DEPTH:
            raise BadArchiveError("is corrupt: it comes to more than a checkpoint holds")
        if isinstance(found, _Record):
            return getattr(self, f"_{found.kind.replace(' ', '_')}")(found, depth + 1)
        if isinstance(found, dict):
            return self._dict(found.items(), depth)
        if isinstance(found, (list, tuple, set, frozenset)):
            return type(found)(self.value(item, depth + 1) for item in found)
        if isinstance(found, int) and abs(found) >= WHOLE:
            raise BadArchiveError("is corrupt: it holds a number beyond 64 bits")
        if found is None or isinstance(found, (bool, int, float, str, bytes)):
            return found
        return None  # a name that is not called: the class of a model or of YAML's reader

    def _dict(self, items: Any, depth: int) -> dict[Any, Any]:
        return {self.value(key, depth + 1): self.value(value, depth + 1) for key, value in items}

    def _left_out(self, record: _Record, depth: int) -> None:
        return None

    _storage = _dtype = _left_out

    def _config(self, record: _Record, depth: int) -> dict[Any, Any] | None:
        """The settings in force, which the state of a ``Config`` holds beside those that it was made of."""
        settings = record.state.get("final_config_dict") if isinstance(record.state, dict) else None
        return self._dict(settings.items(), depth) if isinstance(settings, dict) else None

    def _items(self, record: _Record, depth: int) -> dict[Any, Any]:
        return self._dict(record.items, depth)

    def _first(self, record: _Record, depth: int) -> Any:
        (only,) = record.args
        return self.value(only, depth)

    def _set(self, record: _Record, depth: int) -> set[Any]:
        return set(self.value(list(record.args[0]) if record.args else [], depth))

    def _bytes(self, record: _Record, depth: int) -> bytes:
        """What pickle's protocol 2 writes bytes as."""
        text, codec = record.args
        if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
            raise BadArchiveError("is corrupt: its bytes are of an unknown form")
        return text.encode("latin1")

    # -- tensors -----------------------------------------------------------------------------------------------------

    def _parameter(self, record: _Record, depth: int) -> Any:
        return self.value(record.args[0], depth)

    def _tensor(self, record: _Record, depth: int) -> torch.Tensor:
        """A view of a storage, which lies in it whole and has no more elements than it."""
        storage, offset, size, stride = record.args[:4]
        dtype, content = self._bytes_of(storage)
        number = content.nbytes() // dtype.itemsize
        size, stride = (tuple(self.value(part, depth)) for part in (size, stride))
        numbers = (offset, *size, *stride)
        good = len(size) == len(stride) and all(type(part) is int and 0 <= part < WHOLE for part in numbers)
        empty = good and 0 in size
        last = 0 if empty or not good else offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if not good or (not empty and (last >= number or math.prod(size) > number)) or len(size) > 16:
            raise BadArchiveError("is corrupt: a tensor is larger than its bytes")
        if empty:
            return torch.empty(size, dtype=dtype, device=self._device)
        return torch.empty(0, dtype=dtype).set_(content, offset, size, stride).contiguous().to(self._device)

    def _bytes_of(self, record: Any) -> tuple[torch.dtype, Any]:
        saved = record.args[0] if isinstance(record, _Record) and record.kind == "storage" and record.args else None
        if not isinstance(saved, tuple) or len(saved) != 5 or not isinstance(saved[1], type):
            raise BadArchiveError("is corrupt: a tensor has no bytes")
        mark, kind, key, _, number = saved
        name = kind.name if issubclass(kind, _Record) else ""
        if mark != "storage" or name not in STORAGES or not isinstance(key, str) or type(number) is not int:
            raise BadArchiveError("is corrupt: a tensor's bytes are of an unknown kind")
        dtype = _DTYPES[name.removeprefix("torch ").removesuffix("Storage")]
        if key not in self._storages:
            content = bytearray(self._archive.read(f"data/{key}"))
            if len(content) != number * dtype.itemsize:
                raise BadArchiveError("is corrupt: a tensor is larger than its bytes")
            whole = torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
            self._storages[key] = dtype, whole.untyped_storage()
        known, found = self._storages[key]
        if known != dtype:
            raise BadArchiveError("is corrupt: a tensor's bytes are of two kinds")
        return dtype, found

    # -- arrays and matrices -----------------------------------------------------------------------------------------

    def _kind_of(self, record: Any) -> str:
        """What a record of ``numpy.dtype`` tells, such as ``f4``, of the machine's order; ``O`` is of plain values."""
        name = record.args[0] if isinstance(record, _Record) and record.kind == "dtype" and record.args else None
        state = record.state if name is not None and isinstance(record.state, tuple) else (3, "<")
        if not isinstance(name, str) or state[1] not in ("<", "|", "="):
            raise BadArchiveError("is corrupt: an array is of an unknown kind")
        text = re.fullmatch("U([0-9]{1,6})", name)
        if not (_NUMBERS.fullmatch(name) or text or name in ("O", "O8")):
            raise BadArchiveError("is corrupt: an array is of an unknown kind")
        return "O" if name[0] == "O" else name

    def _array(self, record: _Record, depth: int) -> Any:
        _, shape, dtype, by_column, content = record.state
        kind = self._kind_of(dtype)
        number = math.prod(shape) if all(type(part) is int and 0 <= part < WHOLE for part in shape) else -1
        if kind == "O":
            if not isinstance(content, list) or len(content) != number:
                raise BadArchiveError("is corrupt: an array is larger than its content")
            result = np.empty(number, object)
            for place, item in enumerate(content):
                result[place] = self.value(item, depth)
        else:
            content = self.value(content, depth) if isinstance(content, _Record) else content
            if not isinstance(content, bytes) or len(content) != number * np.dtype(kind).itemsize:
                raise BadArchiveError("is corrupt: an array is larger than its content")
            result = np.frombuffer(content, kind).copy()
        return result.reshape(shape, order="F" if by_column else "C")

    def _scalar(self, record: _Record, depth: int) -> Any:
        dtype, content = record.args
        kind = self._kind_of(dtype)
        content = self.value(content, depth)
        if kind == "O" or not isinstance(content, bytes) or len(content) != np.dtype(kind).itemsize:
            raise BadArchiveError("is corrupt: a number is larger than its content")
        return np.frombuffer(content, kind)[0].item()

    def _matrix(self, record: _Record, depth: int) -> Any:
        sparse = importlib.import_module("scipy.sparse")
        match = _MATRIX.fullmatch(record.name)
        state = self.value(record.state, depth)
        form, shape = match[1] if match else "", tuple(state["_shape"])
        if len(shape) != 2 or not all(type(part) is int and 0 <= part <= SIDE for part in shape):
            raise BadArchiveError("is corrupt: a matrix has no size")
        if form == "lil":
            rows, data = (list(state[key]) for key in ("rows", "data"))
            counts = [len(row) for row in rows]
            if len(rows) != shape[0] or counts != [len(row) for row in data]:
                raise BadArchiveError("is corrupt: a matrix is not of its size")
            places = np.repeat(np.arange(len(rows)), counts), np.array([n for row in rows for n in row], np.int64)
            values = np.array([value for row in data for value in row], np.float32 if not sum(counts) else None)
            made = sparse.coo_matrix((values, places), shape=shape).tolil()
        elif form == "coo":
            places = (state["row"], state["col"]) if "row" in state else tuple(state["coords"])
            made = sparse.coo_matrix((state["data"], places), shape=shape)
        else:
            made = getattr(sparse, f"{form}_matrix")((state["data"], state["indices"], state["indptr"]), shape=shape)
            made.check_format(full_check=True)  # scipy reads beyond the ends otherwise
        if made.dtype.kind not in "biuf":
            raise BadArchiveError("is corrupt: a matrix does not hold numbers")
        return made
