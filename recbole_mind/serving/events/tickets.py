"""Ids of answers that say, to the service that gave them alone, whom it answered and from what."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import stat
from pathlib import Path
from typing import NamedTuple

from recbole_mind.errors import InputError, require

KEY = ".key"  # beside the events, so that ids hold over a restart
_BYTES, _MAC = 32, 12


class Ticket(NamedTuple):
    """What an id says.

    Attributes:
        nonce: is never the same twice.
        channel, bundle: that answered.
        user: who asked; the nonce where that was not said, so that nobody is taken for somebody else.
    """

    nonce: str
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
        content = json.dumps([nonce, channel, bundle, nonce if user is None else user], separators=(",", ":"))
        body = base64.urlsafe_b64encode(content.encode())
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
            new = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(new, "wb") as file:
                file.write(secrets.token_bytes(_BYTES))
                file.flush()
                os.fsync(file.fileno())
        mode = stat.S_IMODE(path.stat().st_mode)
        key = path.read_bytes()
    except OSError as error:
        raise InputError(f"events: '{path}' cannot be used: {error.strerror}") from None
    require(len(key) == _BYTES, f"events: '{path}' is not a key; remove it, and ids that were given out end")
    require(not mode & 0o077, f"events: '{path}' has the mode {mode:04o}: others may use it; allowed: 0600 (chmod 600)")
    return key
