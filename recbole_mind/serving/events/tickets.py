"""Ids of answers that say, to the service that gave them alone, whom it answered and from what."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import stat
import time
from pathlib import Path
from typing import NamedTuple

from recbole_mind.errors import InputError, require
from recbole_mind.util.files import sync

KEY = ".key"  # beside the events, so that ids hold over a restart
_BYTES, _MAC = 32, 12


class Ticket(NamedTuple):
    """What an id says.

    Attributes:
        nonce: is never the same twice.
        issued: seconds since 1970.
        channel, bundle: that answered.
        user: who asked; the nonce where that was not said, so that nobody is taken for somebody else.
    """

    nonce: str
    issued: int
    channel: str
    bundle: str
    user: str


class Tickets:
    """Ids, signed with a key of the service.

    Args:
        folder: holds the key, which is made if it is not there.

    Raises:
        InputError: the key cannot be read or made, or others may read it.
    """

    def __init__(self, folder: str | Path) -> None:
        self._key = _key(Path(folder) / KEY)

    def issue(self, channel: str, bundle: str, user: str | None) -> str:
        """The id of an answer."""
        nonce = secrets.token_hex(8)
        content = [nonce, int(time.time()), channel, bundle, nonce if user is None else user]
        body = base64.urlsafe_b64encode(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode())
        return (body + b"." + self._mac(body)).decode()

    def read(self, text: str) -> Ticket | None:
        """What an id says; ``None`` if it is none that was issued with this key."""
        body, _, mac = text.encode(errors="replace").partition(b".")
        if not hmac.compare_digest(mac, self._mac(body)):
            return None
        return Ticket(*json.loads(base64.urlsafe_b64decode(body)))

    def _mac(self, body: bytes) -> bytes:
        return base64.urlsafe_b64encode(hmac.digest(self._key, body, hashlib.sha256)[:_MAC])


def _key(path: Path) -> bytes:
    try:
        if not path.exists():
            _make(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        key = path.read_bytes()
    except OSError as error:
        raise InputError(f"events: '{path}' cannot be used: {error.strerror}") from None
    require(len(key) == _BYTES, f"events: '{path}' is not a key; remove it, and ids that were given out end")
    require(not mode & 0o077, f"events: '{path}' has the mode {mode:04o}: others may use it; allowed: 0600 (chmod 600)")
    return key


def _make(path: Path) -> None:
    """A new key, which is there whole or not at all."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
