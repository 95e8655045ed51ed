"""The most popular items, for nobody in particular and, by Pop, for everybody."""

import numpy as np
import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving.popular import most_popular
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.store import gate, self_check
from tests.support.bundles import exported, trained_classic


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pop")
    return exported(trained_classic(folder, small, "Pop"), folder / "bundle")


@pytest.fixture(scope="module")
def recaller(folder):
    return Recaller.load(folder)


@pytest.mark.parametrize("size", [0, 3, 20, 50])
@pytest.mark.parametrize("n", [1, 5, 100])
def test_they_are_those_of_the_pool_that_are_counted_most_often(recaller, size, n):
    rows = np.sort(np.random.default_rng(size).choice(50, size, replace=False))
    pool = recaller.pool(recaller.bundle.item_tokens.tokens(rows))
    out = rows[::4]
    kept = [row for row in rows if row not in out]
    counts = recaller.bundle.counts
    wanted = sorted(kept, key=lambda row: (-counts[row], row))[:n]
    assert most_popular(recaller.bundle, n, out, pool).tolist() == wanted


def test_pop_recalls_them_for_every_history(recaller):
    bundle = recaller.bundle
    tokens = bundle.item_tokens.tokens(bundle.popularity)
    found = recaller.recall(tokens[1:3], n=4)
    assert found.items == [tokens[0], *tokens[3:6]]
    rows = bundle.item_tokens.ids(found.items)
    assert found.scores == (bundle.counts[rows] / bundle.counts.max()).tolist()
    assert (found.interests, found.fallback) == ([-1] * 4, None)
    assert recaller.recall(tokens[1:3], n=4, exclude_seen=False).items == tokens[:4]
    nobody = recaller.recall([], n=4)
    assert (nobody.items, nobody.fallback) == (tokens[:4], "empty history")
    assert nobody.scores == bundle.counts[bundle.popularity[:4]].tolist()


def test_it_is_tried_as_others_are_and_refuses_what_it_has_not(folder, recaller):
    assert self_check.tried(folder, gate.limits()) == gate.Checked((), (), {"index_recall": 1.0})
    with pytest.raises(InputError, match="this bundle is of Pop, which has no interests"):
        recaller.interests(["1"])
    with pytest.raises(InputError, match="is of Pop, which has no lists of similar items"):
        _ = recaller.bundle.lists
