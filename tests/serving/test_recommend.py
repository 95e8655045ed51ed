"""The ranked list: the candidates of recall in the order of the ranker."""

import numpy as np
import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.results import EMPTY, UNKNOWN
from tests.support.bundles import exported, ranked, trained

HISTORY = ["i1", "i3", "i5", "i8", "i9", "i11", "i14", "i15"]


@pytest.fixture(scope="module")
def recaller(small, tmp_path_factory):
    checkpoint = trained(tmp_path_factory.mktemp("trained"), small, "MIND", K=3)
    folder = exported(checkpoint, tmp_path_factory.mktemp("b") / "bundle", ranker=ranked(checkpoint))
    return Recaller.load(folder, threads=1)


def test_the_list_is_recalls_candidates_in_the_rankers_order(recaller):
    recalled = recaller.recall(HISTORY, n=20)
    found = recaller.recommend(HISTORY, n=7, candidates=20)
    tokens = recaller.bundle.item_tokens.tokens(np.arange(50))
    row_of = {token: row for row, token in enumerate(tokens)}
    rows = np.array([row_of[token] for token in recalled.items])
    chances = recaller.bundle.ranker.probabilities(
        np.array([row_of[token] for token in HISTORY]), rows, np.array(recalled.scores), np.array(recalled.interests)
    )
    order = sorted(range(20), key=lambda place: -chances[place])[:7]
    assert found.items == [recalled.items[place] for place in order]
    assert found.recall_scores == [recalled.scores[place] for place in order]
    assert found.interests == [recalled.interests[place] for place in order]
    np.testing.assert_allclose(found.scores, chances[order], atol=1e-6)
    assert found.recalled == 20


def test_the_ranker_has_an_opinion_of_its_own(recaller):
    histories = [[f"i{(start + step) % 50 + 1}" for step in range(8)] for start in range(0, 50, 3)]
    same = [recaller.recommend(one, 7, 20).items == recaller.recall(one, n=7).items for one in histories]
    assert not all(same)


def test_the_funnel_says_what_was_returned(recaller):
    for history in (HISTORY, []):
        funnel = []
        recaller.recommend(history, n=4, candidates=20, funnel=funnel)
        assert [each.returned for each in funnel] == [4]


def test_what_recall_leaves_out_is_not_ranked(recaller):
    found = recaller.recommend(HISTORY, n=5, candidates=50, allowed=["i2", "i3", "i4", "i6"], denied=["i4"])
    assert sorted(found.items) == ["i2", "i6"]  # i3 is of the history
    assert found.recalled == 2


@pytest.mark.parametrize(("history", "reason"), [([], EMPTY), (["nobody"], UNKNOWN)])
def test_without_a_history_the_most_popular_come_as_recall_gives_them(recaller, history, reason):
    found, recalled = recaller.recommend(history, n=4, candidates=30), recaller.recall(history, n=4)
    assert (found.items, found.scores, found.interests) == (recalled.items, recalled.scores, recalled.interests)
    assert (found.recalled, found.fallback) == (0, reason)


@pytest.mark.parametrize(("n", "candidates"), [(0, 10), (11, 10), (2.5, 10), (True, 10), (5, "10"), (-1, 10)])
def test_other_numbers_are_refused(recaller, n, candidates):
    with pytest.raises(InputError, match="candidates is not allowed; allowed: whole numbers"):
        recaller.recommend(HISTORY, n=n, candidates=candidates)


def test_a_bundle_without_a_ranker_refuses(small, tmp_path_factory, tmp_path):
    checkpoint = trained(tmp_path_factory.mktemp("trained"), small, "YouTubeDNN")
    with pytest.raises(InputError, match="has no ranker"):
        Recaller.load(exported(checkpoint, tmp_path / "bundle")).recommend(HISTORY)


def test_a_single_vectors_recall_is_ranked_too(small, tmp_path_factory, tmp_path):
    checkpoint = trained(tmp_path_factory.mktemp("trained"), small, "YouTubeDNN")
    folder = exported(checkpoint, tmp_path / "bundle", ranker=ranked(checkpoint))
    found = Recaller.load(folder).recommend(HISTORY, n=3, candidates=10)
    assert found.interests == [0, 0, 0]
