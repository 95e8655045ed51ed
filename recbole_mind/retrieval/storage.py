"""An index on disk: item vectors, FAISS's index and a manifest with their hashes. No pickle.

Content has its hash in its name and the manifest is replaced last, so that a folder always holds one whole index: the
old one or the new one.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from recbole_mind.errors import InputError, require
from recbole_mind.retrieval import index_check
from recbole_mind.util.arrays import open_array, save_array
from recbole_mind.util.files import MANIFEST, read_manifest, sha256, write_atomic

FORMAT, VERSION = "recbole-mind index", 1


def save(folder: Path, description: dict[str, Any], items: npt.NDArray[np.float32], index: Any) -> None:
    """Write an index; see :meth:`recbole_mind.retrieval.index.MultiVectorIndex.save`."""
    files: dict[str, dict[str, str]] = {}
    before = {path.name for path in folder.glob("*")} if folder.is_dir() else set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files["items"] = _put(folder, "items", ".npy", lambda path: save_array(path, items))
        if index is not None:
            files["index"] = _put(folder, "index", ".faiss", lambda path: faiss.write_index(index, str(path)))
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or _reason(error)
        _remove(folder, {entry["name"] for entry in files.values()} - before)
        raise InputError(f"index '{folder}' cannot be written: {reason}") from None
    manifest = {"format": FORMAT, "version": VERSION, "faiss": faiss.__version__, **description, "files": files}
    current = {entry["name"] for entry in files.values()}
    try:
        write_atomic(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    except BaseException:
        _remove(folder, current - before)
        raise
    old = [path.name for pattern in ("items-*.npy", "index-*.faiss") for path in folder.glob(pattern)]
    _remove(folder, set(old) - current)


def _reason(error: Exception) -> str:
    """What FAISS says, without places in its source: the system's own words, which stand last, if there are any."""
    last = str(error).strip().splitlines()[-1]
    words = re.search(r"\(([A-Z][^()]*)\)$", last)
    return words[1] if words else last


def load(folder: Path, *, hashed: bool = False) -> tuple[dict[str, Any], npt.NDArray[np.float32], Any]:
    """The description, the item vectors and FAISS's index (``None`` for an exact one) of a folder, checked.

    The vectors are mapped: what is not searched is not read. ``hashed`` says that the caller has checked the files'
    hashes.
    """
    manifest = read_manifest(folder, "an index", FORMAT, VERSION)
    try:
        shape, factory = tuple(manifest["items"]), manifest["factory"]
        named = {kind: (str(entry["name"]), str(entry["sha256"])) for kind, entry in dict(manifest["files"]).items()}
        whole = "items" in named and isinstance(manifest["parameters"], dict) and manifest["metric"] in ("ip", "cosine")
    except (KeyError, TypeError, ValueError):
        whole = False
    require(whole, f"index '{folder}' is corrupt: {MANIFEST} is incomplete")
    checked = {kind: _checked(folder, *entry, hashed=hashed) for kind, entry in named.items()}
    fits = len(shape) == 2 and all(isinstance(part, int) and part > 0 for part in shape)
    require(fits, f"index '{folder}' is corrupt: {shape} is not the shape of item vectors")
    try:
        items = open_array(checked["items"], np.float32, shape)
    except InputError as error:
        raise InputError(f"index '{folder}' is corrupt: {error}") from None
    exact = factory == "exact"
    require(("index" not in checked) == exact, f"index '{folder}' is corrupt: its files do not belong together")
    return manifest, items, None if exact else _read(checked["index"], shape, str(factory))


def training_of(folder: Path) -> str:
    """What tells the training of an index: the hash of its item vectors, which two trainings never share.

    Raises:
        InputError: there is no index.
    """
    try:
        return str(read_manifest(folder, "an index", FORMAT, VERSION)["files"]["items"]["sha256"])
    except (KeyError, TypeError):
        raise InputError(f"index '{folder}' is corrupt: {MANIFEST} is incomplete") from None


def _read(path: Path, shape: tuple[int, int], factory: str) -> Any:
    """FAISS's index in a file, every part of which fits N items of size D; see ``index_check``.

    Raises:
        InputError: FAISS cannot read it, or it is not such a one.
    """
    try:
        index = _limited(path)
        index_check.check(index, *shape, factory)
    except (InputError, RuntimeError, MemoryError) as error:
        reason = _plain(error) or "it asks for too much memory"
        raise InputError(f"index '{path.parent}' is corrupt: {path.name}: {reason}") from None
    return index


def _plain(error: Exception) -> str:
    """What FAISS says, without places in its source and build."""
    last = (str(error).strip().splitlines() or [""])[-1]
    return re.sub(r"^Error in .*? at \S+: (Error: )?", "", last)[:300]


def _limited(path: Path) -> Any:
    if not hasattr(faiss, "set_deserialization_vector_byte_limit"):  # an older FAISS
        return faiss.read_index(str(path), faiss.IO_FLAG_READ_ONLY)
    before = faiss.get_deserialization_vector_byte_limit()
    faiss.set_deserialization_vector_byte_limit(path.stat().st_size)
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_READ_ONLY)
    finally:
        faiss.set_deserialization_vector_byte_limit(before)


def _remove(folder: Path, names: set[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _put(folder: Path, kind: str, ending: str, write: Callable[[Path], None]) -> dict[str, str]:
    """Write one file under a name that holds its hash."""
    temporary = folder / f".{kind}.{secrets.token_hex(4)}.tmp"
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        digest = sha256(temporary)
        name = f"{kind}-{digest[:16]}{ending}"
        os.replace(temporary, folder / name)
    finally:
        temporary.unlink(missing_ok=True)
    return {"name": name, "sha256": digest}


def _checked(folder: Path, name: str, digest: str, *, hashed: bool) -> Path:
    good = Path(name).name == name and len(name) < 256
    require(good, f"index '{folder}' is corrupt: '{name[:100]}' is not the name of a file in it")
    path = folder / name
    try:
        os.stat(path)
        found = digest if hashed else sha256(path)
    except OSError as error:
        raise InputError(f"index '{folder}' is incomplete: {name}: {error.strerror}") from None
    except ValueError:  # a byte of zero in its name
        raise InputError(f"index '{folder}' is corrupt: a file of it has no name") from None
    require(found == digest, f"index '{folder}' is corrupt: {name} is truncated or was changed")
    return path
