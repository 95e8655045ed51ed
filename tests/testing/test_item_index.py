"""The suite for indexes: the index of the pages keeps it, and a wrong one does not."""

import numpy as np
import pytest

from recbole_mind.testing import ItemIndexContract
from tests.support.documents import blocks
from tests.support.vectors import build


class TestOneOfThePages(ItemIndexContract):
    @pytest.fixture
    def make_index(self):
        text = next(block.text for block in blocks("docs/production.md") if "(ItemIndex)" in block.text)
        names = {}
        exec(text.partition("\n\n\nrecaller")[0], names)
        return names["MyIndex"]


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
