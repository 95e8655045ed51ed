"""What a sweep came to."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from recbole_mind.experiments.sweep.state import Sweep


@dataclass(frozen=True)
class SweepResult:
    """What a sweep came to.

    Attributes:
        best: the drawn settings of the winner, ``None`` if no trial succeeded.
        value: its ``metric`` on the validation set, the mean over the seeds of a curve's point.
        metric, bigger: what decides, and whether more of it is better.
        trials: in order of their numbers, see :meth:`recbole_mind.experiments.sweep.state.Sweep.trials`.
        test: the winner's test metrics: mean, and standard deviation over the seeds (``None`` for one).
        failed: what failed, and its error.
    """

    best: dict[str, Any] | None
    value: float | None
    metric: str
    bigger: bool
    trials: list[dict[str, Any]]
    test: dict[str, tuple[float, float | None]]
    failed: dict[str, str]


def result_of(sweep: Sweep) -> SweepResult:
    """What a sweep has come to so far."""
    winner = sweep.winner()
    best, value = (None, None) if winner is None else winner[:2]
    good = [record["test"] for _, record in sorted(sweep.tested.items()) if "error" not in record]
    test: dict[str, tuple[float, float | None]] = {}
    for metric in good[0] if good else ():
        values = [figures[metric] for figures in good]
        test[metric] = statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
    failed = {sweep.describe(number): record["error"] for number, record in sweep.records.items() if "error" in record}
    failed |= {f"test with seed {s}": record["error"] for s, record in sweep.tested.items() if "error" in record}
    return SweepResult(best, value, sweep.metric, sweep.bigger, sweep.trials(), test, failed)
