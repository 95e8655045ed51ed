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
from typing import Any, NamedTuple

import numpy as np

from recbole_mind.config import checks, loading
from recbole_mind.errors import nearest, require

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Limits:
    """The gate's limits; each key of ``properties/production/gate.yaml`` is described there."""

    figures: tuple[str, ...]
    lower_is_better: tuple[str, ...]
    short_window: int
    short_least: int
    short_deviations: float | None
    least_deviation: float
    long_window: int
    long_least: int
    long_quantile: float | None
    quantile_figures: tuple[str, ...]
    long_factor: float | None
    index_recall: float
    index_recall_at: int
    samples: int

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


def limits(path: str | Path | None = None) -> Limits:
    """The limits, with those of a YAML file before the defaults.

    Raises:
        InputError: the file cannot be read, or a key or value is not allowed.
    """
    values = dict(loading.defaults("production", "gate"))
    given = {} if path is None else loading.read_file(path)
    for key in given:
        require(key in values, f"gate '{path}': unknown key '{key}'{nearest(key, values)}")
    optional = [key for key, value in given.items() if value is None]
    values |= given
    for key in ("figures", "lower_is_better", "quantile_figures"):
        checks.names(values, key)
        values[key] = tuple(values[key])
    require(bool(values["figures"]), "figures: [] is not allowed; allowed: at least one, such as loss or valid.*")
    values["lower_is_better"] = tuple(name.lower() for name in values["lower_is_better"])
    for key, low in (("short_window", 2), ("short_least", 2), ("long_window", 2), ("long_least", 2)):
        checks.number(values, key, f"a whole number, at least {low}", low=low, strict=False, whole=True)
    for key in ("index_recall_at", "samples"):
        checks.number(values, key, "a whole number, at least 1", low=1, strict=False, whole=True)
    checks.number(values, "least_deviation", "a number, at least 0", low=0, strict=False)
    for key, low, strict, most in (
        ("short_deviations", 0, True, math.inf),
        ("long_quantile", 0, False, 1),
        ("long_factor", 1, False, math.inf),
        ("index_recall", 0, False, 1),
    ):
        if key in optional and key != "index_recall":
            continue
        allowed = f"a number {'above' if strict else 'from'} {low}" + ("" if most == math.inf else f" to {most}")
        checks.number(values, key, allowed, low=low, strict=strict)
        require(values[key] <= most, f"{key}: {values[key]!r} is not allowed; allowed: {allowed}")
    for term in ("short", "long"):
        least, window = values[f"{term}_least"], values[f"{term}_window"]
        require(least <= window, f"{term}_least: {least} is not allowed; allowed: at most {term}_window, {window}")
    return Limits(**values)


def figures_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that a bundle's manifest states: ``loss``, ``valid.<metric>``, ``test.<metric>``."""
    figures = {} if manifest.get("loss") is None else {"loss": manifest["loss"]}
    metrics = manifest.get("metrics") or {}
    for part in ("valid", "test"):
        figures |= {f"{part}.{name}": value for name, value in (metrics.get(part) or {}).items()}
    return figures


def judge(figures: Figures, history: Sequence[Figures], asked: Limits) -> Decision:
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
            found, notes = _judged(name, float(value), history, asked)
            reasons += found
            for note in notes:
                few.setdefault(note, []).append(name)
    remarks = tuple(f"{', '.join(about) if len(about) < len(names) else 'all'}: {n}" for n, about in few.items())
    return Decision(not reasons, tuple(reasons), (), remarks, {name: figures.get(name) for name in names})


def _judged(name: str, value: float, history: Sequence[Figures], asked: Limits) -> tuple[list[str], list[str]]:
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


def _short(name: str, value: float, past: Sequence[float], asked: Limits) -> list[str]:
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


def _long(name: str, value: float, past: Sequence[float], asked: Limits) -> list[str]:
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
