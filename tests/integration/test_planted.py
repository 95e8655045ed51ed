"""Planted interests: 30 blocks of 20 items, each user in three of them. Does routing find the blocks?

What K-means finds on the same vectors stands beside it; ``benchmarks/planted.py`` prints the whole table.
"""

from __future__ import annotations

import pytest

from benchmarks.planted import RECIPES, run


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["kmeans++", "random start, scale 8, 5 iterations"])
def test_three_interests_find_the_three_blocks_of_a_user(recipe):
    result = run(seed=1, **RECIPES[recipe])
    assert result["recall@60"] >= 0.95
    assert result["adjusted_rand_index"] >= 0.8
    assert result["kmeans_adjusted_rand_index"] >= 0.8


@pytest.mark.slow
def test_one_interest_does_not(request):
    result = run(seed=1, **RECIPES["K = 1"])
    assert result["recall@60"] < 0.9
