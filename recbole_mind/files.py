"""Writing files whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from recbole_mind.errors import InputError


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
