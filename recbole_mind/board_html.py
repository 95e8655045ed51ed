"""A board as one self-contained page: tables, and bars for every metric as inline SVG; no script, no other file."""

from __future__ import annotations

import math
from html import escape

from recbole_mind.board import Board, Cell, Row, Table
from recbole_mind.board_words import COLUMNS, EMPTY, change, heading, legend, mark, number, parameters, remark, seconds

WIDTH = 320  # of a chart, in units of its own; the page scales it
LINE = 22
CHARACTER = 8.6  # width of a letter of a label, bold and wide ones
LONGEST = 16  # letters of a label in a chart

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1c2430; --soft: #5b6675; --line: #dde2e8; --tint: #f3f5f8;
  --bar: #4a7fc1; --base: #a9b2bd; --good: #18794e; --bad: #c0362c; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14181e; --text: #e6eaf0; --soft: #9aa6b4; --line: #303843; --tint: #1c222a;
    --bar: #6ea0dd; --base: #5d6875; --good: #4cc38a; --bad: #ff8b7e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 76rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 3rem 0 .25rem; overflow-wrap: anywhere; }
a { color: var(--bar); }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
.statement { margin: 0 0 1rem; color: var(--soft); overflow-wrap: anywhere; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .75rem; text-align: right; white-space: nowrap; vertical-align: top; }
thead th { font-weight: 600; font-size: .875rem; background: var(--tint); border-bottom: 1px solid var(--line); }
tbody tr + tr > * { border-top: 1px solid var(--line); }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--page); font-weight: 500;
  min-width: 7rem; max-width: 14rem; white-space: normal; overflow-wrap: break-word; }
thead th:first-child, tr.baseline > * { background: var(--tint); }
td small, th small { display: block; color: var(--soft); font-size: .78rem; font-weight: 400; }
td b { font-weight: 700; }
td u { text-underline-offset: .2em; }
.good { color: var(--good); } .bad { color: var(--bad); } .none, .none th { color: var(--soft); }
.notes, .read { margin: .75rem 0; font-size: .875rem; overflow-wrap: anywhere; }
.notes { padding-left: 1.1rem; }
.read { color: var(--soft); max-width: 60rem; }
.mark { display: inline-block; width: 1rem; } .tested td small { padding-right: 1rem; }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
figure { margin: 0; padding: .75rem .75rem .5rem; border: 1px solid var(--line); border-radius: 8px; }
figcaption { font-size: .875rem; font-weight: 600; margin-bottom: .35rem; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--text); dominant-baseline: central; font-variant-numeric: tabular-nums; }
svg .best { font-weight: 700; }
svg .bar { fill: var(--bar); } svg .base { fill: var(--base); }
svg .error { stroke: var(--text); stroke-width: 1.2; fill: none; }
svg .rule { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 2 3; }
@media (max-width: 40rem) { th, td { padding: .4rem .55rem; } th:first-child { min-width: 6rem; max-width: 9rem; } }
"""


def to_html(board: Board) -> str:
    """The page; it follows the reader's light or dark scheme and fits a phone."""
    links = "".join(f'<a href="#t{i}">{escape(heading(table))}</a>' for i, table in enumerate(board.tables))
    tables = "\n".join(_section(table, f"t{i}") for i, table in enumerate(board.tables))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(board.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(board.title)}</h1>\n" + (f"<nav>{links}</nav>\n" if len(board.tables) > 1 else "") + f"{tables}\n"
        "</body>\n</html>\n"
    )


def _section(table: Table, name: str) -> str:
    heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in ("model", *table.metrics, *COLUMNS))
    rows = "\n".join(_row(table, row) for row in table.rows)
    read = f'<p class="read">{escape(" ".join(legend(table)))}</p>\n' if legend(table) else ""
    notes = "".join(f"<li>{escape(text)}</li>" for text in table.every_note)
    charts = "\n".join(_chart(table, metric) for metric in table.metrics)
    return (
        f'<section id="{name}">\n<h2>{escape(heading(table))}</h2>\n'
        f'<p class="statement">{escape(table.statement)}</p>\n'
        f'<div class="scroll" tabindex="0"><table class="{"tested" if table.comparisons else ""}">\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>\n"
        + (f'<ul class="notes">{notes}</ul>\n' if notes else "")
        + read
        + (f'<div class="charts">\n{charts}\n</div>\n' if charts else "")
        + "</section>"
    )


def _row(table: Table, row: Row) -> str:
    beside = ["baseline"] if row.label == table.baseline else []
    beside += [remark(row)] if remark(row) else []
    small = f"<small>{escape(', '.join(beside))}</small>" if beside else ""
    cells = "".join(f"<td>{_cell(row.cells.get(metric), table.comparisons > 0)}</td>" for metric in table.metrics)
    kind = "none" if not row.seeds else "baseline" if row.label == table.baseline else ""
    return (
        f'<tr class="{kind}"><th scope="row">{escape(row.label)}{small}</th>{cells}'
        f"<td>{seconds(row)}</td><td>{parameters(row)}</td></tr>"
    )


def _cell(cell: Cell | None, tested: bool) -> str:
    if cell is None:
        return EMPTY + ('<span class="mark"></span>' if tested else "")
    mean = number(cell.mean)
    mean = f"<b>{mean}</b>" if cell.best else f"<u>{mean}</u>" if cell.second else mean
    arrow, percent = mark(cell), change(cell).replace("-", "−")
    if arrow:
        kind, word = ("good", "better") if cell.direction > 0 else ("bad", "worse")
        arrow = f'<span class="mark {kind}" title="significantly {word}, p = {cell.p:.2g}">{arrow}</span>'
    elif tested:
        arrow = '<span class="mark"></span>'  # so that the figures of a column stay below each other
    below = [f"± {number(cell.sd)}" if cell.sd is not None else "", percent]
    return mean + arrow + "".join(f"<small>{text}</small>" for text in below if text)


def _chart(table: Table, metric: str) -> str:
    """Horizontal bars from zero with error bars of one standard deviation, and a line at the baseline."""
    cells = [(row, row.cells[metric]) for row in table.rows if metric in row.cells]
    cells = [(row, cell) for row, cell in cells if math.isfinite(cell.mean)]
    if not cells:
        return ""
    left = CHARACTER * min(LONGEST, max(len(row.label) for row, _ in cells)) + 8
    room = WIDTH - left - CHARACTER * max(len(number(cell.mean)) for _, cell in cells) - 14
    largest = max(cell.mean + (cell.sd or 0) for _, cell in cells)
    scale = room / largest if largest > 0 else 0.0
    height = LINE * len(cells)
    drawn = [_bar(table, row, cell, place, left, scale) for place, (row, cell) in enumerate(cells)]
    for row, cell in cells:
        if row.label == table.baseline and len(cells) > 1:
            x = left + scale * max(cell.mean, 0)
            drawn.append(f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>')
    return (
        f'<figure><figcaption>{escape(metric)}</figcaption><svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(metric)} of each model, as in the table">{"".join(drawn)}</svg></figure>'
    )


def _bar(table: Table, row: Row, cell: Cell, place: int, left: float, scale: float) -> str:
    y = LINE * place + LINE / 2
    length, spread = scale * max(cell.mean, 0), scale * (cell.sd or 0)
    label = row.label if len(row.label) <= LONGEST else f"{row.label[: LONGEST - 1]}…"
    kind = "base" if row.label == table.baseline else "bar"
    weight = ' class="best"' if cell.best else ""
    error = ""
    if spread:
        low, high = left + max(length - spread, 0), left + length + spread
        error = f'<path class="error" d="M{low:.1f} {y:g}H{high:.1f}M{low:.1f} {y - 4:g}v8M{high:.1f} {y - 4:g}v8"/>'
    about = f"{row.label}: {number(cell.mean)}" + ("" if cell.sd is None else f" ± {number(cell.sd)}")
    return (
        f"<g><title>{escape(about)}</title>"
        f'<text x="{left - 8:.1f}" y="{y:g}" text-anchor="end"{weight}>{escape(label)}</text>'
        f'<rect class="{kind}" x="{left:.1f}" y="{y - 7:g}" width="{length:.1f}" height="14" rx="2"/>{error}'
        f'<text x="{WIDTH}" y="{y:g}" text-anchor="end"{weight}>{number(cell.mean)}</text></g>'
    )
