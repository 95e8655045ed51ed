"""What every item index keeps, held against a search that is written as loops.

Shape legend: B users, K interests, D embedding size, N items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from recbole_mind.errors import InputError
from recbole_mind.retrieval.item_index import METRICS, ItemIndex
from recbole_mind.retrieval.types import Bools, Exclusions, Floats, Found, empty
from recbole_mind.retrieval.validation import normalized

N, D, B, K = 120, 8, 6, 3
LEFT_OUT = [[], [7], [3, 50, 7], list(range(0, N, 2)), list(range(100)), list(range(N))]  # of each user


def by_loops(
    items: Floats,
    interests: Floats,
    active: Bools,
    n: int,
    exclude: Sequence[Sequence[int]] | None = None,
    allowed: Sequence[int] | None = None,
) -> Found:
    """Search ``items`` [N, D] with ``interests`` [B, K, D]; see :meth:`ItemIndex.search`."""
    found = empty(len(interests), n)
    for user, vectors in enumerate(interests):
        candidates = []
        for item, vector in enumerate(items):
            if (exclude is not None and item in exclude[user]) or (allowed is not None and item not in allowed):
                continue
            best, origin = -math.inf, -1
            for k, interest in enumerate(vectors):
                score = math.fsum(v * e for v, e in zip(interest.tolist(), vector.tolist(), strict=True))
                if active[user, k] and float(np.float32(score)) > best:
                    best, origin = float(np.float32(score)), k
            if origin >= 0:
                candidates.append((-best, item, origin))
        for rank, (negative, item, origin) in enumerate(sorted(candidates)[:n]):
            found.ids[user, rank], found.scores[user, rank], found.interests[user, rank] = item, -negative, origin
    return found


class ItemIndexContract:
    """The suite for an :class:`~recbole_mind.retrieval.ItemIndex`; a subclass overrides the fixture ``make_index``.

    ::

        class TestMine(ItemIndexContract):
            @pytest.fixture
            def make_index(self):
                return MyIndex

    The catalogue has 120 items, and an index is to find all of them: one that approximates is made with parameters
    under which it does.

    Attributes:
        tolerance: between a score and the product that a loop sums, relative to vectors of length about 1.
    """

    tolerance = 1e-5

    @pytest.fixture
    def make_index(self) -> Callable[[Floats], ItemIndex]:
        """What makes an index, by inner product, of item vectors ``[N, D]``, float32; called in every test."""
        raise NotImplementedError("a suite on ItemIndexContract overrides the fixture 'make_index'")

    @pytest.fixture
    def items(self) -> Floats:
        """Item vectors ``[120, 8]`` of length 1, no two scores of which are close."""
        return normalized(np.random.default_rng(0).standard_normal((N, D), np.float32))

    @pytest.fixture
    def interests(self) -> Floats:
        """Interests ``[6, 3, 8]`` of length 1."""
        return normalized(np.random.default_rng(1).standard_normal((B, K, D), np.float32))

    @pytest.fixture
    def active(self) -> Bools:
        """Which interests are active ``[6, 3]``; of user 4 none."""
        active = np.ones((B, K), bool)
        active[1, 1:], active[2, 0], active[4] = False, False, False
        return active

    @pytest.fixture
    def index(self, make_index: Callable[[Floats], ItemIndex], items: Floats) -> ItemIndex:
        """The index under test, of ``items``."""
        return make_index(items)

    def same(self, found: Found, expected: Found) -> None:
        """Hold an answer against the expected one."""
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.interests, expected.interests)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=self.tolerance)

    def test_it_says_what_it_is(self, index: ItemIndex, items: Floats) -> None:
        assert isinstance(index, ItemIndex)
        assert (len(index), index.size) == items.shape
        assert index.vectors is index.vectors  # by which a pool knows its index
        assert index.vectors.dtype == np.float32
        np.testing.assert_array_equal(np.asarray(index.vectors), items)
        with pytest.raises(ValueError, match="read-only"):
            index.vectors[0] = 0
        assert index.metric in METRICS
        assert index.factory
        assert isinstance(index.factory, str)
        assert index.threads >= 1
        assert isinstance(index.is_exact, bool)
        assert all(isinstance(value, (int, float)) for value in index.parameters.values())

    @pytest.mark.parametrize("n", [1, 10, N, N + 5])
    def test_the_best_by_the_maximum_over_active_interests(
        self, index: ItemIndex, items: Floats, interests: Floats, active: Bools, n: int
    ) -> None:
        found = index.search(interests, active, n)
        assert found.ids.shape == found.scores.shape == found.interests.shape == (B, n)
        self.same(found, by_loops(items, interests, active, n))
        assert (found.ids[4] == -1).all()
        self.same(index.search(interests, None, n), by_loops(items, interests, np.ones((B, K), bool), n))

    @pytest.mark.parametrize("form", ["lists", "padded", "pairs"])
    def test_what_a_user_leaves_out_does_not_come(
        self, index: ItemIndex, items: Floats, interests: Floats, active: Bools, form: str
    ) -> None:
        exclude: Any = LEFT_OUT
        if form == "padded":
            exclude = np.full((B, N + 1), -1)
            for row, ids in enumerate(LEFT_OUT):
                exclude[row, 1 : 1 + len(ids)] = ids
        elif form == "pairs":
            rows = np.repeat(np.arange(B), [len(ids) for ids in LEFT_OUT])
            exclude = Exclusions(rows, np.concatenate([np.array(ids, np.int64) for ids in LEFT_OUT]))
        found = index.search(interests, active, 20, exclude=exclude)
        self.same(found, by_loops(items, interests, active, 20, exclude=LEFT_OUT))
        assert (found.ids[5] == -1).all()

    @pytest.mark.parametrize("allowed", [range(5, 115), [3, 80, 81, 119], []], ids=["most", "few", "none"])
    @pytest.mark.parametrize("form", ["ids", "booleans", "pool"])
    def test_only_what_is_allowed_comes(
        self, index: ItemIndex, items: Floats, interests: Floats, active: Bools, form: str, allowed: Sequence[int]
    ) -> None:
        given: Any = list(allowed)
        if form != "ids":
            given = np.isin(np.arange(N), given)
        if form == "pool":
            given = index.pool(given)
            np.testing.assert_array_equal(given.ids, sorted(allowed))
            np.testing.assert_array_equal(given.holds(np.arange(N)), np.isin(np.arange(N), list(allowed)))
        found = index.search(interests, active, 10, exclude=LEFT_OUT, allowed=given)
        self.same(found, by_loops(items, interests, active, 10, exclude=LEFT_OUT, allowed=list(allowed)))

    def test_of_equal_items_the_lower_id_and_of_equal_interests_the_first_comes(
        self, make_index: Callable[[Floats], ItemIndex], items: Floats, interests: Floats
    ) -> None:
        twice = np.concatenate([items[:40], items[:40], items[:40]])
        asked = interests.copy()
        asked[:, 1] = asked[:, 0]
        asked[3] = 0  # for whom all items are equal
        every = np.ones((B, K), bool)
        self.same(make_index(twice).search(asked, None, 12), by_loops(twice, asked, every, 12))

    def test_an_answer_is_the_same_again_alone_and_on_one_thread(
        self, index: ItemIndex, interests: Floats, active: Bools
    ) -> None:
        whole = index.search(interests, active, 10, exclude=LEFT_OUT)
        for again in (index, index.on_one_thread()):
            self.same(again.search(interests, active, 10, exclude=LEFT_OUT), whole)
        for user in range(B):
            alone = index.search(interests[user : user + 1], active[user : user + 1], 10, exclude=[LEFT_OUT[user]])
            one = slice(user, user + 1)
            self.same(alone, Found(whole.ids[one], whole.scores[one], whole.interests[one]))
            if index.is_exact:
                np.testing.assert_array_equal(alone.scores[0], whole.scores[user])

    def test_threads_may_search_at_once(self, index: ItemIndex, interests: Floats, active: Bools) -> None:
        pools = [index.pool(range(start, N)) for start in range(0, 80, 10)]
        wanted = [index.search(interests, active, 10, allowed=pool) for pool in pools]
        one = index.on_one_thread()
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda pool: one.search(interests, active, 10, allowed=pool), pools * 2))
        for found, expected in zip(answers, wanted * 2, strict=True):
            self.same(found, expected)

    def test_nobody_gets_nothing(self, index: ItemIndex) -> None:
        found = index.search(np.zeros((0, K, D), np.float32), np.zeros((0, K), bool), 3)
        assert found.ids.shape == found.scores.shape == found.interests.shape == (0, 3)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"interests": np.zeros((B, K, D + 1), np.float32)},
            {"interests": np.zeros((B, D), np.float32)},
            {"interests": np.full((B, K, D), np.nan, np.float32)},
            {"active": np.ones((B, K + 1), bool)},
            {"active": np.ones((B, K), np.float32)},
            {"n": 0},
            {"n": 2.5},
            {"exclude": [[N]] * B},
            {"exclude": [[1]] * (B + 1)},
            {"allowed": [N]},
            {"allowed": [-1]},
            {"allowed": np.ones(N - 1, bool)},
        ],
        ids=str,
    )
    def test_what_cannot_be_used_is_refused(
        self, index: ItemIndex, interests: Floats, active: Bools, wrong: dict[str, Any]
    ) -> None:
        given: dict[str, Any] = {"interests": interests, "active": active, "n": 3} | wrong
        with pytest.raises(InputError):
            index.search(**given)

    def test_a_pool_of_another_index_is_refused(
        self, make_index: Callable[[Floats], ItemIndex], index: ItemIndex, items: Floats, interests: Floats
    ) -> None:
        twice = np.concatenate([items[:40], items[:40], items[:40]])
        with pytest.raises(InputError):
            index.search(interests, None, 3, allowed=make_index(twice).pool(range(50)))
