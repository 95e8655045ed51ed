"""The publish gate: may a bundle be served, judged by its figures, by those published before it, and by trying it.

The rules are pure: numbers in, a decision with its reasons in sentences out. ``properties/production/gate.yaml`` holds
the limits and says what each rule is.
"""

from __future__ import annotations

import fnmatch
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from recbole_mind.config import loading
from recbole_mind.config.specification import Listed, Number, Specification, read
from recbole_mind.errors import require

PCOC = "ranker.pcoc"
Figures = Mapping[str, Any]
Names = Annotated[
    tuple[str, ...], Listed("a list of names"), BeforeValidator(lambda value: () if value is None else value)
]
Count = Annotated[int, Number(1, text=True)]
Window = Annotated[int, Number(2, text=True)]
Share = Annotated[float, Number(0, 1, text=True)]


class GateLimits(Specification):
    """The gate's limits; each key of ``properties/production/gate.yaml`` is described there."""

    figures: Annotated[tuple[str, ...], Field(min_length=1), Listed("at least one, such as loss or valid.*")]
    lower_is_better: Annotated[Names, AfterValidator(lambda names: tuple(name.lower() for name in names))]
    short_window: Window
    short_least: Window
    short_deviations: Annotated[float, Number(0, above=True, text=True)] | None
    least_deviation: Annotated[float, Number(0, text=True)]
    long_window: Window
    long_least: Window
    long_quantile: Share | None
    quantile_figures: Names
    long_factor: Annotated[float, Number(1, text=True)] | None
    pcoc_factor: Annotated[float, Number(1, above=True, text=True)] | None
    index_recall: Share
    index_recall_at: Count
    samples: Count

    @model_validator(mode="after")
    def _check(self) -> GateLimits:
        for term, least, window in (
            ("short", self.short_least, self.short_window),
            ("long", self.long_least, self.long_window),
        ):
            words = f"{term}_least: {least} is not allowed; allowed: at most {term}_window, {window}"
            require(least <= window, words)
        return self

    def lower(self, name: str) -> bool:
        """Whether less is better of a figure such as ``valid.giniindex@10``."""
        return name.rpartition(".")[2].partition("@")[0].lower() in self.lower_is_better


@dataclass(frozen=True)
class Decision:
    """What the gate says.

    Attributes:
        allowed: whether the bundle may be served.
        reasons: why not, in sentences; a person may know better and force it.
        faults: why not, whatever a person says: a bundle that does not work.
        notes: what could not be judged.
        figures: by name, what was judged.
    """

    allowed: bool
    reasons: tuple[str, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    figures: dict[str, Any]


class Checked(NamedTuple):
    """What came of trying a bundle: see :func:`self_checks`."""

    reasons: tuple[str, ...]
    faults: tuple[str, ...]
    figures: dict[str, float]


def limits(path: str | Path | None = None) -> GateLimits:
    """The limits, with those of a YAML file before the defaults.

    Raises:
        InputError: the file cannot be read, or a key or value is not allowed.
    """
    usual = loading.defaults("production", "gate")
    return (
        read(GateLimits, usual) if path is None else read(GateLimits, usual | loading.read_file(path), f"gate '{path}'")
    )


def figures_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that a bundle's manifest states: ``loss``, ``valid.<metric>``, ``test.<metric>``; of a ranker
    ``ranker.auc``, ``ranker.pcoc``, ``ranker.loss`` and those of its lists, such as ``ranker.ndcg@10``.
    """
    figures = {} if manifest.get("loss") is None else {"loss": manifest["loss"]}
    metrics = manifest.get("metrics") or {}
    for part in ("valid", "test"):
        figures |= {f"{part}.{name}": value for name, value in (metrics.get(part) or {}).items()}
    ranker = (manifest.get("ranker") or {}).get("metrics") or {}
    return figures | {f"ranker.{name}": value for name, value in ranker.items()}


def judge(figures: Figures, history: Sequence[Figures], asked: GateLimits) -> Decision:
    """Hold a bundle's figures against those of the publications before it, oldest first.

    A figure that the last publication had and that is missing, and one that is not finite, block without any history.
    """
    last = {name: value for name, value in history[-1].items() if value is not None} if history else {}
    names = [name for name in {**figures, **last} if _chosen(name, asked.figures)]
    reasons = [] if names else [f"the bundle states none of the figures {', '.join(asked.figures)}"]
    few: dict[str, list[str]] = {}  # a note, and the figures that it is about
    for name in names:
        value = figures.get(name)
        if value is None:
            before = f"; the last publication's was {_text(last[name])}" if name in last else ""
            reasons.append(f"{name} is missing{before}")
        elif not _finite(value):
            reasons.append(f"{name} is {value}, which is no finite number")
        else:
            reasons += _calibrated(name, float(value), asked)
            found, notes = _judged(name, float(value), history, asked)
            reasons += found
            for note in notes:
                few.setdefault(note, []).append(name)
    remarks = tuple(f"{', '.join(about) if len(about) < len(names) else 'all'}: {n}" for n, about in few.items())
    return Decision(not reasons, tuple(reasons), (), remarks, {name: figures.get(name) for name in names})


def _calibrated(name: str, value: float, asked: GateLimits) -> list[str]:
    """The reason that a PCOC gives which is far from 1."""
    most = asked.pcoc_factor
    if name != PCOC or most is None or (value > 0 and 1 / most <= value <= most):
        return []
    return [
        f"{name} {_text(value)} is outside {_text(1 / most)} to {_text(most)}: its probabilities cannot be believed"
    ]


def _judged(name: str, value: float, history: Sequence[Figures], asked: GateLimits) -> tuple[list[str], list[str]]:
    """The reasons that a figure gives, and what could not be judged of it."""
    reasons, notes = [], []
    for term, window, least, rules in (
        ("short", asked.short_window, asked.short_least, _short),
        ("long", asked.long_window, asked.long_least, _long),
    ):
        past = [float(before[name]) for before in history[-window:] if _finite(before.get(name))]
        if len(past) < least:
            notes.append(f"the {term}-term rules need {least} publications and let pass, since there are {len(past)}")
        else:
            reasons += rules(name, value, past, asked)
    return reasons, notes


def _short(name: str, value: float, past: Sequence[float], asked: GateLimits) -> list[str]:
    if asked.short_deviations is None:
        return []
    mean, deviation = statistics.fmean(past), statistics.stdev(past)
    counted = max(deviation, asked.least_deviation * abs(mean))
    reach = asked.short_deviations * counted
    if abs(value - mean) <= reach * (1 + 1e-9):
        return []
    floor = f", counted as {_text(counted)}" if counted > deviation else ""
    return [
        f"{name} {_text(value)} is outside {_text(mean - reach)} to {_text(mean + reach)}: mean {_text(mean)} ± "
        f"{asked.short_deviations:g} × deviation {_text(deviation)}{floor} of the last {len(past)} publications"
    ]


def _long(name: str, value: float, past: Sequence[float], asked: GateLimits) -> list[str]:
    if name == PCOC:  # of which neither more nor less is better
        return []
    sign = 1 if asked.lower(name) else -1  # times which less is better
    worse, extreme = ("above", "maximum") if sign > 0 else ("below", "minimum")
    last, reasons = f"the last {len(past)} publications", []
    worst = max(sign * before for before in past)
    if asked.long_factor is not None:
        bound = worst + (asked.long_factor - 1) * abs(worst)
        if sign * value > bound + 1e-9 * abs(bound):
            share = f"{1 + sign * (asked.long_factor - 1):g} × the {extreme} {_text(sign * worst)}"
            reasons.append(f"{name} {_text(value)} is {worse} {_text(sign * bound)}, {share} of {last}")
    if asked.long_quantile is not None and _chosen(name, asked.quantile_figures) and max(past) > min(past):
        bound = float(np.quantile([sign * before for before in past], asked.long_quantile))
        if sign * value > bound + 1e-9 * abs(bound):
            level = asked.long_quantile if sign > 0 else 1 - asked.long_quantile
            reasons.append(
                f"{name} {_text(value)} is {worse} {_text(sign * bound)}, the {level:.0%} quantile of {last}"
            )
    return reasons


def _chosen(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
