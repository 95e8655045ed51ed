"""Are the statistics of experiments right? People with planted interests, 1,000 experiments whose answer is known.

    python -m benchmarks.experiment --output benchmarks/records/experiment.json

Two channels of 1,000 users each, drawn from 20,000 with planted interests; lists of 10, looked at less from place to
place, and readers who differ in how readily they click. The record says how many experiments without a difference are
significant, by the test of users and by one that takes every view for itself; how often the interval holds what is
true; how often a planted lift of the detectable size is found; how often lost users are noticed; how often an alarm
of the watch is false, and how soon a fall is seen. A few minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from recbole_mind.analysis.ab_test import comparison, simulator, statistics
from recbole_mind.analysis.ab_test.statistics import LEVEL, MISMATCH, POWER, Difference, Rates

CHANNELS = ("control", "new")
QUALITY = 0.5  # of the control's lists
RESAMPLINGS = 2000


def world(users: int = 20_000, **more: Any) -> simulator.World:
    """The people, always the same."""
    return simulator.World.planted(users, np.random.default_rng(24), **more)


def once(
    people: simulator.World,
    qualities: Mapping[str, float],
    seed: int,
    *,
    users: int = 1000,
    lost: float = 0.0,
) -> dict[str, simulator.Views]:
    """One experiment of a day: lists of a quality in each channel, with so many users, of which the last loses some."""
    random = np.random.default_rng(seed)
    chosen = random.choice(people.users, users * len(qualities), replace=False)
    shown = {}
    for name, theirs in simulator.assigned(chosen, list(qualities), random).items():
        kept = theirs[: round(len(theirs) * (1 - lost))] if name == list(qualities)[-1] else theirs
        who, when = people.visits(kept, 1.0, random)
        shown[name] = people.show(who, when, people.mixed(qualities[name]), random)
    return shown


def judged(shown: Mapping[str, simulator.Views], seed: int) -> dict[str, Difference]:
    """The difference by rate of the second channel from the first."""
    log, found = simulator.impressions(shown), {}
    for place, name in enumerate(log.channels):
        found[name] = statistics.rates(*log.by_user(place), seed=[seed, place], resamplings=RESAMPLINGS)
    control, new = (found[name] for name in CHANNELS)
    return {rate: statistics.difference(new, control, rate) for rate in comparison.RATES}


def by_view(shown: Mapping[str, simulator.Views]) -> float:
    """p of the clicks if each view were a draw of its own, which it is not: the test of two proportions."""
    clicks, views = ([int(one.clicked.sum()) for one in shown.values()], [one.clicked.size for one in shown.values()])
    whole = sum(clicks) / sum(views)
    spread = np.sqrt(whole * (1 - whole) * sum(1 / number for number in views))
    return float(2 * stats.norm.sf(abs(clicks[0] / views[0] - clicks[1] / views[1]) / spread))


def alike(people: simulator.World, runs: int, *, users: int = 1000) -> dict[str, Any]:
    """A/A: what share of experiments without a difference is significant."""
    significant = dict.fromkeys((*comparison.RATES, "by view"), 0)
    holds = dict.fromkeys(comparison.RATES, 0)
    detectable: list[float] = []
    for seed in range(runs):
        shown = once(people, dict.fromkeys(CHANNELS, QUALITY), seed, users=users)
        for rate, one in judged(shown, seed).items():
            significant[rate] += one.p is not None and one.p < LEVEL
            holds[rate] += one.difference.low <= 0 <= one.difference.high
            if rate == "pvctr" and one.detectable is not None:
                detectable.append(one.detectable)
        significant["by view"] += by_view(shown) < LEVEL
    low, high = stats.binom.ppf([0.0005, 0.9995], runs, LEVEL) / runs
    return {
        "runs": runs,
        "users": users,
        "significant": {name: number / runs for name, number in significant.items()},
        "allowed": [float(low), float(high)],
        "interval_holds": {name: number / runs for name, number in holds.items()},
        "detectable": float(np.mean(detectable)),
    }


def lifted(people: simulator.World, runs: int, lift: float, *, users: int = 1000) -> dict[str, Any]:
    """A/B: how often a planted lift of clicks by impression is found, and its interval holds it."""
    rate = people.click_rate(QUALITY)
    qualities = {"control": QUALITY, "new": people.quality_of(rate + lift)}
    found = holds = 0
    for seed in range(runs):
        one = judged(once(people, qualities, runs + seed, users=users), seed)["pvctr"]
        found += one.p is not None and one.p < LEVEL and one.difference.value > 0
        holds += one.difference.low <= lift <= one.difference.high
    low, high = stats.binom.ppf([0.0005, 0.9995], runs, POWER) / runs
    return {
        "runs": runs,
        "users": users,
        "rate": rate,
        "lift": lift,
        "found": found / runs,
        "allowed": [float(low), float(high)],
        "interval_holds": holds / runs,
    }


def lossy(people: simulator.World, runs: int, lost: float, *, users: int = 5000) -> dict[str, Any]:
    """How often a sample-ratio mismatch is reported where a channel loses a share of its users."""
    reported = 0
    for seed in range(runs):
        shown = once(people, dict.fromkeys(CHANNELS, QUALITY), 2 * runs + seed, users=users, lost=lost)
        seen = [len(np.unique(one.user)) for one in shown.values()]
        reported += statistics.mismatch(seen, [1.0, 1.0]) < MISMATCH
    return {"runs": runs, "users": users, "lost": lost, "reported": reported / runs}
