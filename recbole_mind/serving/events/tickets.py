"""Ids of answers that say, to the service that gave them alone, whom it answered and from what."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from pathlib import Path
from typing import NamedTuple

from recbole_mind.serving.key_file import read_or_make

KEY = ".key"  # beside the events, so that ids hold over a restart
_MAC = 12  # bytes


class Ticket(NamedTuple):
    """What an id says.

    Attributes:
        nonce: is never the same twice.
        issued: seconds since 1970.
        channel: that the user was assigned to.
        bundle: that answered.
        user: who asked; the nonce where that was not said, so that nobody is taken for somebody else.
        answered: the channel that answered where it was another; empty otherwise.
    """

    nonce: str
    issued: int
    channel: str
    bundle: str
    user: str
    answered: str = ""


class Tickets:
    """Ids, signed with a key of the service.

    Args:
        folder: holds the key, which is made if it is not there.

    Raises:
        InputError: the key cannot be read or made, or others may read it.
    """

    def __init__(self, folder: str | Path) -> None:
        self._key = read_or_make(Path(folder) / KEY, "events", "ids that were given out end")

    def issue(self, channel: str, bundle: str, user: str | None, answered: str = "") -> str:
        """The id of an answer; ``answered`` is the channel that gave it, where that is not ``channel``."""
        nonce = secrets.token_hex(8)
        content = [nonce, int(time.time()), channel, bundle, nonce if user is None else user]
        content += [answered] if answered else []
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
