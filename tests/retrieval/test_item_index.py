"""Our indexes keep the contract of an item index; Milvus's is in ``tests/serving/test_milvus.py``."""

import pytest

from recbole_mind.retrieval import ItemIndex
from recbole_mind.testing import ItemIndexContract
from tests.support.vectors import build


@pytest.mark.parametrize(
    ("factory", "threads"),
    [("exact", 1), ("exact", 2), ("Flat", 1), ("IVF4,Flat", 2), ("IVF4,SQ8", 1), ("HNSW16", 1)],
)
class TestMultiVectorIndex(ItemIndexContract):
    @pytest.fixture
    def make_index(self, factory, threads):
        return lambda items: build(items, factory, threads=threads)


def test_an_index_that_cannot_search_cannot_be_made():
    class Half(ItemIndex):
        @property
        def vectors(self):
            return None

    with pytest.raises(TypeError, match="search"):
        Half()
