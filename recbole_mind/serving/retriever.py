"""What turns a history into the items that it recalls, and their scores: the part of recall that is a model's own.

Behind :class:`~recbole_mind.serving.recaller.Recaller`, which knows tokens, pools, histories and what is left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recbole_mind.errors import InputError
from recbole_mind.retrieval.item_index import ItemIndex
from recbole_mind.retrieval.pool import SMALL_POOL, Pool
from recbole_mind.retrieval.types import Floats, Ints
from recbole_mind.serving.bundle.bundle import Bundle
from recbole_mind.serving.results import ItemPool


class Hits(NamedTuple):
    """Rows of items by descending score, and which interest brought each, -1 for none."""

    rows: Ints
    scores: npt.NDArray[Any]
    interests: Ints


class Retriever(ABC):
    """Recalls rows of a bundle's items; any number of threads may use one at once.

    Unless a class says otherwise, its model has no item vectors and no interests.

    Args:
        bundle: an open bundle, of a kind that the class is for.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    @property
    def catalogue(self) -> npt.NDArray[Any]:
        """An array of the bundle's, always the same, by which a pool knows whose it is."""
        return self.bundle.counts

    @property
    def index(self) -> ItemIndex:
        """The index of item vectors that is searched.

        Raises:
            InputError: there is none.
        """
        return self.bundle.index

    def pool(self, rows: Ints) -> Pool:
        """Prepare a part of the catalogue; ``rows`` ascend."""
        N = len(self.bundle.item_tokens)
        bitmap = np.zeros(0, np.uint8)
        if len(rows) >= SMALL_POOL * N:
            inside = np.zeros(N, bool)
            inside[rows] = True
            bitmap = np.packbits(inside, bitorder="little")
        return Pool(rows, None, bitmap, self.catalogue)

    @abstractmethod
    def question(self, read: Ints, profile: Floats, gaps: Floats | None) -> npt.NDArray[Any]:
        """What is searched for the rows ``read`` of a history, ``[K, ...]``, a part for each interest; K is at least 1.

        Args:
            read: ``[L]``, oldest first, at least one.
            profile: of the user.
            gaps: before the newest behaviour, for a model that reads them.
        """

    @abstractmethod
    def search(
        self, questions: Sequence[npt.NDArray[Any]], depths: Sequence[int], left_out: Sequence[Ints], pool: ItemPool
    ) -> list[Hits]:
        """For each question the best items of the pool, at most as many as its depth, without the rows left out."""

    def interests(self, read: Ints, profile: Floats, gaps: Floats | None) -> tuple[Floats, Floats]:
        """The interests ``[K, D]`` of the rows read, and ``[K, L]``, how much each row makes of each.

        Raises:
            InputError: the model has none.
        """
        name = self.bundle.manifest.model.name
        raise InputError(f"history: this bundle is of {name}, which has no interests; ask for /recall") from None

    def check_alone(self) -> None:
        """Raise :class:`InputError` unless each interest can be asked by itself (``per_interest``)."""
        raise InputError(f"per_interest: this bundle is of {self.bundle.manifest.model.name}, which has no interests")
