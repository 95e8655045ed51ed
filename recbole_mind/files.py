"""Writing files whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from recbole_mind.errors import InputError


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
