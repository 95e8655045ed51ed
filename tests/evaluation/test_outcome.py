"""What a search found, by hand: two rows with three targets, of which two were found."""

import numpy as np

from recbole_mind.evaluation.outcome import Outcome


def outcome():
    return Outcome(
        ids=np.array([[5, 7, 9], [4, 5, -1]], np.int32), interests=np.array([[0, 1, 0], [0, 0, -1]], np.int32),
        active=np.array([2, 1]), lengths=np.array([4, 3]), rows=np.array([0, 0, 1]), targets=np.array([3, 9, 4]),
        places=np.array([-1, 2, 0]), search={"factory": "exact"}, sample=(), index=None,
    )  # fmt: skip


def test_hits_stand_where_targets_were_found():
    assert outcome().hits().tolist() == [[False, False, True], [True, False, False]]
    assert outcome().numbers().tolist() == [2, 1]


def test_some_targets_alone():
    chosen = np.array([True, False, True])
    assert outcome().hits(chosen).tolist() == [[False, False, False], [True, False, False]]
    assert outcome().numbers(chosen).tolist() == [1, 1]
