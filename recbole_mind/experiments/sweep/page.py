"""A sweep's page, which loads nothing, and its table of trials in Markdown."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from recbole_mind.experiments.sweep import outcomes
from recbole_mind.experiments.sweep.outcomes import Outcome
from recbole_mind.report.axis_scale import Value, text
from recbole_mind.report.figure_page import STYLE, Part, figures
from recbole_mind.report.html import document
from recbole_mind.util.format import EMPTY, duration, md, md_line, number, seconds

ERROR = 300  # letters of an error in a table


_SCRIPT = """\
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.parentElement, body = head.closest("table").tBodies[0], place = head.cellIndex;
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = row => row.cells[place].dataset.key;
  const order = (a, b) => {
    if (a === b) return 0;
    if (a === "" || b === "") return a === "" ? 1 : -1;
    const x = Number(a), y = Number(b), words = isNaN(x) - isNaN(y);
    return (words || (isNaN(x) ? a.localeCompare(b) : x - y)) * (down ? -1 : 1);
  };
  body.append(...[...body.rows].sort((a, b) => order(key(a), key(b))));
});
"""


def page(runs: Sequence[Outcome], parts: Sequence[Part], metric: str, title: str, bigger: bool = True) -> str:
    """The whole page: what is best, the figures, every trial."""
    body = _headline(runs, metric, bigger) + figures(parts) + _table(runs, metric, bigger)
    return document(title, f"{body}<script>\n{_SCRIPT}</script>\n", STYLE)


def _headline(runs: Sequence[Outcome], metric: str, bigger: bool) -> str:
    count = Counter(run.state for run in runs)
    states = [f"{count[state]} {word}" for state, word in _STATES.items() if count[state]]
    lasted = [run.seconds for run in runs if run.seconds is not None]
    told = f"{len(runs)} trial{'s' * (len(runs) != 1)}: {', '.join(states)}." if runs else "No trial has ended."
    told += f" Together they took {duration(sum(lasted))}." if lasted else ""
    found = outcomes.best(runs, bigger)
    if found is None:
        return f'<p class="best">No trial has a result.</p>\n<p class="statement">{escape(told)}</p>\n'
    several = len(found.runs) > 1
    mean = f"mean of {len(found.runs)} runs, ± {number(found.sd)}" if found.sd is not None else ""
    whose = f"trial{'s' * several} {', '.join(str(run.number) for run in found.runs)}"
    settings = "".join(
        f"<li>{escape(name)} <b>{escape(text(value))}</b></li>" for name, value in found.settings.items()
    )
    return (
        f'<p class="best">Best {escape(metric)} on the validation set: <b>{number(found.value)}</b> '
        f"({escape('; '.join(part for part in (mean, whose) if part))})</p>\n"
        + (f'<ul class="settings">{settings}</ul>\n' if settings else "")
        + f'<p class="statement">{escape(told)}</p>\n'
    )


_STATES = {"done": "done", "stopped": "stopped early", "failed": "failed", "no result": "without a result"}


def _table(runs: Sequence[Outcome], metric: str, bigger: bool) -> str:
    names = outcomes.names_of(runs)
    found = outcomes.best(runs, bigger)
    heads = "".join(
        f'<th scope="col"{_sorted_by(place, bigger)}><button type="button">{escape(head)}</button></th>'
        for place, head in enumerate(("trial", metric, "state", *names, "seed", "epochs", "seconds"))
    )
    rows = "\n".join(_row(run, names, found is not None and run in found.runs) for run in outcomes.ranked(runs, bigger))
    return (
        '<section>\n<h2>All trials</h2>\n<p class="read">Best first; a click on a heading sorts by that column.</p>\n'
        f'<div class="scroll" tabindex="0"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n'
        "</table></div>\n</section>\n"
    )


def _sorted_by(place: int, bigger: bool) -> str:
    return f' aria-sort="{"descending" if bigger else "ascending"}"' if place == 1 else ""


def _row(run: Outcome, names: Sequence[str], is_best: bool) -> str:
    value = _cell(run.value, EMPTY if run.value is None else number(run.value))
    error = f"<small>{escape(textwrap.shorten(run.error, ERROR, placeholder=' …'))}</small>" if run.error else ""
    state = f'<td class="state" data-key="{run.state}"><span>{_STATES[run.state]}</span>{error}</td>'
    cells = [_cell(run.settings.get(name)) for name in names]
    cells += [_cell(run.seed), _cell(run.epochs), _cell(run.seconds, seconds(run.seconds))]
    kind = "best-row" if is_best else "failed" if run.value is None else ""
    head = f'<th scope="row" data-key="{run.number}">{run.number}</th>'
    return f'<tr class="{kind}">{head}{value}{state}{"".join(cells)}</tr>'


def _cell(value: Value | None, shown: str | None = None) -> str:
    """A cell of the table; it is sorted by the value, not by what is shown of it."""
    key = "" if value is None else "Infinity" if value == math.inf else str(value)
    key = "-Infinity" if value == -math.inf else key
    if shown is None:
        shown = EMPTY if value is None else text(value)
    return f'<td data-key="{escape(key)}">{escape(shown)}</td>'


def table(trials: Iterable[Mapping[str, Any]], metric: str, bigger: bool = True) -> str:
    """The trials as a table of GitHub's Markdown, best first, the best in bold; those that failed are last."""
    runs = outcomes.outcomes(trials, metric)
    names = outcomes.names_of(runs)
    found = outcomes.best(runs, bigger)
    heads = ["trial", metric, *names, "seed", "epochs", "seconds", "state"]
    lines = [md_line([md(head) for head in heads]), md_line(["---:"] * (len(heads) - 1) + ["---"])]
    for run in outcomes.ranked(runs, bigger):
        value = EMPTY if run.value is None else number(run.value)
        value = f"**{value}**" if found is not None and run in found.runs else value
        settings = [md(text(run.settings[name])) if name in run.settings else EMPTY for name in names]
        error = f": {md(textwrap.shorten(run.error, ERROR, placeholder=' …'))}" if run.error else ""
        beside = [str(run.seed), str(run.epochs), seconds(run.seconds), f"{_STATES[run.state]}{error}"]
        lines.append(md_line([str(run.number), value, *settings, *beside]))
    return "\n".join(lines) + "\n"
