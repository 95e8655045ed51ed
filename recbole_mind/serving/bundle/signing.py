"""Signatures of bundles: Ed25519 over the manifest's hash, which covers every byte of every file.

A bundle's seal tells damage, not harm: whoever can write a bundle can seal it. A signature tells who made it. Keys are
those of ``ssh-keygen -t ed25519 -N ''``, and a file of trusted ones has a public key a line, with a name after it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_mind.errors import InputError, require
from recbole_mind.serving.bundle.sealed_folder import SIGNATURE, canonical
from recbole_mind.util.extras import require_modules

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_PURPOSE = b"recbole-mind bundle 1\n"  # a signature of anything else is none of a bundle
_LARGEST = 2**20  # bytes of a file of keys
_MAKE = "ssh-keygen -t ed25519 -N '' makes one"


def signer(path: str | Path) -> Callable[[bytes], bytes]:
    """What signs with the private key in a file: from a manifest's text to the text of :data:`SIGNATURE`.

    Raises:
        InputError: the file holds no such key, or others than its owner may read it.
    """
    serialization, ed25519 = _library()
    content = _read(path, "key", 0o077, "600")
    try:
        key = serialization.load_ssh_private_key(content, None)
    except Exception as error:
        locked = "password" in str(error).lower() or "encrypted" in str(error).lower()
        reason = "is locked by a passphrase" if locked else "holds no private key of OpenSSH's"
        raise InputError(f"key '{path}' {reason}; {_MAKE}") from None
    require(isinstance(key, ed25519.Ed25519PrivateKey), f"key '{path}' is not of Ed25519; {_MAKE}")
    public = key.public_key().public_bytes_raw()

    def sign(text: bytes) -> bytes:
        parts = {"key": public, "signature": key.sign(_message(text))}
        return json.dumps({name: base64.b64encode(part).decode() for name, part in parts.items()}).encode() + b"\n"

    return sign


def check(folder: Path, manifest: Mapping[str, Any], trusted: str | Path) -> None:
    """Check that a bundle is signed by one of the keys in a file.

    Args:
        folder: the bundle's, whose files the manifest's hashes are of.
        manifest: as it was read.
        trusted: the file of public keys.

    Raises:
        InputError: it is not signed, by a key that is unknown, or the signature is another's.
    """
    keys = trusted_keys(trusted)
    refused = f"bundle '{folder}' is refused"
    try:
        with open(folder / SIGNATURE, "rb") as file:
            found = json.loads(file.read(4096))
        raw, signature = (base64.b64decode(found[name], validate=True) for name in ("key", "signature"))
    except FileNotFoundError:
        raise InputError(f"{refused}: it is not signed; export --sign KEY signs it") from None
    except OSError as error:
        raise InputError(f"{refused}: {SIGNATURE}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{refused}: {SIGNATURE} is malformed") from None
    key = keys.get(raw)
    if key is None:
        raise InputError(f"{refused}: it is signed by a key that '{trusted}' does not hold, {_fingerprint(raw)}")
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, _message(canonical(manifest)))
    except InvalidSignature:
        raise InputError(f"{refused}: its signature is not that of its manifest") from None


def trusted_keys(path: str | Path) -> dict[bytes, Ed25519PublicKey]:
    """The public keys of a file, by their 32 bytes.

    Raises:
        InputError: a line holds no such key, there is none, or others than its owner may write the file.
    """
    serialization, ed25519 = _library()
    keys: dict[bytes, Ed25519PublicKey] = {}
    for number, line in enumerate(_read(path, "trusted keys", 0o022, "644").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        try:
            key = serialization.load_ssh_public_key(line.strip())
        except Exception:
            key = None
        good = isinstance(key, ed25519.Ed25519PublicKey)
        require(good, f"trusted keys '{path}': line {number} is no public key; allowed: ssh-ed25519 and the key")
        keys[key.public_bytes_raw()] = key
    require(bool(keys), f"trusted keys '{path}' holds no key; allowed: lines of ssh-ed25519 and the key")
    return keys


def _message(text: bytes) -> bytes:
    return _PURPOSE + hashlib.sha256(text).digest()


def _fingerprint(raw: bytes) -> str:
    """As ``ssh-keygen -l`` says it."""
    parts = (b"ssh-ed25519", raw)
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return f"SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip('=')}"


def _read(path: str | Path, called: str, closed: int, mode: str) -> bytes:
    """The content of a file of keys, which must be a plain file without the mode bits ``closed``."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            require(stat.S_ISREG(status.st_mode), f"{called} '{path}' is not a file")
            good = not status.st_mode & closed
            found = f"{stat.S_IMODE(status.st_mode):o}"
            require(good, f"{called} '{path}' is open to others, with mode {found}; chmod {mode} closes it")
            require(status.st_size <= _LARGEST, f"{called} '{path}' is above {_LARGEST} bytes")
            return file.read(_LARGEST)
    except OSError as error:
        raise InputError(f"{called} '{path}' cannot be read: {error.strerror}") from None


def _library() -> tuple[Any, Any]:
    require_modules("a signature", "cryptography")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    return serialization, ed25519
