"""Splits against RecBole's own and by hand."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_mind.data import splits


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.sampled_from([(8, 1, 1), (0.5, 0.3, 0.2), (1, 2, 7)]))
def test_splits_are_recboles(keys, ratios):
    from recbole.data.dataset import Dataset

    plain = object.__new__(Dataset)
    grouped = [list(group) for group in plain._grouped_index(keys)]
    ours = splits.groups(np.array(keys))
    assert ours.part(0, ours.counts).tolist() == [place for group in grouped for place in group]
    assert ours.counts.tolist() == [len(group) for group in grouped]
    for number in (1, 2):
        want = plain._split_index_by_leave_one_out(grouped, number)
        assert [part.tolist() for part in splits.leave_out(ours, number)] == want
    shares = [ratio / sum(ratios) for ratio in ratios]
    want = [[] for _ in shares]
    for group in grouped:
        ends = [*plain._calcu_split_ids(len(group), shares), len(group)]
        for part, start, end in zip(want, [0, *ends[:-1]], ends, strict=True):
            part.extend(group[start:end])
    assert [part.tolist() for part in splits.by_ratio(ours, shares)] == want


# -- the split ----------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=60),
    st.sampled_from([(8, 1, 1), (18, 1, 1), (0.5, 0.2, 0.3), (1, 5, 5)]),
    st.integers(0, 5),
)
def test_users_are_shared_out_by_their_random_numbers(counts, ratios, seed):
    parts = splits.users(np.array(counts), ratios, seed)
    present = [user for user, count in enumerate(counts) if count]
    numbers = dict(zip(present, np.random.PCG64(seed).random_raw(len(present)).tolist(), strict=True))
    order = sorted(present, key=numbers.__getitem__)
    valid, test = (math.floor(len(present) * ratio / sum(ratios) + 0.5) for ratio in ratios[1:])
    first = max(len(present) - valid - test, 0)
    want = [order[:first], order[first : first + valid], order[first + valid :]]
    assert [part.tolist() for part in parts] == [sorted(part) for part in want]
    # what the users did does not matter, as long as they did something
    again = splits.users(np.array(counts) * 3, ratios, seed)
    assert [part.tolist() for part in again] == [part.tolist() for part in parts]


def test_the_numbers_of_users_are_the_ratios():
    for n, ratios, sizes in (
        (100, (8, 1, 1), [80, 10, 10]),
        (40, (18, 1, 1), [36, 2, 2]),
        (10, (18, 1, 1), [8, 1, 1]),  # half a user is one
        (9, (18, 1, 1), [9, 0, 0]),
        (7, (1, 1, 1), [3, 2, 2]),
    ):
        assert [len(part) for part in splits.users(np.ones(n, int), ratios, 0)] == sizes
    assert [part.tolist() for part in splits.users(np.ones(6, int), (1, 1, 1), 0)] == [[2, 3], [0, 1], [4, 5]]


def test_the_cut_by_hand():
    counts = np.array([0, 1, 2, 3, 4, 5, 6, 9, 10, 100])
    assert splits.cuts(counts, 0.8).tolist() == [0, 0, 1, 2, 3, 4, 4, 7, 8, 80]
    assert splits.cuts(counts, 0.29).tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 29]
    assert splits.cuts(counts, None).tolist() == [0, 0, 1, 2, 3, 4, 5, 8, 9, 99]
