"""Arrays on disk: numpy's own format, never a pickle, and no larger than they are meant to be."""

from __future__ import annotations

import os
from pathlib import Path
from tokenize import TokenError
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from recbole_mind.errors import InputError, require
from recbole_mind.util.files import open_regular

READ_UP_TO = 2**28  # bytes; of a mapped array, whoever truncates the file ends the process


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as ``.npy``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        # written by Python: numpy's own way of writing into a file does not say why it fails
        np.save(SimpleNamespace(write=file.write), array, allow_pickle=False)


def open_array(
    path: Path, dtype: npt.DTypeLike, shape: tuple[int | None, ...], mode: Literal["r", "c"] = "r"
) -> npt.NDArray[Any]:
    """What a ``.npy`` file holds; one above :data:`READ_UP_TO`, or of ``mode`` "c", is mapped, and read as it is used.

    Args:
        path: the file.
        dtype: what it must hold.
        shape: what it must have; ``None`` stands for any number.
        mode: ``c`` for a view that can be written to, which the file does not see.

    Raises:
        InputError: it holds something else, or its size is not that of its shape.
    """
    read_now: npt.NDArray[Any] | None = None
    try:
        with open_regular(path) as file:
            npy: Any = np.lib.format
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
            found, by_column, kind = read(file)
            start = file.tell()
            size = os.fstat(file.fileno()).st_size - start
            if mode == "r" and size <= READ_UP_TO and not kind.hasobject:
                read_now = np.fromfile(file, np.uint8)
    except OSError as error:
        raise InputError(f"'{path.name}' cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError, OverflowError):
        raise InputError(f"'{path.name}' is not an array") from None
    fits = len(found) == len(shape) and all(want in (None, has) for want, has in zip(shape, found, strict=True))
    number = 1
    for part in found:
        number *= part  # a Python integer: it cannot overflow
    if kind != np.dtype(dtype) or not fits or by_column or min(found, default=0) < 0 or number * kind.itemsize != size:
        wanted = f"{np.dtype(dtype)} {['any' if part is None else part for part in shape]}"
        raise InputError(f"'{path.name}' holds {kind} {list(found)} in {size} bytes; allowed: {wanted}")
    if not number:
        return np.zeros(found, kind)
    if read_now is not None:
        require(len(read_now) == size, f"'{path.name}' was changed while it was read")
        read_now.flags.writeable = False
        array: npt.NDArray[Any] = read_now.view(kind).reshape(found)
        return array
    return np.asarray(np.memmap(path, kind, mode, start, found))
