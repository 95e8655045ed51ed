"""The rules of the watch: what has fallen, what has not, and what is not judged."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from recbole_mind.analysis.monitoring import rules
from recbole_mind.analysis.monitoring.views import Figure, Views
from recbole_mind.errors import InputError

DAY, HOUR = 86_400.0, 3600.0
SINCE = 15 * DAY + 4 * HOUR
NOW = SINCE + 10.5 * HOUR  # ten hours of it have settled


def views(rate=0.1, new=0.1, *, days=16, since=SINCE, fell=None, bundle_since=SINCE, lists=60, users=300, seed=0):
    """Lists of five items, so many an hour; from ``fell`` on, or ``since``, they are clicked by ``new``."""
    random = np.random.default_rng(seed)
    number = int(days * 24 * lists)
    time = np.sort(random.random(number)) * days * DAY
    odds = np.where(time > (since if fell is None else fell), new, rate)
    clicked = random.random((number, 5)) < odds[:, None]
    return Views(
        channels=["mind"],
        bundles=["old", "new"],
        time=np.repeat(time, 5),
        channel=np.zeros(5 * number, np.int64),
        bundle=np.repeat((time > bundle_since).astype(np.int64), 5),
        user=np.repeat(random.integers(0, users, number), 5),
        request=np.repeat(np.arange(number), 5),
        clicked=clicked.ravel(),
    )


def state(seen, rule="pvctr", asked=None, now=NOW, since=SINCE):
    found = {one.rule: one for one in rules.judge(seen, "new", since, now, asked or rules.rules())}
    return found[rule]


def test_what_has_not_changed_is_good_and_what_fell_has_fallen():
    good = state(views())
    assert good.state == "good"
    assert "the same hours of 14 days before: 10." in good.words
    assert "since 1970-01-16 04:00 UTC" in good.words
    bad = state(views(new=0.05))
    assert bad.state == "fallen"
    assert bad.words.startswith(("4.", "5."))
    assert state(views(new=0.2)).state == "good"  # more is no fall


def test_each_rule_has_its_figure():
    seen = views(new=0.02, lists=90)
    assert {one.rule: one.state for one in rules.judge(seen, "new", SINCE, NOW, rules.rules())} == {
        "pvctr": "fallen",
        "uvctr": "fallen",
        "shown": "good",
    }
    short = seen.request[seen.time > SINCE]
    kept = np.ones(len(seen.time), bool)
    kept[seen.time > SINCE] = np.arange(len(short)) % 5 < 3  # three items a list
    cut = dataclasses.replace(seen, **{n: getattr(seen, n)[kept] for n in ("time", "channel", "bundle", "user")})
    cut = dataclasses.replace(cut, request=seen.request[kept], clicked=seen.clicked[kept])
    found = state(cut, "shown")
    assert found.state == "fallen"
    assert found.words.startswith("3.00 of")


def test_it_is_held_against_the_same_hours():
    """Clicks are rare at night on every day: a version that is published in the evening has not fallen."""
    seen = views(lists=180)
    night = (seen.time % DAY) < 8 * HOUR
    clicked = seen.clicked & (~night | (np.arange(len(night)) % 3 == 0))
    found = state(dataclasses.replace(seen, clicked=clicked), now=SINCE + 4.5 * HOUR)
    assert found.state == "good"
    assert "days before: 3." in found.words


def test_only_the_version_that_serves_is_judged():
    seen = views(new=0.02, bundle_since=SINCE + 5 * HOUR)
    verdict = state(seen, since=SINCE)
    assert "1,435 views" in verdict.words  # of five hours
    assert rules.judge(seen, "another", SINCE, NOW, rules.rules()) == []
    assert rules.judge(seen, "new", NOW, NOW, rules.rules()) == []


def test_each_channel_is_judged_by_its_own_days():
    one, two = views(), views(rate=0.3, new=0.1, seed=1)
    both = {name: np.concatenate([getattr(one, name), getattr(two, name)]) for name in ("time", "bundle", "clicked")}
    both |= {name: np.concatenate([getattr(one, name), 10**6 + getattr(two, name)]) for name in ("user", "request")}
    both["channel"] = np.repeat([0, 1], len(one.time))
    order = np.argsort(both["time"], kind="stable")
    seen = Views(["mind", "new"], ["old", "new"], **{name: values[order] for name, values in both.items()})
    found = {
        one.channel: one.state for one in rules.judge(seen, "new", SINCE, NOW, rules.rules()) if one.rule == "pvctr"
    }
    assert found == {"mind": "good", "new": "fallen"}


def test_what_was_just_shown_is_not_looked_at():
    seen = views(new=0.1)
    late = dataclasses.replace(seen, clicked=seen.clicked & (seen.time < NOW - 0.5 * HOUR))
    assert state(late) == state(seen)


@pytest.mark.parametrize("hours", [3, 20])
def test_a_fall_that_began_before_the_version_is_not_its_own(hours):
    found = state(views(new=0.04, fell=SINCE - hours * HOUR))
    assert found.state == "fell before"
    assert found.words.endswith("it had fallen before this version was current (since 1970-01-16 04:00 UTC)")


def test_little_is_not_judged():
    for change in ({"least_users": 301}, {"least_views": 5000}):
        asked = rules.rules().model_copy(update=change)
        found = state(views(new=0.01), asked=asked)
        assert found.state == "not judged"
        assert "it takes" in found.words
    few = views(new=0.01, days=16)
    late = few.between(10 * DAY, NOW)
    assert state(late).state == "not judged"
    assert "it takes 7 earlier days with as many, and there are 5" in state(late).words


def test_a_small_fall_is_none_however_many_see_it():
    sure = [Figure(0.1, 0.1, 10**6, 10**7)] * 14
    for value, expected in ((0.095, "good"), (0.089, "fallen")):
        assert rules._judged("pvctr", Figure(value, 0.1, 10**6, 10**7), sure, rules.rules())[0] == expected


@pytest.mark.parametrize(("between", "chance", "exactly"), [(0.02, 0.001, True), (0.01, 0.02, False), (0, 0.02, False)])
def test_a_day_like_the_others_is_out_of_reach_no_oftener_than_is_asked(between, chance, exactly):
    random, below, runs, users = np.random.default_rng(0), 0, 10_000, 500
    for _ in range(runs):
        values = random.normal(0.1, np.hypot(between, chance), 8)
        past = [Figure(value, chance**2 * users, users, 5000) for value in values]
        ours = Figure(random.normal(0.1, np.hypot(between, 2 * chance)), 0.0, users // 4, 1250)
        below += ours.value < values.mean() - rules._reach(ours, past, 2.0)
    expected = stats.norm.sf(2)
    assert below / runs <= expected + 0.005
    assert below / runs >= (expected - 0.005 if exactly else 0.001)


def test_rules_of_a_file_stand_before_ours(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text("rules: pvctr\ndeviations: 4\n")
    found = rules.rules(path)
    assert found.rules == ("pvctr",)
    assert found.deviations == 4
    assert found.days == rules.rules().days == 14


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("deviation: 3", "unknown key 'deviation'; did you mean 'deviations'"),
        ("rules: []", r"rules: \[\] is not allowed; allowed: at least one of pvctr, uvctr, shown"),
        ("rules: [ctr]", "'ctr' is unknown"),
        ("days: 1", "days: 1 is not allowed; allowed: a whole number from 2 to 365"),
        ("least_days: 15", "least_days: 15 is not allowed; allowed: at most days, 14"),
        ("least_drop: 2", "least_drop: 2 is not allowed"),
        ("deviations: 0", "deviations: 0 is not allowed"),
    ],
)
def test_wrong_rules_are_refused(tmp_path, text, reason):
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        rules.rules(path)
