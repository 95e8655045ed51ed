"""The most popular items: what a bundle recalls for nobody, and for everybody where its model is Pop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recbole_mind.retrieval.types import Floats, Ints
from recbole_mind.serving.bundle.bundle import Bundle
from recbole_mind.serving.results import ItemPool
from recbole_mind.serving.retriever import Hits, Retriever


def most_popular(bundle: Bundle, n: int, left_out: Ints, pool: ItemPool) -> Ints:
    """The n most popular rows of the pool; ties go to the lower row."""

    def kept(rows: Ints) -> Ints:
        return rows[~np.isin(rows, left_out)]

    rows = bundle.popularity[: 32 * n + len(left_out)].astype(np.int64)
    found = kept(rows if pool.pool is None else rows[pool.pool.holds(rows)])
    if len(found) >= n or len(rows) == len(bundle.popularity):
        return found[:n]
    rows = kept(pool.rows)  # few of the most popular are in the pool: it is sorted itself
    counts = bundle.counts[rows]
    if len(rows) > n:
        enough = counts >= np.partition(counts, len(rows) - n)[len(rows) - n]
        rows, counts = rows[enough], counts[enough]
    return rows[np.argsort(-counts, kind="stable")][:n]


class Popularity(Retriever):
    """RecBole's ``Pop``: every history recalls the most popular items, with their share of the largest count."""

    def question(self, read: Ints, profile: Floats, gaps: Floats | None) -> npt.NDArray[Any]:
        return read[None]

    def search(
        self, questions: Sequence[npt.NDArray[Any]], depths: Sequence[int], left_out: Sequence[Ints], pool: ItemPool
    ) -> list[Hits]:
        found = []
        most = max(int(self.bundle.counts[self.bundle.popularity[0]]), 1) if len(self.bundle.popularity) else 1
        for depth, out in zip(depths, left_out, strict=True):
            rows = most_popular(self.bundle, depth, out, pool)
            found.append(Hits(rows, self.bundle.counts[rows] / most, np.full(len(rows), -1)))
        return found
