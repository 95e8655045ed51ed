"""The numbers behind a sweep's figures and tables, from plain data: no RecBole, no picture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_mind.report.axis_scale import Value, order

MIN_TRIALS = 8  # with fewer, a forest's importances are noise


TREES = 300


@dataclass(frozen=True)
class TrialOutcome:
    """How one trial ended.

    Attributes:
        number, seed: which trial it is.
        settings: the drawn settings that it has; a conditional one can be missing.
        value: the metric at its best epoch; None if it failed or has none.
        curve: the metric after each epoch; NaN where it is not known.
        epochs, seconds: how long it ran; seconds as in :class:`~recbole_mind.training.result.RunResult`.
        stopped: successive halving ended it early.
        error: why it failed.
    """

    number: int
    seed: int
    settings: dict[str, Value]
    value: float | None
    curve: tuple[float, ...]
    epochs: int
    seconds: float | None
    stopped: bool
    error: str | None

    @property
    def state(self) -> str:
        """One word on how it ended."""
        return "failed" if self.error else "no result" if self.value is None else "stopped" if self.stopped else "done"


def outcomes(trials: Iterable[Mapping[str, Any]], metric: str) -> list[TrialOutcome]:
    """The trials by number; ``metric`` is found in any case of letters, as RecBole writes it."""
    found = []
    for trial in trials:
        error = trial.get("error") or None
        valid = {str(key).casefold(): value for key, value in (trial.get("valid") or {}).items()}
        value = None if error else _finite(valid.get(metric.casefold()))
        curve = tuple(math.nan if (x := _finite(point)) is None else x for point in trial.get("curve") or ())
        found.append(
            TrialOutcome(
                number=trial["number"],
                seed=trial["seed"],
                settings={str(name): _plain(value) for name, value in trial["settings"].items()},
                value=value,
                curve=curve,
                epochs=trial.get("epochs") or 0,
                seconds=_finite(trial.get("seconds")),
                stopped=bool(trial.get("stopped")),
                error=None if error is None else " ".join(str(error).split()),
            )
        )
    return sorted(found, key=lambda run: run.number)


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _plain(value: Any) -> Value:
    """A number, with the spellings of infinity, or a word for everything else."""
    if isinstance(value, str):
        infinite = {"inf": math.inf, "infinity": math.inf}.get(value.strip().casefold().lstrip("+-."))
        return value if infinite is None else -infinite if value.strip().startswith("-") else infinite
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        return "none"
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
    return value if number else str(value)


@dataclass(frozen=True)
class Best:
    """The best settings: those with the best mean among those that ran with the most seeds.

    ``value`` is that mean, ``sd`` the standard deviation (None for one run), ``runs`` the trials behind it.
    """

    settings: dict[str, Value]
    value: float
    sd: float | None
    runs: tuple[TrialOutcome, ...]


def best(runs: Sequence[TrialOutcome], bigger: bool = True) -> Best | None:
    """The best settings; ties go to the earlier trial. None if no trial has a result."""
    groups: dict[tuple[tuple[str, Value], ...], list[TrialOutcome]] = {}
    for run in runs:
        if run.value is not None:
            groups.setdefault(tuple(sorted(run.settings.items())), []).append(run)
    seeds = [len({run.seed for run in group}) for group in groups.values()]
    full = [group for group, count in zip(groups.values(), seeds, strict=True) if count == max(seeds)]
    if not full:
        return None
    found = min(full, key=lambda group: _cost(spread(group)[0], bigger))
    mean, sd = spread(found)
    return Best(found[0].settings, mean, sd, tuple(found))


def ranked(runs: Sequence[TrialOutcome], bigger: bool = True) -> list[TrialOutcome]:
    """Best first, those without a result last; ties by number."""
    return sorted(runs, key=lambda run: (run.value is None, _cost(run.value or 0.0, bigger), run.number))


def best_so_far(runs: Sequence[TrialOutcome], bigger: bool = True) -> list[tuple[int, float]]:
    """The number of each trial with the best value up to it, from the first result on."""
    steps: list[tuple[int, float]] = []
    for run in runs:
        values = [step[1] for step in steps[-1:]] + ([] if run.value is None else [run.value])
        if values:
            steps.append((run.number, max(values) if bigger else min(values)))
    return steps


def _cost(value: float, bigger: bool) -> float:
    return -value if bigger else value


Curve = dict[Value, list[TrialOutcome]]  # the runs at each value of a setting, the values in order


def results(runs: Iterable[TrialOutcome]) -> list[float]:
    """The metric of those that have one."""
    return [run.value for run in runs if run.value is not None]


def spread(runs: Iterable[TrialOutcome]) -> tuple[float, float | None]:
    """Mean and sample standard deviation of the results, of which there must be one; one has no deviation."""
    values = results(runs)
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def along(
    runs: Sequence[TrialOutcome], name: str, names: Sequence[str], defaults: Mapping[str, Any] | None = None
) -> Curve:
    """The trials with a result that belong to the curve of ``name``, by its value in order.

    Of a trial that has settings on other axes of ``names`` too, these must be at their default: what ``defaults`` says,
    or else the value that most trials have, since an axis is at its default in all curves but its own. Trials that were
    stopped early are left out.
    """
    usual = {}
    for other in names:
        counts = Counter(run.settings[other] for run in runs if other in run.settings)
        if other != name and counts:
            usual[other] = counts.most_common(1)[0][0] if defaults is None else _plain(defaults[other])
    found: dict[Value, list[TrialOutcome]] = {}
    for run in runs:
        fits = all(run.settings.get(other, value) == value for other, value in usual.items())
        if name in run.settings and fits and run.value is not None and not run.stopped:
            found.setdefault(run.settings[name], []).append(run)
    return dict(sorted(found.items(), key=lambda item: order(item[0])))


@dataclass(frozen=True)
class Course:
    """The metric after each epoch over runs: mean, sample standard deviation (NaN for one run), and how many had it."""

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    count: NDArray[np.int64]


def course(runs: Sequence[TrialOutcome]) -> Course:
    """Mean and spread over the runs that reached an epoch; with early stopping these get fewer."""
    length = max((len(run.curve) for run in runs), default=0)
    grid = np.full((len(runs), length), np.nan)
    for row, run in zip(grid, runs, strict=True):
        row[: len(run.curve)] = run.curve
    count = np.isfinite(grid).sum(0)
    total = np.nansum(grid, 0)
    mean = np.divide(total, count, out=np.full(length, np.nan), where=count > 0)
    squares = np.nansum((grid - mean) ** 2, 0)
    sd = np.sqrt(np.divide(squares, count - 1, out=np.full(length, np.nan), where=count > 1))
    return Course(mean, sd, count)


def good(runs: Iterable[TrialOutcome]) -> list[TrialOutcome]:
    """The trials that have a result."""
    return [run for run in runs if run.value is not None]


def names_of(runs: Iterable[TrialOutcome]) -> list[str]:
    """Every setting that some trial has, as they come."""
    return list(dict.fromkeys(name for run in runs for name in run.settings))


def varied(runs: Sequence[TrialOutcome]) -> list[str]:
    """The settings that have more than one value among the trials with a result."""
    good = [run for run in runs if run.value is not None]
    return [name for name in names_of(good) if len({run.settings[name] for run in good if name in run.settings}) > 1]


@dataclass(frozen=True)
class Importance:
    """How much each setting decides, by a random forest.

    Attributes:
        names, mean, sd: the share of the reduction of variance, its standard deviation over the trees; largest first.
        trials: how many it rests on.
        r2: how much of the variance the forest explains of trials that a tree has not seen.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    trials: int
    r2: float


def importance(runs: Sequence[TrialOutcome]) -> Importance | None:
    """Fit a forest to settings and metric; None with too few trials, or where settings or results do not differ.

    A setting that a trial lacks counts as its middle or commonest value, so that it says nothing about that trial.
    """
    known = good(runs)
    names = varied(known)
    target = np.array(results(known))
    columns: list[NDArray[np.float64]] = []
    owners: list[int] = []
    for place, name in enumerate(names):
        found = _columns([run.settings.get(name) for run in known])
        columns += found
        owners += [place] * len(found)
    if len(known) < MIN_TRIALS or not columns or np.ptp(target) == 0:
        return None

    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(TREES, random_state=0, oob_score=True, n_jobs=1)
    forest.fit(np.stack(columns, 1), target)
    per_column = np.array([tree.feature_importances_ for tree in forest.estimators_])  # [trees, columns]
    per_name = per_column @ np.eye(len(names))[owners]
    mean, sd = per_name.mean(0), per_name.std(0, ddof=1)
    order = np.argsort(-mean, kind="stable")
    return Importance(
        names=tuple(names[i] for i in order),
        mean=tuple(float(mean[i]) for i in order),
        sd=tuple(float(sd[i]) for i in order),
        trials=len(known),
        r2=float(forest.oob_score_),
    )


def _columns(values: Sequence[Value | None]) -> list[NDArray[np.float64]]:
    """What the forest sees of a setting: the rank of a number, infinite ones too, and a column for each word."""
    columns = []
    numbers = sorted({value for value in values if not isinstance(value, str) and value is not None})
    ranks = [numbers.index(value) if value in numbers else None for value in values]
    known = sorted(rank for rank in ranks if rank is not None)
    if len(numbers) > 1:
        columns.append(np.array([known[len(known) // 2] if rank is None else rank for rank in ranks], float))
    have = [value for value in values if value is not None]
    for word in sorted({value for value in have if isinstance(value, str)}):
        usual = float(2 * have.count(word) > len(have))
        column = np.array([usual if value is None else float(value == word) for value in values])
        columns += [column] if np.ptp(column) else []
    return columns
