"""A secret key in a file, which several processes may share."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from recbole_mind.errors import InputError, require
from recbole_mind.util.files import read_bytes, sync

_BYTES = 32


def read_or_make(path: str | Path, called: str, loss: str) -> bytes:
    """The key in a file, which is made if it is not there.

    Args:
        path: of the file.
        called: what a message begins with.
        loss: what ends where another key takes its place.

    Raises:
        InputError: it cannot be read or made, is no key, or others may use it.
    """
    path = Path(path)
    try:
        if not path.exists():
            _make(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        key = read_bytes(path, 2**20)
    except OSError as error:
        raise InputError(f"{called}: '{path}' cannot be used: {error.strerror}") from None
    require(len(key) == _BYTES, f"{called}: '{path}' is not a key; remove it, and {loss}")
    text = f"{called}: '{path}' has the mode {mode:04o}: others may use it; allowed: 0600 (chmod 600)"
    require(not mode & 0o077, text)
    return key


def _make(path: Path) -> None:
    """A new key, which is there whole or not at all; where two processes make one, the first one's stays."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)  # a rename would put it in the place of another one's
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
