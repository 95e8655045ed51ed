"""Checkpoints without pickle, and a guarded way to open RecBole's own.

Ours is a ``torch.save`` archive of tensors, numbers and text that ``torch.load(weights_only=True)`` opens; the settings
travel inside as JSON and stand beside the file for people to read. RecBole's own hold a pickled ``Config``, which
torch >= 2.6 refuses; they are opened with an unpickler that knows only the classes such a file needs.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pickle
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from recbole_mind.errors import InputError, require
from recbole_mind.files import write_atomic
from recbole_mind.settings import known_keys, plain, to_json

FORMAT = "recbole-mind checkpoint"
VERSION = 1
_BLOCK = 2**20  # samples that are hashed at once
_PICKLE_NAMES = {("builtins", name) for name in ("set", "frozenset", "slice", "complex", "bytearray")} | {
    ("collections", "OrderedDict"), ("torch", "device"), ("torch", "Size"), ("_codecs", "encode"),
    ("yaml.loader", "FullLoader"), ("recbole.config.configurator", "Config"),
}  # fmt: skip
_PICKLE_LIBRARIES = ("torch", "numpy", "scipy", "recbole", "recbole_mind")
_DERIVED = {
    "MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "device", "single_spec", "local_rank", "nproc", "world_size",
    "offset", "ip", "port", "gpu_id", "valid_neg_sample_args", "test_neg_sample_args", "config_files",
}  # fmt: skip


def settings_of(config: Any) -> dict[str, Any]:
    """Every setting in force in RecBole's ``config``, as plain values that build the same ``Config`` again."""
    known = known_keys(config["model"]) - _DERIVED  # models add keys of their own while they are built
    settings = {key: value for key, value in config.final_config_dict.items() if key in known}
    path = Path(str(settings["data_path"]))
    settings["data_path"] = "dataset/" if settings["dataset"] == "ml-100k" else str(path.parent)
    negatives = settings.get("train_neg_sample_args")
    if negatives and negatives.get("distribution") == "none":
        settings["train_neg_sample_args"] = None
    result: dict[str, Any] = plain(settings)
    return result


def save(path: str | Path, state: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write a checkpoint atomically, and its settings beside it as ``<path>.json``."""
    whole = {
        "format": FORMAT,
        "version": VERSION,
        "settings": json.dumps(settings, allow_nan=False),
        **{key: _encode(value, key) for key, value in state.items()},
    }
    write_atomic(path, lambda file: torch.save(whole, file))
    write_atomic(f"{path}.json", to_json(settings))


# -- what a checkpoint's data were ----------------------------------------------------------------------------------


def data_of(model: Any, dataset: Any) -> dict[str, Any]:
    """What a model was trained on.

    Args:
        model: of ours or of RecBole.
        dataset: the training part.

    Returns:
        ``tokens``, for each field whose values the rows of the model's tables stand for, a hash of its raw tokens in
        their order; and ``rows``, a hash of the training samples.
    """
    return {"tokens": {field: _tokens(dataset, field) for field in _numbered(model, dataset)}, "rows": _rows(dataset)}


def check_data(content: Mapping[str, Any], model: Any, dataset: Any, what: str, *, resumed: bool = False) -> None:
    """Refuse a checkpoint whose rows would stand for other tokens in ``dataset``; every way in asks here.

    Args:
        content: as :func:`load` returns it.
        model: that it is for.
        dataset: that the model is to be used on; the training part, where training goes on.
        what: names the checkpoint in messages.
        resumed: whether training goes on, which needs the same samples too.

    Raises:
        InputError: a field has other values or has them in another order, or the samples are others.
    """
    name, then = dataset.dataset_name, content.get("data") or {}
    wrong = (
        f"of '{name}' has other values or another order now than when {what} was trained: its rows would stand for the "
        "wrong ones; train again"
    )
    if not then and content.get("tokens"):  # as 0.1.0 wrote it: one hash of items and features
        require(content["tokens"] == _tokens_together(dataset), f"'{dataset.iid_field}' or a feature {wrong}")
    for field in _numbered(model, dataset) if then else ():
        known = then["tokens"].get(field)
        require(known in (None, _tokens(dataset, field)), f"'{field}' {wrong}")
    if resumed and then:
        same = then["rows"] == _rows(dataset)
        require(same, f"'{name}' holds other interactions, or is split otherwise, than when {what} was trained: its "
                "figures and the new ones would be of different data; train again")  # fmt: skip


def _numbered(model: Any, dataset: Any) -> list[str]:
    """The fields whose ids are rows of a model's tables: of RecBole's models all, but for users without a table."""
    if str(type(model).__module__).startswith("recbole_mind."):
        return [dataset.iid_field, *(dataset.config["item_features"] or []), *(dataset.config["user_features"] or [])]
    sizes = {part.num_embeddings for part in model.modules() if isinstance(part, torch.nn.Embedding)}
    context = dataset.config["MODEL_TYPE"].name in ("CONTEXT", "DECISIONTREE")
    users = context or dataset.user_num in sizes or not sizes
    suffix = dataset.config["LIST_SUFFIX"]
    fields = [field for field in dataset.field2id_token if not field.endswith(suffix)]
    return sorted(str(field) for field in fields if users or field != dataset.uid_field)  # numpy's, some of them


def _tokens(dataset: Any, field: str) -> str:
    text = "\n".join([*map(str, dataset.field2id_token[field]), "\n"])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _tokens_together(dataset: Any) -> str:
    digest = hashlib.sha256()
    features = [*(dataset.config["item_features"] or []), *(dataset.config["user_features"] or [])]
    for field in (dataset.iid_field, *features):
        digest.update("\n".join([*map(str, dataset.field2id_token[field]), "\n"]).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _rows(dataset: Any) -> str:
    """A hash of users, items and lengths of history of a data set's samples, in their order."""
    digest, rows = hashlib.sha256(), dataset.inter_feat
    for field in (dataset.uid_field, dataset.iid_field, getattr(dataset, "item_list_length_field", None)):
        if field is not None and field in rows.columns:
            values = rows[field].numpy()
            for start in range(0, len(values), _BLOCK):
                digest.update(np.ascontiguousarray(values[start : start + _BLOCK], "<i8").tobytes())
    return digest.hexdigest()


# -- reading and writing --------------------------------------------------------------------------------------------


def load(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Open a checkpoint of ours or of RecBole.

    Returns:
        its content: ``state_dict``, ``other_parameter``, ``optimizer``, ``epoch``, ``cur_step``, ``best_valid_score``,
        ``best_valid_result`` (``None`` in RecBole's) and ``settings``.

    Raises:
        InputError: the file is missing, truncated, corrupt, of another version, or no checkpoint at all.
    """
    if not os.path.isfile(path):
        raise InputError(f"checkpoint '{path}' does not exist")
    try:
        with open(path, "rb") as file:
            content = torch.load(file, map_location=device, weights_only=True)
    except pickle.UnpicklingError:
        content = _load_pickled(path, device)
    except OSError as error:
        raise InputError(f"checkpoint '{path}' cannot be read: {error.strerror}") from None
    except Exception:
        raise InputError(f"checkpoint '{path}' is truncated or corrupt; train again or use another file") from None
    if not isinstance(content, dict) or "state_dict" not in content:
        raise InputError(f"'{path}' is not a checkpoint of recbole-mind or RecBole")
    if content.get("format") == FORMAT:
        if content.get("version") != VERSION:
            found = content.get("version")
            raise InputError(f"checkpoint '{path}' has format version {found}; this release reads version {VERSION}")
        needed = {"settings", "state_dict", "optimizer", "epoch", "cur_step", "best_valid_score", "best_valid_result"}
        try:
            stored = json.loads(content["settings"])
            missing = (needed - set(content)) | ({"model", "dataset"} - set(stored))
        except (KeyError, TypeError, ValueError):
            missing = {"settings"}
        if missing:
            raise InputError(f"checkpoint '{path}' is corrupt: it lacks {', '.join(sorted(missing))}")
        return {key: _decode(value) for key, value in content.items()} | {"settings": stored}
    config = content.get("config")
    if not hasattr(config, "final_config_dict"):
        raise InputError(f"'{path}' holds no settings: it is not a checkpoint of recbole-mind or RecBole")
    stored = settings_of(config)
    if stored.get("metric_decimal_place") == 4:
        stored["metric_decimal_place"] = None  # RecBole's default, which nobody asked for
    return {"best_valid_result": None} | content | {"settings": stored}


def restore(model: Any, content: dict[str, Any]) -> None:
    """Load a checkpoint's weights into ``model``.

    Raises:
        InputError: the weights are of another model or other settings.
    """
    try:
        model.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        first = str(error).splitlines()[1 if "\n" in str(error) else 0].strip()
        raise InputError(f"the checkpoint does not fit this model and data: {first}") from None
    model.load_other_parameter(content.get("other_parameter"))


def _load_pickled(path: str | Path, device: torch.device | str) -> Any:
    """Open RecBole's own file; only classes of torch, numpy and RecBole come to life."""
    module = ModuleType("guarded_pickle")
    vars(module).update(Unpickler=_Unpickler, load=lambda file, **kwargs: _Unpickler(file, **kwargs).load())
    try:
        with open(path, "rb") as file:
            return torch.load(file, map_location=device, weights_only=False, pickle_module=module)
    except _RefusedError as error:
        raise InputError(f"'{path}' is refused: it would run {error}, which no checkpoint of RecBole needs") from None
    except Exception:
        raise InputError(f"checkpoint '{path}' is truncated, corrupt or not a checkpoint") from None


class _RefusedError(Exception):
    pass


class _Unpickler(pickle.Unpickler):
    """Know only what RecBole's checkpoints are made of: tensors, arrays, and its own settings and model classes."""

    def find_class(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module
        if (module, name) in _PICKLE_NAMES:
            return super().find_class(module, name)
        if module.partition(".")[0] in _PICKLE_LIBRARIES:
            found = super().find_class(module, name)
            if _is_data(module, name, found):
                return found
        raise _RefusedError(f"{module}.{name}")


def _is_data(module: str, name: str, found: Any) -> bool:
    """Whether a class or function of torch, numpy or RecBole only builds data."""
    if module == "torch._utils":
        return name.startswith("_rebuild")
    if module.startswith("scipy.sparse."):
        return isinstance(found, type) and name.endswith(("_matrix", "_array"))
    if module.endswith("core.multiarray"):
        return name in ("_reconstruct", "scalar")
    data = (np.generic, np.dtype, Enum, torch.nn.Module, torch.storage.TypedStorage, torch.storage.UntypedStorage)
    return isinstance(found, type) and (issubclass(found, data) or found is np.ndarray)


# -- model-specific parameters that are not tensors ---------------------------------------------------------------


def _encode(value: Any, key: str) -> Any:
    """Turn what RecBole's models keep in ``other_parameter`` into tensors and plain values."""
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, torch.Tensor)):
        return value
    if isinstance(value, np.ndarray) and value.dtype != object:
        return {"__numpy__": torch.from_numpy(np.ascontiguousarray(value))}
    if isinstance(value, dict):
        return {k: _encode(v, f"{key}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_encode(v, key) for v in value)
    if hasattr(value, "tocoo"):
        coo = value.tocoo()
        return {
            "__scipy__": value.format,
            "shape": tuple(value.shape),
            **{name: torch.from_numpy(np.ascontiguousarray(getattr(coo, name))) for name in ("row", "col", "data")},
        }
    raise InputError(f"'{key}' of the model is a {type(value).__name__}, which a checkpoint cannot hold")


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if "__numpy__" in value:
            return value["__numpy__"].cpu().numpy()
        if "__scipy__" in value:
            sparse = importlib.import_module("scipy.sparse")
            row, col, data = (value[name].cpu().numpy() for name in ("row", "col", "data"))
            return sparse.coo_matrix((data, (row, col)), shape=value["shape"]).asformat(value["__scipy__"])
        return {k: _decode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_decode(v) for v in value)
    return value
