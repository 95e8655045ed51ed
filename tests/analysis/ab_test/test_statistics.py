"""The statistics of experiments: against loops, under no difference, and with a planted one."""

import math

import numpy as np
import pytest
from scipy import stats

from recbole_mind.analysis.ab_test import statistics
from recbole_mind.errors import InputError


def drawn(random, users, rate):
    """Users who differ in how much they see and in how much they click."""
    impressions = 1 + random.poisson(8, users)
    own = np.clip(rate * random.gamma(2, 0.5, users), 0, 1)
    return impressions, random.binomial(impressions, own)


def test_rates_by_hand():
    found = statistics.rates(np.array([4, 1, 5]), np.array([2, 0, 1]), seed=[0])
    assert (found.users, found.impressions, found.clicks) == (3, 10, 3)
    assert found.pvctr.value == 0.3
    assert found.uvctr.value == 2 / 3
    assert set(np.unique(np.round(found.resampled["uvctr"] * 3))) == {0, 1, 2, 3}


def test_resampling_is_that_of_a_loop_over_users():
    random = np.random.default_rng(1)
    impressions, clicks = drawn(random, 60, 0.2)
    found = statistics.rates(impressions, clicks, seed=[2], resamplings=20_000)
    loop = {"pvctr": [], "uvctr": []}
    for _ in range(20_000):
        chosen = random.integers(0, 60, 60)
        loop["pvctr"].append(clicks[chosen].sum() / impressions[chosen].sum())
        loop["uvctr"].append((clicks[chosen] > 0).mean())
    for rate, values in loop.items():
        assert found.resampled[rate].mean() == pytest.approx(np.mean(values), abs=0.002)
        assert found.resampled[rate].std() == pytest.approx(np.std(values), rel=0.03)
        estimate = getattr(found, rate)
        assert (estimate.low, estimate.high) == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.01)


def test_blocks_of_resamplings_are_as_good_as_one(monkeypatch):
    impressions, clicks = drawn(np.random.default_rng(1), 300, 0.2)
    monkeypatch.setattr(statistics, "_BLOCK", 1000)
    found = statistics.rates(impressions, clicks, seed=[2], resamplings=2000)
    assert all(len(values) == 2000 for values in found.resampled.values())
    assert found.resampled["pvctr"].std() > 0


@pytest.mark.slow
def test_without_a_difference_one_of_twenty_is_significant():
    """1,000 A/A experiments: the share of significant ones lies within the binomial error of 5%."""
    random, significant = np.random.default_rng(3), {"pvctr": 0, "uvctr": 0}
    for run in range(1000):
        one, two = (statistics.rates(*drawn(random, 500, 0.1), seed=[run, side], resamplings=1000) for side in range(2))
        for rate in significant:
            significant[rate] += statistics.difference(one, two, rate).p < statistics.LEVEL
    low, high = stats.binom.ppf([0.001, 0.999], 1000, statistics.LEVEL)
    assert all(low <= number <= high for number in significant.values()), significant


@pytest.mark.slow
def test_a_planted_difference_is_found_at_the_promised_power():
    random, users, rate = np.random.default_rng(4), 800, 0.1
    control = statistics.rates(*drawn(random, users, rate), seed=[0])
    lift = statistics.difference(control, statistics.rates(*drawn(random, users, rate), seed=[1]), "pvctr").detectable
    found = 0
    for run in range(400):
        one = statistics.rates(*drawn(random, users, rate + lift), seed=[run, 0], resamplings=1000)
        two = statistics.rates(*drawn(random, users, rate), seed=[run, 1], resamplings=1000)
        found += statistics.difference(one, two, "pvctr").p < statistics.LEVEL
    assert found / 400 == pytest.approx(statistics.POWER, abs=0.08)


def test_a_difference_has_its_sign_and_its_interval():
    random = np.random.default_rng(5)
    better = statistics.rates(*drawn(random, 3000, 0.15), seed=[0])
    control = statistics.rates(*drawn(random, 3000, 0.1), seed=[1])
    found = statistics.difference(better, control, "pvctr")
    back = statistics.difference(control, better, "pvctr")
    assert found.difference.value == pytest.approx(better.pvctr.value - control.pvctr.value)
    assert 0 < found.difference.low < found.difference.value < found.difference.high
    assert found.relative == pytest.approx(found.difference.value / control.pvctr.value)
    assert back.difference.value == -found.difference.value
    assert back.p == found.p == pytest.approx(2 / 10_001)


def test_nothing_is_said_of_few_users_or_of_nobody_who_clicked():
    none = statistics.rates(np.full(900, 2), np.zeros(900, int), seed=[0])
    found = statistics.difference(none, none, "pvctr")
    assert (found.p, found.relative, found.detectable) == (None, None, None)
    few = statistics.rates(np.full(49, 2), np.ones(49, int), seed=[0])
    many = statistics.rates(*drawn(np.random.default_rng(0), 900, 0.1), seed=[0])
    for pair in ((few, many), (many, few)):
        found = statistics.difference(*pair, "pvctr")
        assert (found.p, found.detectable) == (None, None)
        assert found.relative is not None


@pytest.mark.slow
@pytest.mark.parametrize("users", [50, 100])
def test_the_fewest_users_of_whom_something_is_said_are_enough(users):
    random, significant = np.random.default_rng(6), 0
    for run in range(500):
        one, two = (
            statistics.rates(*drawn(random, users, 0.1), seed=[run, side], resamplings=1000) for side in range(2)
        )
        significant += statistics.difference(one, two, "pvctr").p < statistics.LEVEL
    low, high = stats.binom.ppf([0.001, 0.999], 500, statistics.LEVEL)
    assert low <= significant <= high


def test_what_can_be_detected_is_of_all_channels_that_are_compared():
    random = np.random.default_rng(7)
    one, two = (statistics.rates(*drawn(random, 900, 0.1), seed=[side]) for side in range(2))
    alone, three = (statistics.difference(one, two, "pvctr", channels=m).detectable for m in (1, 3))
    ratio = (stats.norm.ppf(1 - 0.05 / 6) + stats.norm.ppf(0.8)) / (stats.norm.ppf(0.975) + stats.norm.ppf(0.8))
    assert three / alone == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("users", "shares", "fault"),
    [
        ([5000, 5000], [1, 1], False),
        ([5000, 5100], [0.5, 0.5], False),
        ([5000, 5400], [1, 1], True),
        ([9000, 1000], [9, 1], False),
        ([5000, 5000], [0.6, 0.4], True),
    ],
)
def test_a_mismatch_of_users_is_noticed(users, shares, fault):
    assert (statistics.mismatch(users, shares) < statistics.MISMATCH) == fault


def test_what_cannot_be_is_refused():
    for impressions, clicks in (([], []), ([0], [0]), ([2], [3]), ([2], [-1])):
        with pytest.raises(InputError):
            statistics.rates(np.array(impressions, int), np.array(clicks, int), seed=[0])
    for shares in ([1, 0], [1e308, 1e308]):
        with pytest.raises(InputError, match="share"):
            statistics.mismatch([1, 2], shares)
    assert math.isfinite(statistics.mismatch([0, 10], [1, 1]))
