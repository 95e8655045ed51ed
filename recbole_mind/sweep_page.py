"""A sweep's page, which loads nothing, and its table of trials in Markdown."""

from __future__ import annotations

import math
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any

from recbole_mind import sweep_data
from recbole_mind.page import document
from recbole_mind.sweep_data import Outcome, Value, text
from recbole_mind.sweep_style import INK, LINE, OKABE_ITO, OKABE_ITO_DARK, PAGE, SOFT, STEPS, STEPS_DARK
from recbole_mind.words import EMPTY, duration, md, md_line, number, seconds

_VARIABLES = {PAGE: "page", INK: "text", SOFT: "soft", LINE: "line"} | {
    colour: f"{kind}{place}"
    for kind, colours in (("c", OKABE_ITO), ("s", STEPS))
    for place, colour in enumerate(colours)
}
ERROR = 300  # letters of an error in a table


def _scheme(series: Sequence[str], steps: Sequence[str]) -> str:
    named = [(f"c{place}", colour) for place, colour in enumerate(series)]
    named += [(f"s{place}", colour) for place, colour in enumerate(steps)]
    return ":root { " + " ".join(f"--{name}: {colour};" for name, colour in named) + " }"


STYLE = (
    f"""\
{_scheme(OKABE_ITO, STEPS)}
@media (prefers-color-scheme: dark) {{ {_scheme(OKABE_ITO_DARK, STEPS_DARK)} }}
"""
    + """\
.best { font-size: 1.05rem; margin: 0 0 .5rem; }
.best b { font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.settings { display: flex; flex-wrap: wrap; gap: .5rem; margin: 0 0 1rem; padding: 0; list-style: none; }
.settings li { padding: .2rem .6rem; border: 1px solid var(--line); border-radius: 6px; background: var(--tint);
  font-size: .875rem; overflow-wrap: anywhere; }
.settings b { font-weight: 600; }
.parts { display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
section.parts { margin-top: 1.5rem; }
figure svg { max-width: 32rem; margin: 0 auto; stroke-linejoin: round; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer;
  text-align: inherit; }
th button::after { content: "↕"; color: var(--soft); font-weight: 400; padding-left: .3em; }
th[aria-sort=ascending] button::after { content: "↑"; color: var(--text); }
th[aria-sort=descending] button::after { content: "↓"; color: var(--text); }
td.state, th:nth-child(3) { text-align: left; }
td.state small { white-space: normal; overflow-wrap: anywhere; min-width: 16rem; max-width: 32rem; }
tr.best-row > * { font-weight: 700; }
tr.failed td, tr.failed th { color: var(--soft); } tr.failed .state span { color: var(--bad); }
"""
)
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


@dataclass(frozen=True)
class Part:
    """A kind of figure: its name among files, its title, a sentence on how to read it, and its panels as SVG."""

    name: str
    title: str
    read: str
    panels: Sequence[str]


def page(runs: Sequence[Outcome], parts: Sequence[Part], metric: str, title: str, bigger: bool = True) -> str:
    """The whole page: what is best, the figures, every trial."""
    body = _headline(runs, metric, bigger) + figures(parts) + _table(runs, metric, bigger)
    return document(title, f"{body}<script>\n{_SCRIPT}</script>\n", STYLE)


def figures(parts: Sequence[Part]) -> str:
    """The figures, those of one panel beside each other; the page around them takes :data:`STYLE`."""
    shown = []
    for single, group in groupby(parts, lambda part: len(part.panels) < 2):
        if single:
            cards = "\n".join(_card(part) for part in group)
            shown.append(f'<section class="parts">\n{cards}\n</section>\n')
        else:
            shown += [_section(part) for part in group]
    return "".join(shown)


def _headline(runs: Sequence[Outcome], metric: str, bigger: bool) -> str:
    count = Counter(run.state for run in runs)
    states = [f"{count[state]} {word}" for state, word in _STATES.items() if count[state]]
    lasted = [run.seconds for run in runs if run.seconds is not None]
    told = f"{len(runs)} trial{'s' * (len(runs) != 1)}: {', '.join(states)}." if runs else "No trial has ended."
    told += f" Together they took {duration(sum(lasted))}." if lasted else ""
    found = sweep_data.best(runs, bigger)
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


def _card(part: Part) -> str:
    drawn = "".join(_svg(svg, f"{part.name}{place}", part.title) for place, svg in enumerate(part.panels))
    read = f'<p class="read">{escape(part.read)}</p>'
    return f"<figure><figcaption>{escape(part.title)}</figcaption>\n{drawn}{read}</figure>"


def _section(part: Part) -> str:
    drawn = [f"<figure>{_svg(svg, f'{part.name}{i}', part.title)}</figure>" for i, svg in enumerate(part.panels)]
    return (
        f'<section>\n<h2>{escape(part.title)}</h2>\n<p class="read">{escape(part.read)}</p>\n'
        f'<div class="parts">\n{"".join(drawn)}\n</div>\n</section>\n'
    )


def _svg(drawing: str, name: str, label: str) -> str:
    """matplotlib's SVG as a part of the page: colours by scheme, ids of its own, and nothing that names a resource."""
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(
        r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", drawing, flags=re.S
    )
    head = re.search(r'viewBox="[^"]*"', drawing)
    assert head is not None  # noqa: S101 - matplotlib always writes one
    rest = drawing[drawing.index(">") + 1 :]
    rest = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", rest).replace("xlink:href", "href")
    rest = re.sub(r"#[0-9a-f]{6}\b", lambda found: _coloured(found[0]), rest)
    rest = re.sub(r"\s*\n\s*", "\n", rest)
    return f'<svg {head[0]} role="img" aria-label="{escape(label)}">{rest.strip()}'


def _coloured(colour: str) -> str:
    return f"var(--{_VARIABLES[colour]})" if colour in _VARIABLES else colour


# -- tables -------------------------------------------------------------------------------------------------------

_STATES = {"done": "done", "stopped": "stopped early", "failed": "failed", "no result": "without a result"}


def _table(runs: Sequence[Outcome], metric: str, bigger: bool) -> str:
    names = sweep_data.names_of(runs)
    found = sweep_data.best(runs, bigger)
    heads = "".join(
        f'<th scope="col"{_sorted_by(place, bigger)}><button type="button">{escape(head)}</button></th>'
        for place, head in enumerate(("trial", metric, "state", *names, "seed", "epochs", "seconds"))
    )
    rows = "\n".join(
        _row(run, names, found is not None and run in found.runs) for run in sweep_data.ranked(runs, bigger)
    )
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
    runs = sweep_data.outcomes(trials, metric)
    names = sweep_data.names_of(runs)
    found = sweep_data.best(runs, bigger)
    heads = ["trial", metric, *names, "seed", "epochs", "seconds", "state"]
    lines = [md_line([md(head) for head in heads]), md_line(["---:"] * (len(heads) - 1) + ["---"])]
    for run in sweep_data.ranked(runs, bigger):
        value = EMPTY if run.value is None else number(run.value)
        value = f"**{value}**" if found is not None and run in found.runs else value
        settings = [md(text(run.settings[name])) if name in run.settings else EMPTY for name in names]
        error = f": {md(textwrap.shorten(run.error, ERROR, placeholder=' …'))}" if run.error else ""
        beside = [str(run.seed), str(run.epochs), seconds(run.seconds), f"{_STATES[run.state]}{error}"]
        lines.append(md_line([str(run.number), value, *settings, *beside]))
    return "\n".join(lines) + "\n"
