"""Figures of what was shown: against loops, by time, channel and bundle."""

import numpy as np
import pytest

from recbole_mind.analysis.ab_test import statistics
from recbole_mind.analysis.monitoring.views import Views


def drawn(lists=400, users=60, seed=0):
    """Lists of 1 to 8 items."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 9, lists)
    user, channel, bundle = random.integers(0, users, lists), random.integers(0, 2, lists), random.integers(0, 3, lists)
    time = np.sort(random.random(lists)) * 1000
    own = random.random(users) * 0.5
    given = {"time": time, "channel": channel, "bundle": bundle, "user": user, "request": np.arange(lists)}
    clicked = random.random(sizes.sum()) < own[np.repeat(user, sizes)]
    parts = {name: np.repeat(values, sizes) for name, values in given.items()}
    return Views(["a", "b"], ["x", "y", "z"], clicked=clicked, **parts)


def test_figures_are_those_of_a_loop():
    views, seen, clicks, lists = drawn(), {}, {}, set()
    for place, user in enumerate(views.user):
        seen[user] = seen.get(user, 0) + 1
        clicks[user] = clicks.get(user, 0) + views.clicked[place]
        lists.add(views.request[place])
    found = views.figures()
    assert found["pvctr"].value == pytest.approx(sum(clicks.values()) / sum(seen.values()))
    assert found["uvctr"].value == pytest.approx(sum(one > 0 for one in clicks.values()) / len(seen))
    assert found["shown"].value == pytest.approx(sum(seen.values()) / len(lists))
    assert {(one.users, one.views) for one in found.values()} == {(len(seen), sum(seen.values()))}


def test_variances_are_those_of_resampled_users():
    views = drawn(lists=3000, users=800)
    users, place = np.unique(views.user, return_inverse=True)
    impressions, clicks = np.bincount(place), np.bincount(place, weights=views.clicked).astype(int)
    resampled = statistics.rates(impressions, clicks, seed=[0]).resampled
    found = views.figures()
    for rate in ("pvctr", "uvctr"):
        assert np.sqrt(found[rate].variance / len(users)) == pytest.approx(resampled[rate].std(), rel=0.03)
    requests = np.array([len(np.unique(views.request[views.user == user])) for user in users])
    random, loop = np.random.default_rng(1), []
    for _ in range(3000):
        chosen = random.integers(0, len(users), len(users))
        loop.append(impressions[chosen].sum() / requests[chosen].sum())
    assert np.sqrt(found["shown"].variance / len(users)) == pytest.approx(np.std(loop), rel=0.06)


def test_parts_are_chosen_by_time_channel_and_bundle():
    views = drawn()
    some = views.between(views.time[50], views.time[200])
    assert (some.time > views.time[50]).all()
    assert some.time[-1] == views.time[200]
    assert len(some.time) == ((views.time > views.time[50]) & (views.time <= views.time[200])).sum()
    assert len(views.between(10, 5).time) == 0
    assert set(views.of("b", "y").bundle) == {1}
    assert set(views.of("b").channel) == {1}
    assert set(views.of("a", but="y").bundle) == {0, 2}
    assert len(views.of("a", but="none").time) == len(views.of("a").time)
    assert views.of("c").figures() == views.of("a", "none").figures() == {}
