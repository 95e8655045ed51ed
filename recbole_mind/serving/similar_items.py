"""Recall by lists of similar items, as item-based collaborative filtering has them: RecBole's ``ItemKNN``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recbole_mind.retrieval.types import Floats, Ints
from recbole_mind.serving.bundle.bundle import Bundle
from recbole_mind.serving.popular import most_popular
from recbole_mind.serving.results import ItemPool
from recbole_mind.serving.retriever import Hits, Retriever


class SimilarItems(Retriever):
    r"""Scores :math:`s_i = \sum_j h_j w_{ji}`, where h_j is how often item j stands in the history.

    An item that no list of the history names has the score 0, as in RecBole; of those the popular come first, where
    fewer than n others are there, and no interest brought them.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self._lists = bundle.lists

    def question(self, read: Ints, profile: Floats, gaps: Floats | None) -> npt.NDArray[Any]:
        return read[None]

    def search(
        self, questions: Sequence[npt.NDArray[Any]], depths: Sequence[int], left_out: Sequence[Ints], pool: ItemPool
    ) -> list[Hits]:
        return [
            self._search(question[0], depth, out, pool)
            for question, depth, out in zip(questions, depths, left_out, strict=True)
        ]

    def _search(self, read: Ints, n: int, left_out: Ints, pool: ItemPool) -> Hits:
        scores = np.zeros(len(self.bundle.item_tokens))
        for row, times in zip(*np.unique(read, return_counts=True), strict=True):
            own = slice(*self._lists.starts[row : row + 2])
            scores[self._lists.items[own]] += times * self._lists.weights[own].astype(np.float64)
        scores[left_out] = 0.0
        rows = np.flatnonzero(scores)
        if pool.pool is not None:
            rows = rows[pool.pool.holds(rows)]
        found = scores[rows].astype(np.float32)
        if 0 < n < len(rows):
            enough = found >= np.partition(found, len(rows) - n)[len(rows) - n]
            rows, found = rows[enough], found[enough]
        order = np.argsort(-found, kind="stable")[:n]
        rows, found = rows[order], found[order]
        rest = np.zeros(0, np.int64)
        if len(rows) < n:
            rest = most_popular(self.bundle, n - len(rows), np.union1d(left_out, rows), pool)
        return Hits(
            np.concatenate([rows, rest]),
            np.concatenate([found, np.zeros(len(rest), np.float32)]),
            np.repeat([0, -1], [len(rows), len(rest)]),
        )
