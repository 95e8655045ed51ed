"""The index of the last evaluation, for the next one."""

from __future__ import annotations

from recbole_mind.retrieval.index import MultiVectorIndex
from recbole_mind.retrieval.types import Floats


class IndexCache:
    """The index of the last search, which is given again while the item vectors stay the same; never two at once."""

    def __init__(self) -> None:
        self._index: MultiVectorIndex | None = None

    def get(self, items: Floats, factory: str, device: str) -> MultiVectorIndex:
        """The index of ``items`` [N, D] by ``factory``, built on ``device`` if it is not the last one."""
        if self._index is None or self._index.factory != factory or not self._index.is_of(items):
            self._index = None
            self._index = MultiVectorIndex.build(items, factory, device=device)
        return self._index

    def clear(self) -> None:
        """Forget the index, whose vectors are about to change."""
        self._index = None
