"""Who may ask: the keys that requests bring, and the names under which the service answers."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
import stat
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from starlette.types import Scope

from recbole_mind.errors import InputError, require

SHORTEST, MOST = 16, 10  # letters of a key, and keys of a file
_HOST = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d*)?|([A-Za-z0-9._-]+)(?::\d*)?")
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,252})")


class Keys:
    """The keys of a file, one a line, or of a text; kept as hashes.

    Args:
        text: one key, or several, one a line.
        path: of the file, which is read in place of ``text``.
        source: what a refusal calls the text.

    Raises:
        InputError: there is no key, one is too short, or others may read the file.
    """

    def __init__(self, text: str = "", path: Path | None = None, source: str = "RECBOLE_MIND_API_KEY") -> None:
        self.path, self._source = path, source
        self._digests = self._read(text)

    def reload(self) -> None:
        """Read the file again: from then on its keys are the ones, all of them and no other.

        Raises:
            InputError: it cannot be used; the keys stay.
        """
        if self.path is not None:
            self._digests = self._read("")

    def accept(self, scope: Scope) -> bool:
        """Whether a request brings a key; takes as long for a wrong one as for another."""
        given = [b""]
        for name, value in scope["headers"]:
            if name == b"x-api-key":
                given.append(value.strip())
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                given.append(value[7:].strip())
        digests = self._digests
        return any([hmac.compare_digest(_digest(value), key) for value in given for key in digests])

    def _read(self, text: str) -> tuple[bytes, ...]:
        source = self._source
        if self.path is not None:
            source, text = f"api-key-file '{self.path}'", _private(self.path)
        keys = [line.strip() for line in text.splitlines() if line.strip()]
        good = all(key.isascii() and key.isprintable() and " " not in key for key in keys)
        require(bool(keys) and good, f"{source} holds no key; allowed: printable ASCII without spaces")
        require(len(keys) <= MOST, f"{source} holds {len(keys)} keys; allowed: at most {MOST}")
        shortest = min(map(len, keys))
        require(shortest >= SHORTEST, f"{source} holds a key of length {shortest}; allowed: at least {SHORTEST}")
        return tuple(_digest(key.encode()) for key in keys)


class Hosts:
    """The values of ``Host`` that are answered.

    A page of another site can have its own name lead to this machine (DNS rebinding), and then its scripts ask here:
    under that name. Loopback's names and addresses and the address that was connected to are always answered.

    Args:
        names: others, without ports.

    Raises:
        InputError: one is no name.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        names = list(names)
        for name in names:
            good = _address(name) is not None or _NAME.fullmatch(name) is not None
            require(good, f"allowed-host: '{name}' is not allowed; allowed: a host's name or address, without a port")
        self._names = frozenset(_plain(name) for name in names)

    def accept(self, scope: Scope) -> bool:
        """Whether a request names this host; one of HTTP/1.0 need not name any, and no browser sends it."""
        given = [value for name, value in scope["headers"] if name == b"host"]
        if not given:
            return bool(scope["http_version"] == "1.0")
        name = _named(given[0].decode("latin-1"))
        if len(given) > 1 or name is None:
            return False
        return name in self._names or _is_loopback(name) or name == _plain((scope.get("server") or ("",))[0])


def _private(path: Path) -> str:
    """The text of a file that nobody else may read.

    Raises:
        InputError: it cannot be read, or others may read or write it.
    """
    called = f"api-key-file '{path}'"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, encoding="ascii") as file:
            status = os.fstat(descriptor)
            require(stat.S_ISREG(status.st_mode), f"{called} is not a file")
            mode = stat.S_IMODE(status.st_mode)
            text = f"{called} has the mode {mode:04o}: others may use it; allowed: 0600 or less (chmod 600)"
            require(not mode & (stat.S_IRWXG | stat.S_IRWXO), text)
            return file.read(2**16)
    except OSError as error:
        raise InputError(f"{called} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{called} holds no key; allowed: printable ASCII without spaces") from None


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


@lru_cache(1000)
def _named(host: str) -> str | None:
    """The host of a header's value, without its port; ``None`` where it is none."""
    match = _HOST.fullmatch(host)
    return None if match is None else _plain(match[1] or match[2])


def _plain(name: str) -> str:
    address = _address(name)
    return str(address) if address is not None else name.lower().rstrip(".")


def _is_loopback(name: str) -> bool:
    address = _address(name)
    return name == "localhost" if address is None else address.is_loopback


@lru_cache(1000)
def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
