"""What an index of items must be for recall to search it: ours is exact or FAISS's, another may ask a vector database.

A class on :class:`ItemIndex` keeps its contract if it passes ``recbole_mind.testing.ItemIndexContract``.

Shape legend: B users, K interests, D embedding size, N items. An item's id is its row in the item vectors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from recbole_mind.retrieval.pool import Pool, pool_of
from recbole_mind.retrieval.types import Floats, Found

METRICS = ("ip", "cosine")


class ItemIndex(ABC):
    """Item vectors that are searched with several interests a user; any number of threads may search at once.

    Attributes:
        factory: how it searches, as records and logs name it, such as ``"exact"`` or ``"Milvus HNSW"``.
        metric: ``"ip"``, or ``"cosine"``, which brings interests to unit length; the vectors then have it.
        threads: how many users of a batch are searched at once.
    """

    factory: str
    metric: str
    threads: int = 1

    @property
    @abstractmethod
    def vectors(self) -> Floats:
        """The item vectors ``[N, D]``, float32, read-only; always the same array, by which a pool knows its index."""

    @abstractmethod
    def search(self, interests: Any, active: Any, n: int, exclude: Any = None, allowed: Any = None) -> Found:
        """The n best items of each user by the maximum over the active interests of v_k·e_i.

        Args:
            interests: ``[B, K, D]`` float32.
            active: ``[B, K]`` booleans; inactive interests are not searched. ``None``: all are active.
            n: how many, at least 1.
            exclude: for each user the ids to leave out: ``[B, H]`` padded with -1, B sequences, or
                :class:`~recbole_mind.retrieval.types.Exclusions`.
            allowed: the items that may be returned, for all users: a :class:`~recbole_mind.retrieval.pool.Pool` of
                :meth:`pool`, ids, or ``[N]`` booleans.

        Returns:
            ``(ids, scores, interests)``, each ``[B, n]``: ids by descending score, ties by the lower id, and the
            interest that reaches the score, the first of equals; -1, -inf and -1 where fewer than n are allowed.

        Raises:
            InputError: shapes, types or values that cannot be used; whatever it asks does not answer.
        """

    def __len__(self) -> int:
        """N."""
        return len(self.vectors)

    @property
    def size(self) -> int:
        """D, the size of a vector."""
        return int(self.vectors.shape[1])

    @property
    def is_exact(self) -> bool:
        """Whether it compares every item, so that a user's answer does not depend on who else is searched."""
        return False

    @property
    def parameters(self) -> dict[str, float]:
        """The search parameters in force, by name."""
        return {}

    def pool(self, allowed: Any) -> Pool:
        """Prepare a part of the catalogue, to be given to :meth:`search` many times.

        Args:
            allowed: ids ``[M]``, or ``[N]`` booleans.

        Raises:
            InputError: an id is out of range, or a pool is of another index.
        """
        return pool_of(allowed, self.vectors)

    def on_one_thread(self) -> ItemIndex:
        """This index for one of several threads that search at once: a search takes no other thread."""
        return self
