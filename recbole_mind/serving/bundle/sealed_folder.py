"""A folder of files that is one thing: written whole or not at all, known by one hash, refused if a byte changed.

``manifest.json`` lists every file with its hash. Its ``id`` is a hash of the files and of what the manifest says but
for the time, so that the same content has the same id; its ``seal`` covers the manifest itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from recbole_mind.errors import InputError, require
from recbole_mind.util.files import MANIFEST, alone_in, check_place, read_manifest, sha256, sync

FORMAT, VERSION = "recbole-mind bundle", 1
SIGNATURE = "signature.json"  # beside the manifest, where there is one: it signs all the rest
LARGEST_MANIFEST = 2**24  # bytes
_NAME = re.compile(r"(?:[a-z][a-z0-9_]*/)?[A-Za-z0-9][A-Za-z0-9._-]*")
_OLD = "old"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of <fcntl.h> and <linux/fs.h>


# -- reading ------------------------------------------------------------------------------------------------------


def read(folder: str | Path) -> dict[str, Any]:
    """The manifest of a bundle whose files are all there, no others, each of its size; their content is not read.

    Raises:
        InputError: that is not so; it names the file and the reason.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    try:
        big = path.stat().st_size > LARGEST_MANIFEST
    except OSError:
        big = False  # read_manifest says why
    require(not big, f"bundle '{folder}' is corrupt: {MANIFEST} is above {LARGEST_MANIFEST} bytes")
    try:
        manifest = read_manifest(folder, "a bundle", FORMAT, VERSION)
        sealed = path.read_bytes() == canonical(manifest) and manifest.get("seal") == _seal(manifest)
    except InputError:
        raise
    except (ValueError, RecursionError):  # not a number, or nested too deeply
        sealed = False
    require(sealed, f"bundle '{folder}' is corrupt: {MANIFEST} was changed")
    files = manifest.get("files")
    good = isinstance(files, dict) and all(
        isinstance(entry, dict) and isinstance(entry.get("sha256"), str) and type(entry.get("bytes")) is int
        for entry in files.values()
    )
    require(good, f"bundle '{folder}' is corrupt: {MANIFEST} is incomplete")
    for name in files or {}:
        good = len(name) < 256 and _NAME.fullmatch(name) is not None
        require(good, f"bundle '{folder}' is refused: '{name[:100]}' is not the name of a file")
    require(manifest.get("id") == _identity(manifest), f"bundle '{folder}' is corrupt: its id is not that of its files")
    found = dict(_files(folder))
    for name in sorted(set(files or {}) - set(found)):
        raise InputError(f"bundle '{folder}' is incomplete: '{name}' is missing")
    for name in sorted(set(found) - set(files or {}) - {MANIFEST, SIGNATURE}):
        raise InputError(f"bundle '{folder}' is refused: '{name}' does not belong to it")
    for name, entry in (files or {}).items():
        size, wanted = found[name], entry["bytes"]
        require(size == wanted, f"bundle '{folder}' is corrupt: '{name}' has {size} bytes instead of {wanted}")
    return manifest


def verify(folder: str | Path) -> dict[str, Any]:
    """The manifest of a bundle, every byte of whose files is as it was written.

    Raises:
        InputError: that is not so; it names the file and the reason.
    """
    manifest = read(folder)
    for name, entry in manifest["files"].items():
        try:
            digest = sha256(Path(folder) / name)
        except OSError as error:
            raise InputError(f"bundle '{folder}': '{name}' cannot be read: {error.strerror}") from None
        require(digest == entry["sha256"], f"bundle '{folder}' is corrupt: '{name}' was changed")
    return manifest


class Stamp(NamedTuple):
    """What tells whether a file is the one that was opened, and whether somebody has written to it since."""

    inode: int
    size: int
    changed: int


def stamps(folder: Path, names: Iterable[str]) -> dict[str, Stamp]:
    """The stamp of each of a bundle's files that is there."""
    found = {}
    for name in names:
        with contextlib.suppress(OSError):
            status = (folder / name).stat()
            found[name] = Stamp(status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Names and sizes of all that is in a folder and in the folders in it; links and the like are refused."""
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(root, name)
            status = path.lstat()
            relative = path.relative_to(folder).as_posix()
            if stat.S_ISREG(status.st_mode):
                yield relative, status.st_size
            elif not (stat.S_ISDIR(status.st_mode) and name in folders):
                raise InputError(f"bundle '{folder}' is refused: '{relative}' is not a plain file")


def canonical(manifest: Mapping[str, Any]) -> bytes:
    """The one text of a manifest."""
    return (json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _identity(manifest: Mapping[str, Any]) -> str:
    described = {key: value for key, value in manifest.items() if key not in ("id", "seal", "created", "files")}
    lines = [f"{name} {entry['sha256']}" for name, entry in sorted(manifest["files"].items())]
    return hashlib.sha256("\n".join([*lines, json.dumps(described, sort_keys=True)]).encode()).hexdigest()


def _seal(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical({key: value for key, value in manifest.items() if key != "seal"})).hexdigest()


# -- writing ------------------------------------------------------------------------------------------------------


def write(
    folder: str | Path, fill: Callable[[Path], Mapping[str, Any]], sign: Callable[[bytes], bytes] | None = None
) -> dict[str, Any]:
    """Write a bundle; one that is there is replaced at one stroke, whatever else is there is left alone.

    Args:
        folder: where.
        fill: writes the files into the folder that it is given, and returns what the manifest says of them.
        sign: makes the signature of the manifest's text (:func:`recbole_mind.serving.bundle.signing.signer`).

    Returns:
        the manifest.

    Raises:
        InputError: the folder holds something else, cannot be written, or is being written by another process; what
            was there is still there.
    """
    folder = Path(folder).absolute()
    check_target(folder)
    work = folder.with_name(f".{folder.name}.export")
    with alone_in(work):
        try:
            new = work / "bundle"
            if (work / _OLD).is_dir() and not folder.exists():
                os.rename(work / _OLD, folder)  # a process was killed between the two renames
            _clear(work)
            new.mkdir()
            described = fill(new)
            files = {name: {"sha256": sha256(new / name), "bytes": size} for name, size in sorted(_files(new))}
            created = datetime.now(timezone.utc).isoformat(timespec="seconds")
            manifest: dict[str, Any] = {
                "format": FORMAT,
                "version": VERSION,
                **described,
                "files": files,
                "created": created,
            }
            manifest["id"] = _identity(manifest)
            manifest["seal"] = _seal(manifest)
            (new / MANIFEST).write_bytes(canonical(manifest))
            if sign is not None:
                (new / SIGNATURE).write_bytes(sign(canonical(manifest)))
            for name in (*files, MANIFEST, *([SIGNATURE] if sign is not None else [])):
                sync(new / name)
            for inner in {(new / name).parent for name in files} | {new}:
                sync(inner)
            _put_in_place(new, folder)
            sync(folder.parent)
        except OSError as error:
            raise InputError(f"bundle '{folder}' cannot be written: {error.strerror or error}") from None
        finally:
            with contextlib.suppress(OSError):
                _clear(work)
                shutil.rmtree(work)
    return manifest


def check_target(folder: Path) -> None:
    """Raise :class:`InputError` unless a bundle may be written to ``folder``: nothing, an empty folder or a bundle.

    Never inside another bundle, which would not be whole any more.
    """
    for parent in folder.resolve().parents:
        require(not _is_bundle(parent), f"'{folder}' is inside the bundle '{parent}'; choose another folder")
    try:
        if not folder.exists() and not folder.is_symlink():
            check_place(folder)
            return
        require(not folder.is_symlink() and folder.is_dir(), f"'{folder}' is not a folder; a bundle is one")
        if not any(folder.iterdir()):
            return
    except OSError as error:
        raise InputError(f"bundle '{folder}' cannot be written: {error.strerror}") from None
    require(_is_bundle(folder), f"'{folder}' holds other files and is not a bundle; choose another folder")


def _is_bundle(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / MANIFEST).read_text("utf-8"))["format"] == FORMAT)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _put_in_place(new: Path, folder: Path) -> None:
    """Rename ``new`` to ``folder``; a bundle that is there changes places with it, at one stroke where Linux can."""
    if not folder.is_dir() or not any(folder.iterdir()):
        os.rename(new, folder)
        return
    if not _exchange(new, folder):
        old = new.with_name(_OLD)
        os.rename(folder, old)
        try:
            os.rename(new, folder)
        except OSError:
            os.rename(old, folder)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders by Linux's ``renameat2``; false where there is none."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS):  # a file system or kernel without it
        return False
    raise OSError(number, os.strerror(number))


def _clear(work: Path) -> None:
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
