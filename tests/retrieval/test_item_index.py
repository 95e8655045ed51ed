"""Our indexes keep the contract of an item index; Milvus's is in ``tests/serving/test_milvus.py``."""

import numpy as np
import pytest

from recbole_mind.retrieval import ItemIndex
from recbole_mind.testing import ItemIndexContract
from tests.support.documents import blocks
from tests.support.vectors import build


@pytest.mark.parametrize(
    ("factory", "threads"),
    [("exact", 1), ("exact", 2), ("Flat", 1), ("IVF4,Flat", 2), ("IVF4,SQ8", 1), ("HNSW16", 1)],
)
class TestMultiVectorIndex(ItemIndexContract):
    @pytest.fixture
    def make_index(self, factory, threads):
        return lambda items: build(items, factory, threads=threads)


class TestOneOfThePages(ItemIndexContract):
    @pytest.fixture
    def make_index(self):
        text = next(block.text for block in blocks("docs/production.md") if "(ItemIndex)" in block.text)
        names = {}
        exec(text.partition("\n\n\nrecaller")[0], names)
        return names["MyIndex"]


def test_an_index_that_cannot_search_cannot_be_made():
    class Half(ItemIndex):
        @property
        def vectors(self):
            return None

    with pytest.raises(TypeError, match="search"):
        Half()


@pytest.mark.parametrize(
    "fault",
    [lambda found: found._replace(ids=found.ids[:, ::-1]), lambda found: found._replace(scores=found.scores * 2)],
)
def test_the_contract_sees_a_wrong_answer(fault):
    suite = ItemIndexContract()
    items = np.array([[1, 0], [0, 0.5]], np.float32)
    found = build(items).search(np.ones((1, 1, 2), np.float32), None, 2)
    suite.same(found, found)
    with pytest.raises(AssertionError):
        suite.same(fault(found), found)
