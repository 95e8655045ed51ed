"""What a search takes in, checked: vectors, ids and exclusions, each refusal one line that names the argument.

Shape legend: B users, K interests, D embedding size, N items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recbole_mind.errors import InputError, require
from recbole_mind.retrieval.exact import lengths
from recbole_mind.retrieval.types import Exclusions, Floats

LARGEST = 1e18  # length of a vector: products must stay within float32


def normalized(vectors: Floats) -> Floats:
    """A copy of ``vectors`` [..., D] at unit length; vectors of zeros stay."""
    unit = np.empty_like(vectors)
    for start in range(0, len(vectors), 2**16):  # in float64, a part at a time
        part = vectors[start : start + 2**16]
        length = lengths(part)[..., None]
        unit[start : start + 2**16] = part / np.where(length > 0, length, 1)
    return unit


def as_array(values: Any, name: str) -> npt.NDArray[Any]:
    """An array of an array, a tensor or a list."""
    try:
        return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name}: it cannot be read as an array: {error}") from None


def as_vectors(values: Any, name: str, dimensions: int) -> Floats:
    """Contiguous float32 vectors, ``[N, D]`` for 2 dimensions or ``[B, K, D]`` for 3, finite and not too long."""
    array = as_array(values, name)
    shape = "[N, D]" if dimensions == 2 else "[B, K, D]"
    require(array.ndim == dimensions, f"{name}: shape {list(array.shape)} is not allowed; allowed: {shape}")
    require(array.dtype == np.float32, f"{name}: dtype {array.dtype} is not allowed; allowed: float32")
    require(min(array.shape[1:]) > 0, f"{name}: shape {list(array.shape)} holds no vector; allowed: {shape}")
    array = np.ascontiguousarray(array)
    for start in range(0, len(array), 2**16):
        wrong = ~(lengths(array[start : start + 2**16]) < LARGEST)
        if wrong.any():
            row = start + int(np.argwhere(wrong)[0][0])
            kind = "NaN or infinite values" if not np.isfinite(array[row]).all() else f"a length above {LARGEST:g}"
            raise InputError(f"{name}: row {row} holds {kind}; allowed: finite vectors")
    return array


def is_whole(value: Any) -> bool:
    """Whether ``value`` is a whole number."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_ids(ids: npt.NDArray[Any], low: int, N: int, name: str) -> None:
    """Raise :class:`InputError` for an id below ``low`` or not below ``N``."""
    wrong = ids[(ids < low) | (ids >= N)]
    require(not len(wrong), f"{name}: id {wrong[0] if len(wrong) else 0} is out of range 0 to {N - 1}")


def as_exclusions(exclude: Any, B: int, N: int) -> Exclusions:
    """The different pairs of user and item, ascending."""
    nothing = np.zeros(0, np.int64)
    if exclude is None:
        return Exclusions(nothing, nothing)
    if isinstance(exclude, Exclusions):
        rows, ids = exclude
        check_ids(ids, 0, N, "exclude")
        check_ids(rows, 0, B, "exclude: row")
    elif isinstance(exclude, np.ndarray) or hasattr(exclude, "detach"):
        table = as_array(exclude, "exclude")
        good = table.ndim == 2 and len(table) == B and np.issubdtype(table.dtype, np.integer)
        require(good, f"exclude: {list(table.shape)} {table.dtype} is not allowed; allowed: [B, H] ids padded with -1")
        check_ids(table.reshape(-1), -1, N, "exclude")
        rows, columns = np.nonzero(table >= 0)
        ids = table[rows, columns]
    else:
        require(
            isinstance(exclude, Sequence) and len(exclude) == B and not isinstance(exclude, str),
            f"exclude: one list of ids for each of the {B} users is needed",
        )
        lists = [as_array(row, "exclude") for row in exclude]
        for row in lists:
            good = row.ndim == 1 and (np.issubdtype(row.dtype, np.integer) or not len(row))
            require(good, "exclude: the ids of each user are a list of whole numbers")
            check_ids(row, 0, N, "exclude")
        rows = np.repeat(np.arange(B), [len(row) for row in lists])
        ids = np.concatenate([row.astype(np.int64) for row in lists]) if lists else nothing
    pairs = np.unique(rows.astype(np.int64) * N + ids.astype(np.int64))
    return Exclusions(pairs // N, pairs % N)
