"""Lists of similar items on disk: for each item those that it speaks for, and how much.

Three arrays in a folder, a sparse matrix in rows: ``starts.npy`` [N + 1], and of each pair the other item in
``items.npy`` [M] and its weight in ``weights.npy`` [M]. Item j's pairs stand from ``starts[j]`` to ``starts[j + 1]``,
ascending by item.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recbole_mind.errors import require
from recbole_mind.retrieval.types import Floats, Ints
from recbole_mind.util.arrays import open_array, save_array

BLOCK = 2**22  # pairs that are checked at once
LARGEST = 2.0**64  # weight: sums of them over any history stay finite in float32


class ItemLists(NamedTuple):
    """For each item j the items i of its list, and the weight that j in a history adds to the score of i.

    Attributes:
        starts: ``[N + 1]``, where each item's list begins and ends.
        items: ``[M]``, ascending in each list.
        weights: ``[M]``, above 0.
    """

    starts: Ints
    items: npt.NDArray[np.int32]
    weights: Floats

    def save(self, folder: Path) -> None:
        """Write the lists into ``folder``, which is made."""
        save_array(folder / "starts.npy", self.starts.astype(np.int64, copy=False))
        save_array(folder / "items.npy", self.items.astype(np.int32, copy=False))
        save_array(folder / "weights.npy", self.weights.astype(np.float32, copy=False))

    @classmethod
    def open(cls, folder: Path, N: int) -> ItemLists:
        """Open the lists of N items; large arrays are mapped.

        Raises:
            InputError: a file cannot be read or holds something else, a list is out of order, names an item that is
                not there or twice, or has a weight that is none.
        """
        starts = open_array(folder / "starts.npy", np.int64, (N + 1,))
        items = open_array(folder / "items.npy", np.int32, (None,))
        weights = open_array(folder / "weights.npy", np.float32, (len(items),))
        good = int(starts[0]) == 0 and int(starts[-1]) == len(items) and bool((starts[1:] >= starts[:-1]).all())
        require(good, f"'lists/starts.npy' does not share out the {len(items)} pairs of 'lists/items.npy'")
        for begin in range(0, len(items), BLOCK):
            part = items[begin : begin + BLOCK + 1]
            inside = int(part.min()) >= 0 and int(part.max()) < N
            require(inside, f"'lists/items.npy' names an item that is not among the {N}")
            falls = np.flatnonzero(part[1:] <= part[:-1]) + begin + 1
            places = np.searchsorted(starts, falls)  # a list's own start, or else it falls within a list
            require(bool((starts[places] == falls).all()), "'lists/items.npy' holds a list that does not ascend")
            own = weights[begin : begin + BLOCK]
            fits = bool(((own > 0) & (own <= LARGEST)).all())  # NaN is neither
            require(fits, "'lists/weights.npy' holds weights that are not above 0 and finite")
        return cls(starts, items, weights)
