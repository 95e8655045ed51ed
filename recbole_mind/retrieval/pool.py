"""A part of the catalogue that may be returned, prepared once and searched many times.

Shape legend: D embedding size, N items, M of them in the pool. An item's id is its row in the item vectors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recbole_mind.errors import require
from recbole_mind.retrieval.types import Bools, Floats, Ints
from recbole_mind.retrieval.validation import as_array, check_ids

SMALL_POOL = 0.2  # below this share of the catalogue a pool is searched exactly: filtered IVF and HNSW lose most of it


class Pool(NamedTuple):
    """A part of the catalogue that may be returned; ``ItemIndex.pool`` makes it.

    Attributes:
        ids: ``[M]``, ascending.
        vectors: ``[M, D]`` of a small pool, ``None`` for a large one.
        bitmap: one bit an item, for FAISS; empty for a small pool, which FAISS does not search.
        catalogue: ``[N, D]``, all of it; where there are no vectors, another array by which the pool is known.
    """

    ids: Ints
    vectors: Floats | None
    bitmap: npt.NDArray[np.uint8]
    catalogue: Floats

    def holds(self, ids: Ints) -> Bools:
        """Which of ``ids`` [...] are in it."""
        if len(self.bitmap):
            return self.bitmap[ids >> 3] >> (ids & 7) & 1 == 1  # type: ignore[no-any-return]
        if not len(self.ids):
            return np.zeros(ids.shape, bool)
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return self.ids[place] == ids  # type: ignore[no-any-return]


def pool_of(allowed: Any, items: Floats) -> Pool:
    """The pool of ``allowed`` ids ``[M]``, or ``[N]`` booleans, of ``items`` [N, D].

    Raises:
        InputError: an id is out of range, or a pool is of another index.
    """
    if isinstance(allowed, Pool):
        require(allowed.catalogue is items, "allowed: this pool is of another index; make it with this one")
        return allowed
    array = as_array(allowed, "allowed")
    N = len(items)
    if array.dtype == bool:
        require(array.shape == (N,), f"allowed: {list(array.shape)} booleans for {N} items; one for each is needed")
        ids = np.flatnonzero(array)
    else:
        array = array.astype(np.int64) if array.size == 0 else array
        good = array.ndim == 1 and np.issubdtype(array.dtype, np.integer)
        require(good, "allowed: a list of item ids or a boolean for each item is needed")
        check_ids(array, 0, N, "allowed")
        ids = array.astype(np.int64)
        if len(ids) < SMALL_POOL * N:
            ids = np.unique(ids)
            return Pool(ids, items[ids], np.zeros(0, np.uint8), items)
    inside = np.zeros(N, bool)  # to sort many ids would take seconds
    inside[ids] = True
    ids = np.flatnonzero(inside)
    if len(ids) < SMALL_POOL * N:
        return Pool(ids, items[ids], np.zeros(0, np.uint8), items)
    return Pool(ids, None, np.packbits(inside, bitorder="little"), items)
