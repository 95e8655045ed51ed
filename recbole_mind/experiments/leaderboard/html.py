"""A board as one self-contained page: tables, and bars for every metric as inline SVG; no script, no other file."""

from __future__ import annotations

import math
from html import escape

from recbole_mind.experiments.leaderboard.labels import (
    COLUMNS,
    change,
    heading,
    legend,
    mark,
    parameters,
    remark,
    seconds,
)
from recbole_mind.experiments.leaderboard.table import Board, Cell, Row, Table
from recbole_mind.report.html import document
from recbole_mind.util.format import EMPTY, number

WIDTH = 320  # of a chart, in units of its own; the page scales it
LINE = 22
CHARACTER = 8.6  # width of a letter of a label, bold and wide ones
LONGEST = 16  # letters of a label in a chart

_STYLE = """\
tr.baseline > * { background: var(--tint); }
td u { text-underline-offset: .2em; }
.good { color: var(--good); } .bad { color: var(--bad); } .none, .none th { color: var(--soft); }
.mark { display: inline-block; width: 1rem; } .tested td small { padding-right: 1rem; }
svg text { font-size: 12px; fill: var(--text); dominant-baseline: central; font-variant-numeric: tabular-nums; }
svg .best { font-weight: 700; }
svg .bar { fill: var(--bar); } svg .base { fill: var(--base); }
svg .error { stroke: var(--text); stroke-width: 1.2; fill: none; }
svg .rule { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 2 3; }
"""


def to_html(board: Board) -> str:
    """The page; it follows the reader's light or dark scheme and fits a phone."""
    links = "".join(f'<a href="#t{i}">{escape(heading(table))}</a>' for i, table in enumerate(board.tables))
    tables = "\n".join(_section(table, f"t{i}") for i, table in enumerate(board.tables))
    contents = f"<nav>{links}</nav>\n" if len(board.tables) > 1 else ""
    return document(board.title, f"{contents}{tables}\n", _STYLE)


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
