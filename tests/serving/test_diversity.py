"""ComiRec's controllable diversity, against a loop over all that was chosen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_mind.serving.diversity import diversify


def distance(one, two):
    """What two sets of categories do not have in common; those of items without one are alike."""
    one, two = one or {-1}, two or {-1}
    return 1 - len(one & two) / len(one | two)


def by_loop(scores, categories, n, weight):
    held = [{value for value in row if value} for row in categories]
    chosen = []
    while len(chosen) < min(n, len(scores)):
        left = [i for i in range(len(scores)) if i not in chosen]
        worth = {i: scores[i] + weight * sum(distance(held[i], held[j]) for j in chosen) for i in left}
        chosen.append(max(left, key=lambda i: (worth[i], -i)))
    return chosen


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.lists(st.integers(0, 3), min_size=2, max_size=2)), min_size=1, max_size=12
    ),
    st.integers(0, 12),
    st.sampled_from([0.0, 0.25, 1.0, 8.0]),
)
def test_the_choice_is_that_of_a_loop(items, n, weight):
    items = sorted(items, key=lambda item: -item[0])
    scores = [score * 16.0 for score, _ in items]  # far enough apart for no rounding to decide
    scores = [score + (len(items) - place) * 0.0703 for place, score in enumerate(scores)]
    categories = np.array([row for _, row in items])
    assert diversify(scores, categories, n, weight).tolist() == by_loop(scores, categories.tolist(), n, weight)


def test_a_large_weight_takes_turns_and_none_keeps_the_order():
    categories = np.array([[1], [1], [1], [2], [2], [3]])
    scores = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    assert diversify(scores, categories, 6, 0.0).tolist() == [0, 1, 2, 3, 4, 5]
    assert diversify(scores, categories, 3, 100.0).tolist() == [0, 3, 5]
    assert diversify(scores, np.zeros((6, 0), int), 4, 100.0).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("n", [0, 3, 9])
def test_no_more_are_chosen_than_there_are(n):
    assert len(diversify([3.0, 2.0, 1.0], np.array([[1], [0], [1]]), n, 1.0)) == min(n, 3)
