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
from recbole_mind.analysis.ab_test.statistics import LEVEL, MISMATCH, POWER, Difference
from recbole_mind.analysis.monitoring import rules
from recbole_mind.analysis.monitoring.views import Views

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
    detectable: list[float] = []
    for seed in range(runs):
        one = judged(once(people, qualities, runs + seed, users=users), seed)["pvctr"]
        found += one.p is not None and one.p < LEVEL and one.difference.value > 0
        holds += one.difference.low <= lift <= one.difference.high
        if one.detectable is not None:
            detectable.append(one.detectable)
    low, high = stats.binom.ppf([0.0005, 0.9995], runs, POWER) / runs
    return {
        "runs": runs,
        "users": users,
        "rate": rate,
        "lift": lift,
        "detectable": float(np.mean(detectable)),
        "found": found / runs,
        "allowed": [float(low), float(high)],
        "interval_holds": holds / runs,
    }


def promised(people: simulator.World, runs: int, detectable: float, *, users: int = 1000) -> float:
    """The lift that experiments with this lift call detectable.

    A lift raises the spread of clicks, too, so that they call a little more so than those without one.
    """
    for _ in range(2):
        detectable = lifted(people, runs, detectable, users=users)["detectable"]
    return detectable


def lossy(people: simulator.World, runs: int, lost: float, *, users: int = 5000) -> dict[str, Any]:
    """How often a sample-ratio mismatch is reported where a channel loses a share of its users."""
    reported = 0
    for seed in range(runs):
        shown = once(people, dict.fromkeys(CHANNELS, QUALITY), 2 * runs + seed, users=users, lost=lost)
        seen = [len(np.unique(one.user)) for one in shown.values()]
        reported += statistics.mismatch(seen, [1.0, 1.0]) < MISMATCH
    return {"runs": runs, "users": users, "lost": lost, "reported": reported / runs}


# -- the watch ---------------------------------------------------------------------------------------------------------

PUBLISHED = 15 + 4 / 24  # days after the first event


def served(people: simulator.World, seed: int, *, fall: float = 0.0, fell: float = PUBLISHED) -> Views:
    """Sixteen days of a channel, the last of which a new version serves; from ``fell`` on its clicks are rarer.

    Days differ: lists are better on the one and worse on the other.
    """
    random = np.random.default_rng(seed)
    qualities = np.clip(random.normal(QUALITY, 0.02, 17), 0, 1)
    user, time_ = people.visits(np.arange(people.users), PUBLISHED + 1, random)
    order = np.argsort(time_)
    user, time_ = user[order], time_[order]
    day = (time_ // simulator.DAY).astype(np.int64)
    clicked = np.zeros((len(user), len(people.examined)), bool)
    for one in range(17):
        rows = day == one
        clicked[rows] = people.show(user[rows], time_[rows], people.mixed(float(qualities[one])), random).clicked
    clicked[time_ > fell * simulator.DAY] &= random.random((int((time_ > fell * simulator.DAY).sum()), 1)) >= fall
    n = clicked.shape[1]
    bundle = (time_ > PUBLISHED * simulator.DAY).astype(np.int64)
    return Views(
        channels=["mind"],
        bundles=["old", "new"],
        time=np.repeat(time_, n),
        channel=np.zeros(len(time_) * n, np.int64),
        bundle=np.repeat(bundle, n),
        user=np.repeat(user, n),
        request=np.repeat(np.arange(len(time_)), n),
        clicked=clicked.ravel(),
    )


def watched(views: Views, every: float = 3.0) -> tuple[str, float | None]:
    """What a watch of a day says of clicks by impression in the end, and after how many hours it said a fall."""
    asked, since = rules.rules(), PUBLISHED * simulator.DAY
    state = "not judged"
    for hours in np.arange(every, 24 + every / 2, every):
        now = since + 3600 * hours
        found = rules.judge(views.between(0, now), "new", since, now, asked)
        state = next((one.state for one in found if one.rule == "pvctr"), "not judged")
        if state == rules.FALLEN:
            return state, float(hours)
    return state, None


def falls(people: simulator.World, runs: int, fall: float, **more: Any) -> dict[str, Any]:
    """How often a watch of a day says that clicks have fallen, and after how many hours."""
    hours = [watched(served(people, seed, fall=fall, **more))[1] for seed in range(runs)]
    found = [each for each in hours if each is not None]
    return {
        "runs": runs,
        "users": people.users,
        "fall": fall,
        "seen": len(found) / runs,
        "hours": float(np.median(found)) if found else None,
    }


def main() -> None:
    """Make the experiments, print what came of them, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="where the record goes")
    parser.add_argument("--runs", type=int, default=1000, help="experiments of a kind (default: 1000)")
    arguments = parser.parse_args()
    people, few, began = world(), world(1000), time.perf_counter()
    aa = alike(people, arguments.runs)
    _say("without a difference", aa)
    ab = lifted(people, arguments.runs, promised(people, 20, aa["detectable"]))
    _say("a planted lift of the detectable size", ab)
    losses = [lossy(people, max(1, arguments.runs // 10), lost) for lost in (0.0, 0.05, 0.1)]
    for one in losses:
        _say("users lost", one)
    watch = [falls(few, max(1, arguments.runs // (20 if fall else 5)), fall) for fall in (0.0, 0.2, 0.3, 0.5)]
    for one in watch:
        _say("a fall of clicks", one)
    record = {
        "what": "experiments with a known answer",
        "command": f"python -m benchmarks.experiment --output {arguments.output}",
        "seed": 24,
        "machine": {"processor": platform.machine(), "threads": 1},
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "seconds": round(time.perf_counter() - began),
        "alike": aa,
        "lifted": ab,
        "lost": losses,
        "falls": watch,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")


def _say(what: str, found: dict[str, Any]) -> None:
    print(f"{what}: " + ", ".join(f"{key} {value}" for key, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
