"""What a search takes and gives: types of arrays, what is left out, what was found."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


Ints = npt.NDArray[np.int64]


Bools = npt.NDArray[np.bool_]


class Exclusions(NamedTuple):
    """Pairs that must not be returned: ``rows`` [P], ascending, and item ``ids`` [P]."""

    rows: Ints
    ids: Ints

    def of(self, users: Ints, B: int) -> Exclusions:
        """The pairs of ``users`` alone, whose rows become their places."""
        if not len(self.rows):
            return self
        starts = np.searchsorted(self.rows, np.arange(B + 1))
        counts = starts[users + 1] - starts[users]
        within = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        return Exclusions(np.repeat(np.arange(len(users)), counts), self.ids[np.repeat(starts[users], counts) + within])


class Found(NamedTuple):
    """``ids`` [B, n], their ``scores`` [B, n], the ``interests`` [B, n] that reach them; -1, -inf, -1 for nothing."""

    ids: Ints
    scores: Floats
    interests: Ints

    def put(self, users: Ints, part: Found) -> None:
        """Set the rows of ``users``."""
        self.ids[users], self.scores[users], self.interests[users] = part


def empty(B: int, n: int) -> Found:
    """Results without any item."""
    return Found(np.full((B, n), -1), np.full((B, n), -np.inf, np.float32), np.full((B, n), -1))
