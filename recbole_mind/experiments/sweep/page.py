"""A sweep's page, which loads nothing, and its table of trials in Markdown."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recbole_mind.experiments.sweep import outcomes
from recbole_mind.experiments.sweep.outcomes import TrialOutcome
from recbole_mind.report.axis_scale import Value, text
from recbole_mind.report.figure_page import Part
from recbole_mind.report.templates import render
from recbole_mind.util.format import EMPTY, duration, md, md_line, number, seconds

ERROR = 300  # letters of an error in a table
_STATES = {"done": "done", "stopped": "stopped early", "failed": "failed", "no result": "without a result"}


def page(runs: Sequence[TrialOutcome], parts: Sequence[Part], metric: str, title: str, bigger: bool = True) -> str:
    """The whole page: what is best, the figures, every trial."""
    best = outcomes.best(runs, bigger)
    names = outcomes.names_of(runs)
    return render(
        "experiments/sweep/templates/sweep.html",
        title=title,
        metric=metric,
        parts=parts,
        best=best,
        settings={} if best is None else {name: text(value) for name, value in best.settings.items()},
        counted=_counted(runs),
        heads=("trial", metric, "state", *names, "seed", "epochs", "seconds"),
        sort="descending" if bigger else "ascending",
        rows=[(run, _cells(run, names)) for run in outcomes.ranked(runs, bigger)],
        states=_STATES,
        shorten=_shorten,
        key=_key,
        number=number,
        EMPTY=EMPTY,
    )


def _counted(runs: Sequence[TrialOutcome]) -> str:
    """How many trials ended how, and how long they took."""
    count = Counter(run.state for run in runs)
    states = [f"{count[state]} {words}" for state, words in _STATES.items() if count[state]]
    lasted = [run.seconds for run in runs if run.seconds is not None]
    counted = f"{len(runs)} trial{'s' * (len(runs) != 1)}: {', '.join(states)}." if runs else "No trial has ended."
    return counted + (f" Together they took {duration(sum(lasted))}." if lasted else "")


def _cells(run: TrialOutcome, names: Sequence[str]) -> list[tuple[str, str]]:
    """What a trial's row is sorted by and what it shows, behind its state."""
    values: list[Value | None] = [*(run.settings.get(name) for name in names), run.seed, run.epochs]
    cells = [(_key(value), EMPTY if value is None else text(value)) for value in values]
    return [*cells, (_key(run.seconds), seconds(run.seconds))]


def _key(value: Value | None) -> str:
    """A value as the page's script sorts by it."""
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return "" if value is None else str(value)


def _shorten(error: str) -> str:
    return textwrap.shorten(error, ERROR, placeholder=" …")


def table(trials: Iterable[Mapping[str, Any]], metric: str, bigger: bool = True) -> str:
    """The trials as a table of GitHub's Markdown, best first, the best in bold; those that failed are last."""
    runs = outcomes.outcomes(trials, metric)
    names = outcomes.names_of(runs)
    best = outcomes.best(runs, bigger)
    heads = ["trial", metric, *names, "seed", "epochs", "seconds", "state"]
    lines = [md_line([md(head) for head in heads]), md_line(["---:"] * (len(heads) - 1) + ["---"])]
    for run in outcomes.ranked(runs, bigger):
        value = EMPTY if run.value is None else number(run.value)
        value = f"**{value}**" if best is not None and run in best.runs else value
        settings = [md(text(run.settings[name])) if name in run.settings else EMPTY for name in names]
        error = f": {md(_shorten(run.error))}" if run.error else ""
        beside = [str(run.seed), str(run.epochs), seconds(run.seconds), f"{_STATES[run.state]}{error}"]
        lines.append(md_line([str(run.number), value, *settings, *beside]))
    return "\n".join(lines) + "\n"
