"""Experiments judged: every channel against the control, day by day, and what is said where that cannot be."""

import json
from datetime import date

import numpy as np
import pytest

from recbole_mind.analysis.ab_test import comparison, statistics
from recbole_mind.analysis.ab_test.events import Impressions
from recbole_mind.errors import InputError
from recbole_mind.util.json_text import to_json
from recbole_mind.util.multiple_tests import holm


def logged(rates=(0.1, 0.1, 0.2), users=900, names=("a", "b", "c")):
    random, rows = np.random.default_rng(0), []
    for user in range(users):
        channel = user % len(names)
        for _ in range(int(random.integers(1, 6))):
            rows.append((channel, user, int(random.integers(0, 2)), random.random() < rates[channel]))
    channel, user, day, clicked = (np.array(column) for column in zip(*rows, strict=True))
    days = [date(2026, 3, 1), date(2026, 3, 2)]
    return Impressions(list(names), days, channel, user, day, clicked, {"repeated events": 3})


def test_each_channel_stands_against_the_control():
    log = logged()
    found = comparison.compare(log, control="a", seed=2)
    assert list(found.channels) == ["a", "b", "c"]
    assert list(found.differences) == ["b", "c"]
    assert found.left_out == {"repeated events": 3}
    for rate in comparison.RATES:
        alone = [statistics.difference(found.channels[name], found.channels["a"], rate).p for name in found.differences]
        assert [found.differences[name][rate].p for name in found.differences] == holm(alone)
        assert found.differences["c"][rate].p < statistics.LEVEL < found.differences["b"][rate].p
    for place, channels in enumerate(found.days.values()):
        for number, rates in enumerate(channels.values()):
            of_day = (log.channel == number) & (log.day == place)
            assert rates.impressions == of_day.sum()
            assert rates.clicks == log.clicked[of_day].sum()
            assert rates.users == len(np.unique(log.user[of_day]))


def test_the_same_seed_gives_the_same_figures():
    first, again, other = (
        to_json(comparison.as_json(comparison.compare(logged(), control="a", seed=s))) for s in (1, 1, 2)
    )
    assert first == again != other
    assert "resampled" not in first
    assert json.loads(first)["days"]["2026-03-01"]["a"]["users"] > 0


def test_a_channel_of_few_users_has_no_p_and_takes_none_from_others():
    log = logged()
    kept = (log.channel != 1) | (log.user < 100)  # 33 of b's users are left
    few = Impressions(log.channels, log.days, log.channel[kept], log.user[kept], log.day[kept], log.clicked[kept], {})
    found = comparison.compare(few, control="a")
    assert found.differences["b"]["pvctr"].p is None
    alone = statistics.difference(found.channels["c"], found.channels["a"], "pvctr").p
    assert found.differences["c"]["pvctr"].p == alone
    assert json.loads(to_json(comparison.as_json(found)))["differences"]["b"]["pvctr"]["detectable"] is None


def test_shares_decide_over_the_mismatch():
    assert comparison.compare(logged(), control="a").mismatch > 0.9
    found = comparison.compare(logged(), control="a", shares={"a": 2, "b": 1, "c": 1})
    assert found.shares == {"a": 0.5, "b": 0.25, "c": 0.25}
    assert found.mismatch < statistics.MISMATCH


def test_one_channel_is_its_own_control():
    found = comparison.compare(logged(names=("a",), rates=(0.1,)))
    assert (found.control, found.differences, found.mismatch) == ("a", {}, None)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "control: there are several channels; the log has a, b, c"),
        ({"control": "d"}, "control: 'd' is no channel of the log"),
        ({"control": "a", "shares": {"a": 1, "b": 1, "d": 1}}, "share: 'd' is no channel"),
        ({"control": "a", "shares": {"a": 1, "b": 1}}, "share: 'c' has none"),
    ],
)
def test_channels_that_are_not_there_are_refused(given, reason):
    with pytest.raises(InputError, match=reason):
        comparison.compare(logged(), **given)
