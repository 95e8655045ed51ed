"""Which trial leads: by the validation metric, the earlier of two, over all seeds of a curve's point."""

import math

import pytest

from recbole_mind.experiments.sweep.leader import figure, leader


def records(*values, metric="ndcg@10"):
    """Records of trials 1, 2, ... with these values; None for a trial that failed."""
    return {
        number: {"error": "out of memory"} if value is None else {"valid": {metric: value}}
        for number, value in enumerate(values, 1)
    }


@pytest.mark.parametrize(
    ("record", "value"),
    [
        ({"valid": {"ndcg@10": 1}}, 1.0),
        ({"valid": {"ndcg@10": math.nan}}, None),
        ({"valid": {"ndcg@10": math.inf}}, None),
        ({"valid": {"ndcg@10": "0.3"}}, None),
        ({"valid": {"recall@10": 0.3}}, None),
        ({"valid": {"ndcg@10": 0.3}, "error": "late"}, None),
    ],
)
def test_a_trial_is_judged_by_a_finite_number(record, value):
    assert figure(record, "ndcg@10") == value


def test_the_best_leads_and_of_two_the_earlier():
    drawn = {number: {"K": number} for number in range(1, 6)}
    found = records(0.1, 0.4, None, 0.4, 0.2)
    assert leader(found, drawn, "ndcg@10", bigger=True, curves=False) == ({"K": 2}, 0.4, 2)
    assert leader(found, drawn, "ndcg@10", bigger=False, curves=False) == ({"K": 1}, 0.1, 1)
    assert leader(records(None, None), drawn, "ndcg@10", bigger=True, curves=False) is None
    assert leader({}, {}, "ndcg@10", bigger=True, curves=True) is None


def test_of_a_curve_the_mean_over_all_seeds_decides():
    drawn = {1: {"K": 1}, 2: {"K": 2}, 3: {"K": 1}, 4: {"K": 2}, 5: {"K": 3}}
    found = records(0.5, 0.45, 0.1, 0.35, 0.9)  # K 3 has run with one seed of two
    assert leader(found, drawn, "ndcg@10", bigger=True, curves=True) == ({"K": 2}, pytest.approx(0.4), 2)
    assert leader(found, drawn, "ndcg@10", bigger=True, curves=False).settings == {"K": 3}
