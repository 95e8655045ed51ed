"""Checkpoints without pickle, and a guarded way to open RecBole's own.

Ours is a ``torch.save`` archive of tensors, numbers and text that ``torch.load(weights_only=True)`` opens; the settings
travel inside as JSON and stand beside the file for people to read. RecBole's own hold a pickled ``Config``, which
torch >= 2.6 refuses; they are opened with an unpickler that knows only the classes such a file needs.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import pickle
import secrets
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from recbole_mind.errors import InputError
from recbole_mind.settings import plain, to_json

FORMAT = "recbole-mind checkpoint"
VERSION = 1
_PICKLE_MODULES = ("torch", "numpy", "recbole", "collections", "_codecs")
_PICKLE_BUILTINS = {"set", "frozenset", "slice", "complex", "bytearray", "object"}
_DERIVED = {
    "MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "device", "single_spec", "local_rank", "nproc", "world_size",
    "offset", "ip", "port", "valid_neg_sample_args", "test_neg_sample_args", "config_files",
}  # fmt: skip


def write_atomic(path: str | Path, content: bytes | str) -> None:
    """Write a whole file or nothing: a temporary file beside it, fsync, rename.

    Raises:
        InputError: the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"'{path}' cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True) if temporary.parent.is_dir() else None


def settings_of(config: Any) -> dict[str, Any]:
    """Every setting in force in RecBole's ``config``, as plain values that build the same ``Config`` again."""
    settings = {key: value for key, value in config.final_config_dict.items() if key not in _DERIVED}
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
    buffer = io.BytesIO()
    torch.save(whole, buffer)
    write_atomic(path, buffer.getvalue())
    write_atomic(f"{path}.json", to_json(settings))


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
        return {key: _decode(value) for key, value in content.items()} | {"settings": json.loads(content["settings"])}
    config = content.get("config")
    if not hasattr(config, "final_config_dict"):
        raise InputError(f"'{path}' holds no settings: it is not a checkpoint of recbole-mind or RecBole")
    return {"best_valid_result": None} | content | {"settings": settings_of(config)}


def _load_pickled(path: str | Path, device: torch.device | str) -> Any:
    """Open RecBole's own file; only classes of torch, numpy and RecBole come to life."""
    module = SimpleNamespace(Unpickler=_Unpickler, load=lambda file, **kwargs: _Unpickler(file, **kwargs).load())
    try:
        with open(path, "rb") as file:
            return torch.load(file, map_location=device, weights_only=False, pickle_module=module)
    except _Refused as error:
        raise InputError(f"'{path}' is refused: it would run {error}, which no checkpoint of RecBole needs") from None
    except Exception:
        raise InputError(f"checkpoint '{path}' is truncated, corrupt or not a checkpoint") from None


class _Refused(Exception):
    pass


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        root = module.partition(".")[0]
        known: Callable[..., Any] | type = super().find_class if root in _PICKLE_MODULES else _Refused
        if module == "builtins" and name in _PICKLE_BUILTINS:
            return super().find_class(module, name)
        if (module, name) == ("yaml.loader", "FullLoader"):
            return super().find_class(module, name)
        if known is _Refused:
            raise _Refused(f"{module}.{name}")
        found = super().find_class(module, name)
        rebuild = name.startswith(("_rebuild", "_reconstruct")) or module == "_codecs"
        if not (isinstance(found, type) or rebuild or name in ("scalar", "_frombuffer")):
            raise _Refused(f"{module}.{name}")
        return found


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
    raise InputError(f"'{key}' of the model is a {type(value).__name__}, which a checkpoint cannot hold; use --saved=False")


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
