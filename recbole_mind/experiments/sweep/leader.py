"""Which of a sweep's trials leads: by the validation metric alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any, NamedTuple

from recbole_mind.util.json_text import same


class Leader(NamedTuple):
    """The best settings so far, their validation metric, and the number of the first trial that has them."""

    settings: dict[str, Any]
    value: float
    number: int


def figure(record: Mapping[str, Any], metric: str) -> float | None:
    """What a trial is judged by; ``None`` for a failed one."""
    value = None if "error" in record else record["valid"].get(metric)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def leader(
    records: Mapping[int, Mapping[str, Any]],
    drawn: Mapping[int, dict[str, Any]],
    metric: str,
    *,
    bigger: bool,
    curves: bool,
) -> Leader | None:
    """The settings with the best value of ``metric``; of two, those of the earlier trial.

    Args:
        records: of the trials that ended, by number.
        drawn: the settings of each trial.
        metric: of the validation set.
        bigger: whether more of it is better.
        curves: whether settings ran with several seeds: those with the most are compared, by the mean.
    """
    groups: dict[str, list[float]] = {}
    first: dict[str, int] = {}
    for number in sorted(records):
        value = figure(records[number], metric)
        if value is not None:
            key = same(drawn[number])
            groups.setdefault(key, []).append(value)
            first.setdefault(key, number)
    most = max(map(len, groups.values()), default=0) if curves else 1
    means = [(statistics.fmean(values), first[key]) for key, values in groups.items() if len(values) >= most]
    if not means:
        return None
    value, number = min(means, key=lambda pair: (-pair[0] if bigger else pair[0], pair[1]))
    return Leader(drawn[number], value, number)
