"""Recall by interests: the encoder makes vectors of a history, and the index finds the items that are nearest to one.

Shape legend: B users, K interests, L behaviours that are read, D embedding size.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from recbole_mind.errors import require
from recbole_mind.retrieval import exact
from recbole_mind.retrieval.item_index import ItemIndex
from recbole_mind.retrieval.pool import Pool
from recbole_mind.retrieval.types import Exclusions, Floats, Ints
from recbole_mind.serving.bundle.bundle import Bundle
from recbole_mind.serving.results import ItemPool
from recbole_mind.serving.retriever import Hits, Retriever


class InterestSearch(Retriever):
    """Scores items by the maximum over a history's interests.

    Args:
        bundle: an open bundle with encoder and index.
        index: what is searched in place of the bundle's own index, of the same item vectors.

    Raises:
        InputError: the index is of other items.
    """

    def __init__(self, bundle: Bundle, index: ItemIndex | None = None) -> None:
        super().__init__(bundle)
        self._index: ItemIndex = bundle.index if index is None else index
        held, wanted = (len(self.index), self.index.size), (len(bundle.index), bundle.index.size)
        message = (
            f"index: its {held[0]} vectors of size {held[1]} are not the {wanted[0]} of size {wanted[1]} of the bundle"
        )
        require(held == wanted, message)
        self._vectors, self._norms = bundle.index.vectors, bundle.norms

    @property
    def catalogue(self) -> npt.NDArray[Any]:
        return self._vectors

    @property
    def index(self) -> ItemIndex:
        return self._index

    def pool(self, rows: Ints) -> Pool:
        return self.index.pool(rows)

    def check_alone(self) -> None:
        """Pass: each interest can be asked by itself."""

    def question(self, read: Ints, profile: Floats, gaps: Floats | None) -> npt.NDArray[Any]:
        return self._encode(read, profile, gaps)[0]

    def interests(self, read: Ints, profile: Floats, gaps: Floats | None) -> tuple[Floats, Floats]:
        if not len(read):
            return np.zeros((0, self._vectors.shape[1]), np.float32), np.zeros((0, 0), np.float32)
        return self._encode(read, profile, gaps)

    def _encode(self, rows: Ints, profile: Floats, gaps: Floats | None) -> tuple[Floats, Floats]:
        """The active interests ``[K, D]`` of the items read, and ``[K, L]``, what each is made of.

        Each history by itself: in company or with padding, sums differ in the last bit.
        """
        behaviors = self._vectors[rows]
        if self._norms is not None:
            behaviors = behaviors * self._norms[rows][:, None]
        found = self.bundle.encoder(behaviors[None], np.array([len(rows)]), profile[None], gaps)
        return found.interests[found.active], found.weights[found.active]

    def search(
        self, questions: Sequence[npt.NDArray[Any]], depths: Sequence[int], left_out: Sequence[Ints], pool: ItemPool
    ) -> list[Hits]:
        if not questions or not len(pool.rows):
            empty = Hits(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.int64))
            return [empty for _ in questions]
        if self.index.is_exact:  # whose answer does not depend on company
            return self._together(self.index, questions, depths, left_out, pool)
        work = [([one], [depth], [out], pool) for one, depth, out in zip(questions, depths, left_out, strict=True)]
        if len(work) == 1 or self.index.threads == 1:
            return [self._together(self.index, *arguments)[0] for arguments in work]
        index = self.index.on_one_thread()
        with exact.one_blas_thread(), ThreadPoolExecutor(self.index.threads) as threads:
            return [part[0] for part in threads.map(lambda arguments: self._together(index, *arguments), work)]

    def _together(
        self,
        index: ItemIndex,
        vectors: Sequence[Floats],
        depths: Sequence[int],
        left_out: Sequence[Ints],
        pool: ItemPool,
    ) -> list[Hits]:
        B, K = len(vectors), max(map(len, vectors))
        stacked = np.zeros((B, K, self._vectors.shape[1]), np.float32)
        active = np.zeros((B, K), bool)
        for row, own in enumerate(vectors):
            stacked[row, : len(own)], active[row, : len(own)] = own, True
        pairs = Exclusions(np.repeat(np.arange(B), [len(rows) for rows in left_out]), np.concatenate(left_out))
        found = index.search(stacked, active, max(depths), exclude=pairs, allowed=pool.pool)
        results = []
        for row, depth in enumerate(depths):
            many = min(depth, int((found.ids[row] >= 0).sum()))
            results.append(Hits(found.ids[row, :many], found.scores[row, :many], found.interests[row, :many]))
        return results
