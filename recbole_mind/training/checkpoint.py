"""Checkpoints without pickled objects, and a way to open RecBole's own.

Ours is a ``torch.save`` archive of tensors, numbers and text that ``torch.load(weights_only=True)`` opens; the settings
travel inside as JSON and stand beside the file for people to read. RecBole's own hold a pickled ``Config``, which
torch >= 2.6 refuses; :mod:`recbole_mind.training.recbole_checkpoint` reads them without importing or calling what they
name.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import torch

from recbole_mind.config.in_force import values_in_force
from recbole_mind.config.model_names import is_ours
from recbole_mind.errors import InputError, require
from recbole_mind.training import recbole_checkpoint
from recbole_mind.training.archive import Archive, BadArchiveError, RefusedError
from recbole_mind.util.files import parse_json, write_atomic
from recbole_mind.util.json_text import to_json

FORMAT = "recbole-mind checkpoint"


VERSION = 1


_BLOCK = 2**20  # samples that are hashed at once


_MATRICES = ("csr", "csc", "coo", "lil", "dok")


# The names in the pickles of our own.
_OURS = recbole_checkpoint.STORAGES | {"torch._utils _rebuild_tensor_v2", "collections OrderedDict"}


_NEEDED = (
    "settings", "state_dict", "optimizer", "epoch", "cur_step", "best_valid_score", "best_valid_result"
)  # fmt: skip


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


def check_data(
    content: Mapping[str, Any],
    model: Any,
    dataset: Any,
    what: str,
    *,
    trained_on: Mapping[str, Any] | None = None,
) -> None:
    """Refuse a checkpoint whose rows would stand for other tokens in ``dataset``; every way in asks here.

    Args:
        content: as :func:`load` returns it.
        model: that it is for.
        dataset: that the model is to be used on; the training part, where training goes on.
        what: names the checkpoint in messages.
        trained_on: what :func:`data_of` says of ``dataset``, where training goes on, which needs the same samples too.

    Raises:
        InputError: a field has other values or has them in another order, or the samples are others.
    """
    name, then = dataset.dataset_name, content.get("data") or {}
    wrong = (
        f"of '{name}' has other values or another order now than when {what} was trained: its rows would stand for the "
        "wrong ones; train again"
    )
    if not then and content.get("tokens"):  # as 0.1.0 wrote it: one hash of items and features
        require(content["tokens"] == _tokens(dataset, *_used(dataset)), f"'{dataset.iid_field}' or a feature {wrong}")
    for field in _numbered(model, dataset) if then else ():
        known = then["tokens"].get(field)
        now = trained_on["tokens"][field] if trained_on else _tokens(dataset, field)
        require(known in (None, now), f"'{field}' {wrong}")
    if trained_on and then:
        same = then["rows"] == trained_on["rows"]
        require(same, f"'{name}' holds other interactions, or is split otherwise, than when {what} was trained: its "
                "figures and the new ones would be of different data; train again")  # fmt: skip


def _numbered(model: Any, dataset: Any) -> list[str]:
    """The fields whose ids are rows of a model's tables: of RecBole's models all, but for users without a table."""
    if is_ours(type(model)):
        return _used(dataset)
    sizes = {part.num_embeddings for part in model.modules() if isinstance(part, torch.nn.Embedding)}
    context = dataset.config["MODEL_TYPE"].name in ("CONTEXT", "DECISIONTREE")
    users = context or dataset.user_num in sizes or not sizes
    suffix = dataset.config["LIST_SUFFIX"]
    fields = [field for field in dataset.field2id_token if not field.endswith(suffix)]
    return sorted(str(field) for field in fields if users or field != dataset.uid_field)  # numpy's, some of them


def _used(dataset: Any) -> list[str]:
    """The fields of which our models have tables: items, and the features in use."""
    return [dataset.iid_field, *(dataset.config["item_features"] or []), *(dataset.config["user_features"] or [])]


def _tokens(dataset: Any, *fields: str) -> str:
    """One hash of the raw tokens of some fields, in the order of their ids."""
    digest = hashlib.sha256()
    for field in fields:
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


def load(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Open a checkpoint of ours or of RecBole.

    Returns:
        its content: ``state_dict``, ``other_parameter``, ``optimizer``, ``epoch``, ``cur_step``, ``best_valid_score``,
        ``best_valid_result`` (``None`` in RecBole's) and ``settings``.

    Raises:
        InputError: the file is missing, truncated, corrupt, of another version, or no checkpoint at all.
    """
    try:
        with Archive(path) as archive:
            names = archive.globals()
            if names is not None and names <= _OURS:
                archive.file.seek(0)
                content = torch.load(archive.file, map_location=device, weights_only=True)
            else:
                content = recbole_checkpoint.read(archive, device)
    except RefusedError as error:
        raise InputError(f"'{path}' is refused: it would run {error}, which no checkpoint of RecBole needs") from None
    except BadArchiveError as error:
        raise InputError(f"checkpoint '{path}' {error}") from None
    except FileNotFoundError:
        raise InputError(f"checkpoint '{path}' does not exist") from None
    except OSError as error:
        raise InputError(f"checkpoint '{path}' cannot be read: {error.strerror}") from None
    except Exception:  # torch has no common word for what is not its own
        raise InputError(f"checkpoint '{path}' is truncated or corrupt; train again or use another file") from None
    if not isinstance(content, dict) or "state_dict" not in content:
        raise InputError(f"'{path}' is not a checkpoint of recbole-mind or RecBole")
    try:
        return _ours(content) if content.get("format") == FORMAT else _recboles(content)
    except InputError as error:
        raise InputError(f"checkpoint '{path}' {error}") from None


def _ours(content: dict[str, Any]) -> dict[str, Any]:
    """Check and decode what :func:`save` wrote; the words of an error go on after the file's name."""
    found = content.get("version")
    require(found == VERSION, f"has format version {found}; this release reads version {VERSION}")
    try:
        stored = parse_json(content["settings"])
        missing = (set(_NEEDED) - set(content)) | ({"model", "dataset"} - set(stored))
    except (KeyError, TypeError, ValueError):
        missing = {"settings"}
    require(not missing, f"is corrupt: it lacks {', '.join(sorted(missing))}")
    try:
        _weigh(content)
        decoded = {key: _decode(value) for key, value in content.items()}
    except Exception:  # numpy, scipy and torch have no common word for what does not fit
        raise InputError("is corrupt: its parts do not belong together") from None
    return _checked(decoded | {"settings": stored})


def _recboles(content: dict[str, Any]) -> dict[str, Any]:
    """Check what RecBole's trainer wrote, and take the settings out."""
    config = content.get("config")
    if not isinstance(config, dict):
        raise InputError("holds no settings: it is not a checkpoint of recbole-mind or RecBole")
    missing = {"model", "dataset", "data_path"} - set(config)
    require(not missing, f"is corrupt: its settings lack {', '.join(sorted(missing))}")
    require(isinstance(config["model"], str), "is corrupt: its settings name no model")
    stored = values_in_force(config)
    if stored.get("metric_decimal_place") == 4:
        stored["metric_decimal_place"] = None  # RecBole's default, which nobody asked for
    lacking = dict.fromkeys(_NEEDED) | {"epoch": 0, "cur_step": 0, "best_valid_score": -math.inf}  # of a pretraining
    return _checked(lacking | content | {"settings": stored})


def _weigh(value: Any, left: int = recbole_checkpoint.BUDGET, depth: int = 0) -> int:
    """What is left of a budget of values and characters; a list that stands twice counts twice.

    Raises:
        ValueError: it is spent, or something else is there than tensors and plain values.
    """
    left -= 1 + (len(value) if isinstance(value, str) else 0)
    if left < 0 or depth > recbole_checkpoint.DEPTH:
        raise ValueError("too much")
    if isinstance(value, (list, tuple)):
        for part in value:
            left = _weigh(part, left, depth + 1)
    elif isinstance(value, dict):
        for key, part in value.items():
            left = _weigh(part, _weigh(key, left, depth + 1), depth + 1)
    elif isinstance(value, torch.Tensor):
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError("a tensor without bytes of its own")
    elif isinstance(value, int):
        if abs(value) >= recbole_checkpoint.WHOLE:
            raise ValueError("a number beyond 64 bits")
    elif not isinstance(value, (NoneType, float, str)):
        raise ValueError("something else")
    return left


def _checked(content: dict[str, Any]) -> dict[str, Any]:
    """``content`` if its parts are of the types that every use of it takes."""
    stored, state, whole = content["settings"], content["state_dict"], (content["epoch"], content["cur_step"])
    good = isinstance(stored, dict) and all(isinstance(stored[key], str) for key in ("model", "dataset"))
    good = good and isinstance(state, dict) and all(isinstance(value, torch.Tensor) for value in state.values())
    good = good and all(isinstance(key, str) for key in state)
    good = good and all(type(value) is int and abs(value) < 2**31 for value in whole)
    good = good and isinstance(content["best_valid_score"], (int, float))
    optional = ("best_valid_result", "other_parameter", "optimizer", "position", "data")
    good = good and all(isinstance(content.get(key), (dict, NoneType)) for key in optional)
    seconds, curve = content.get("seconds") or {}, content.get("curve") or []
    good = good and isinstance(seconds, dict) and isinstance(curve, (list, tuple))
    good = good and all(isinstance(value, (int, float)) for value in (*seconds.values(), *curve))
    tokens = (content.get("data") or {}).get("tokens", {}) if good else None
    good = good and isinstance(tokens, dict) and isinstance(content.get("best"), (str, NoneType))
    require(good, "is corrupt: a part of it is of another kind than it was saved as")
    return content


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
    found = content.get("other_parameter") or {}
    own = set(getattr(model, "other_parameter_name", ()))
    strange = sorted(map(str, set(found) - own))
    require(not strange, f"the checkpoint does not fit this model: it holds '{', '.join(strange)}'")
    kept = {key: value for key, value in found.items() if not isinstance(getattr(model, key, None), torch.nn.Module)}
    model.load_other_parameter(kept)  # modules are in state_dict


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
            if value["__scipy__"] not in _MATRICES or max(value["shape"]) > recbole_checkpoint.SIDE:
                raise ValueError("a matrix of another form or size")
            return sparse.coo_matrix((data, (row, col)), shape=value["shape"]).asformat(value["__scipy__"])
        return {k: _decode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_decode(v) for v in value)
    return value
