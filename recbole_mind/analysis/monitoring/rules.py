"""Has a figure fallen since a version serves? Rules: numbers in, a verdict with its figures in a sentence out.

``properties/production/watch.yaml`` holds the limits and says what each is. A figure of the hours since a version
serves, the last 24 at most, is held against the same hours of each of the days before: rates differ by hour and by the
length of what is looked at, and these differ in neither. What it is expected to be is the days' mean; how far it may be
below comes of how the days differ from each other beyond chance, and of the chance of its own users.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import Field, model_validator
from scipy import stats

from recbole_mind.analysis.monitoring.views import FIGURES, Figure, Views
from recbole_mind.config import loading
from recbole_mind.config.specification import Listed, Number, OneOf, Specification, read
from recbole_mind.errors import require

DAY = 86_400.0
GOOD: Final = "good"
FEW: Final = "not judged"
FALLEN: Final = "fallen"
EARLIER: Final = "fell before"
_HOURS_BEFORE = (1, 2, 4, 8, 16, 24)  # a fall that has just begun is lost in many hours, and shows in many views
State = Literal["good", "not judged", "fallen", "fell before"]
Days = Annotated[int, Number(2, 365, text=True)]
Count = Annotated[int, Number(1, text=True)]


class WatchRules(Specification):
    """The rules' limits; each key of ``properties/production/watch.yaml`` is described there."""

    rules: Annotated[
        tuple[Annotated[str, OneOf(tuple(FIGURES))], ...],
        Field(min_length=1),
        Listed(f"at least one of {', '.join(FIGURES)}"),
    ]
    days: Days
    least_days: Days
    least_users: Count
    least_views: Count
    deviations: Annotated[float, Number(0, 30, above=True, text=True)]
    least_drop: Annotated[float, Number(0, 1, text=True)]
    settle_minutes: Annotated[float, Number(0, 1440, text=True)]

    @model_validator(mode="after")
    def _check(self) -> WatchRules:
        words = f"least_days: {self.least_days} is not allowed; allowed: at most days, {self.days}"
        require(self.least_days <= self.days, words)
        return self


@dataclass(frozen=True)
class Verdict:
    """What a rule says of a channel.

    Attributes:
        channel: its name.
        rule: the figure that was looked at.
        state: ``good``, ``not judged``, ``fallen`` or ``fell before`` (the version was current).
        words: what was seen, in a sentence.
    """

    channel: str
    rule: str
    state: State
    words: str


def rules(path: str | Path | None = None) -> WatchRules:
    """The rules, with those of a YAML file before the defaults.

    Raises:
        InputError: the file cannot be read, or a key or value is not allowed.
    """
    usual = loading.defaults("production", "watch")
    if path is None:
        return read(WatchRules, usual)
    return read(WatchRules, usual | loading.read_file(path), f"rules '{path}'")


def judge(views: Views, bundle: str, since: float, now: float, asked: WatchRules) -> list[Verdict]:
    """Judge the version that serves, in each channel in which it was shown.

    Args:
        views: of the last days.
        bundle: the version's name in the log.
        since: seconds since 1970, when it became current.
        now: likewise; what was shown in the last ``settle_minutes`` is not looked at, for its clicks may be to come.
        asked: the limits.
    """
    end = now - 60 * asked.settle_minutes
    start = max(since, end - DAY)
    shown = views.between(start, end)
    verdicts = []
    for channel in shown.channels:
        ours = shown.of(channel, bundle)
        if not len(ours.time):
            continue
        figures, before = ours.figures(), _days(views.of(channel), start, end, asked)
        found = {rule: _judged(rule, figures[rule], [day[rule] for day in before], asked) for rule in asked.rules}
        fallen = [rule for rule, (state, _) in found.items() if state == FALLEN]
        earlier = _fell_before(views, channel, bundle, since, fallen, asked) if fallen else set()
        for rule, (state, words) in found.items():
            if rule in earlier:
                state, words = EARLIER, f"{words}; it had fallen before this version was current"
            verdicts.append(Verdict(channel, rule, state, f"{words} (since {_clock(start)})"))
    return verdicts


def _fell_before(
    views: Views, channel: str, bundle: str, since: float, fallen: Sequence[str], asked: WatchRules
) -> set[str]:
    """Which of the ``fallen`` figures had fallen in some hours just before, when other versions served."""
    found: set[str] = set()
    for hours in _HOURS_BEFORE:
        begin = since - 3600 * hours
        figures = views.between(begin, since).of(channel, but=bundle).figures()
        if figures:
            days = _days(views.of(channel), begin, since, asked)
            found |= {
                rule for rule in fallen if _judged(rule, figures[rule], [day[rule] for day in days], asked)[0] == FALLEN
            }
    return found


def _days(views: Views, start: float, end: float, asked: WatchRules) -> list[dict[str, Figure]]:
    """The figures of the same hours of each day before, of those that have enough."""
    days = (views.between(start - day * DAY, end - day * DAY).figures() for day in range(1, asked.days + 1))
    return [day for day in days if day and _enough(day.values(), asked)]


def _enough(figures: Iterable[Figure], asked: WatchRules) -> bool:
    return all(one.users >= asked.least_users and one.views >= asked.least_views for one in figures)


def _judged(rule: str, ours: Figure, past: Sequence[Figure], asked: WatchRules) -> tuple[State, str]:
    """Whether a figure is below what days before let expect, and the figures of that."""
    seen = f"{_text(rule, ours.value)} of {ours.users:,} users, {ours.views:,} views"
    if not _enough([ours], asked):
        return FEW, f"{seen}; it takes {asked.least_users:,} users and {asked.least_views:,} views"
    if len(past) < asked.least_days:
        return FEW, f"{seen}; it takes {asked.least_days} earlier days with as many, and there are {len(past)}"
    values = np.array([day.value for day in past])
    mean = float(values.mean())
    reach = _reach(ours, past, asked.deviations)
    bound = min(mean - reach, mean * (1 - asked.least_drop))
    words = (
        f"{seen}; the same hours of {len(past)} days before: {_text(rule, mean)} ± {_text(rule, values.std(ddof=1))}, "
        f"least {_text(rule, bound)}"
    )
    return (FALLEN if ours.value < bound else GOOD), words


def _reach(ours: Figure, past: Sequence[Figure], deviations: float) -> float:
    """How far below the mean of days before a figure of a like day is, once in as many days as ``deviations`` say.

    The days' variance holds what days differ by and the chance of each day's users; today's users have a chance of
    their own, by their number; and the mean is of few days.
    """
    n = len(past)
    spread = float(np.var([day.value for day in past], ddof=1))
    chance = float(np.mean([day.variance / day.users for day in past]))
    between = max(0.0, spread - chance)
    own = float(np.mean([day.variance for day in past])) / ours.users
    wide = float(stats.t.isf(stats.norm.sf(deviations), n - 1))  # few days tell little of their spread
    return wide * math.sqrt(between + own + (between + chance) / n)


def _text(rule: str, value: float) -> str:
    return f"{value:.2f}" if rule == "shown" else f"{value:.2%}"


def _clock(time: float) -> str:
    return f"{datetime.fromtimestamp(time, timezone.utc):%Y-%m-%d %H:%M} UTC"
