"""Writing files whole or not at all, and knowing them again."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import socket
import stat
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

import filelock

from recbole_mind.errors import InputError, require

MANIFEST = "manifest.json"
JSON = 2**28  # bytes of a manifest or a record
_HOLDER = ".lock.json"  # beside the lock itself, which whoever asks for it empties


def write_atomic(path: str | Path, content: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Write a whole file or nothing: a temporary file beside it, fsync, rename.

    ``content`` is what stands in it, or a function that writes it to an open file.

    Raises:
        InputError: the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"'{path}' cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True) if temporary.parent.is_dir() else None


def sync(path: str | Path) -> None:
    """Have a file's content, or a folder's names, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: str | Path) -> str:
    """The hash of a file's content.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def parse_json(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: it is none, or is nested beyond what Python follows.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file to read: nothing is waited for, as at a pipe, and nothing has no end, as a device.

    Raises:
        OSError: it cannot be read, or is something else.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        reason = os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "it is not a file"
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, reason, str(path))
    return os.fdopen(descriptor, "rb")


def read_bytes(path: str | Path, most: int = 2**31) -> bytes:
    """All that stands in a regular file.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger than ``most`` bytes or than memory.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"it is larger than {most / 2**20:,.0f} MiB", str(path))
        try:
            return file.read()
        except MemoryError:
            raise OSError(errno.ENOMEM, "it is larger than memory", str(path)) from None


def read_text(path: str | Path, called: str, most: int = 2**31) -> str:
    """A text in UTF-8; ``called`` stands before its name.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return read_bytes(path, most).decode("utf-8")
    except OSError as error:
        raise InputError(f"{called} '{path}' cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{called} '{path}' cannot be read: it is not UTF-8 text") from None


def check_file(path: str | Path, called: str) -> None:
    """Raise :class:`InputError` where ``path`` is there and no file: what comes through a pipe cannot be read twice."""
    path = Path(path)
    require(path.is_file() or not path.exists(), f"{called} '{path}' is not a file, which is needed to read it again")


def read_lines(path: str | Path, called: str) -> list[str]:
    """The lines of a text in UTF-8 that a person or Windows may have written; ``called`` stands before its name.

    Raises:
        InputError: it cannot be read.
    """
    try:
        lines = read_bytes(path).decode("utf-8-sig").split("\n")
    except OSError as error:
        raise InputError(f"{called} '{path}' cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{called} '{path}' cannot be read: it is not UTF-8 text") from None
    return [line.removesuffix("\r") for line in lines]


def read_manifest(folder: Path, called: str, kind: str, version: int) -> dict[str, Any]:
    """What stands in the manifest of a folder of ours, which is ``called`` "an index", say, in messages.

    Raises:
        InputError: it is missing or malformed, or of another ``kind`` or ``version``.
    """
    path, name = folder / MANIFEST, called.split()[-1]
    try:
        content = parse_json(read_bytes(path, JSON).decode("utf-8"))
    except OSError as error:
        raise InputError(f"{name} '{folder}' cannot be read: {MANIFEST}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{name} '{folder}' is corrupt: {MANIFEST} is not JSON") from None
    if not isinstance(content, dict) or content.get("format") != kind:
        raise InputError(f"'{path}' is not the manifest of {called} of recbole-mind")
    found = content.get("version")
    require(found == version, f"{name} '{folder}' has format version {found}; this release reads version {version}")
    return content


def check_place(path: Path) -> None:
    """Whether a file or folder can be made at an absolute ``path``, with the folders that it lacks; makes none.

    Raises:
        OSError: what is there of them is no folder, or cannot be written.
    """
    above = next(parent for parent in (path, *path.parents) if parent.exists())
    wrong = errno.ENOTDIR if not above.is_dir() else errno.EACCES if not os.access(above, os.W_OK | os.X_OK) else 0
    if wrong:
        raise OSError(wrong, os.strerror(wrong), str(above))


@contextlib.contextmanager
def alone_in(folder: str | Path) -> Iterator[None]:
    """Hold a folder, which is made, against another process that would write into it, and say there who holds it.

    Raises:
        InputError: another process holds it, which is named, or it cannot be written.
    """
    lock = filelock.FileLock(Path(folder) / ".lock", timeout=0)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise InputError(
            f"output: another run is writing to '{folder}'{_holder(folder)}; wait for it or choose another folder"
        ) from None
    except OSError as error:
        raise InputError(f"output: '{folder}' cannot be written: {error.strerror}") from None
    holder = Path(folder) / _HOLDER
    try:
        with contextlib.suppress(OSError):  # only a courtesy
            since = datetime.now(timezone.utc).isoformat(timespec="seconds")
            holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}))
        yield
    finally:
        with contextlib.suppress(OSError):
            holder.unlink()
        lock.release()


def _holder(folder: str | Path) -> str:
    """Who holds a folder and since when, in words; nothing where it is not said."""
    try:
        said = json.loads((Path(folder) / _HOLDER).read_bytes()[:1000])
        pid, host, since = int(said["pid"]), str(said["host"])[:80], str(said["since"])[:40]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return f" (process {pid} on {host}, since {since})"
