"""A leaderboard as Markdown, as GitHub shows it."""

from __future__ import annotations

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
from recbole_mind.experiments.leaderboard.table import Board, Cell
from recbole_mind.util.format import EMPTY, md, md_line, number


def to_markdown(board: Board) -> str:
    """Tables of GitHub's Markdown, with ``<u>`` for the second of a column."""
    parts = [f"# {md(board.title)}"]
    for table in board.tables:
        lines = [
            md_line(["model", *map(md, table.metrics), *COLUMNS]),
            md_line(["---", *["---:"] * (len(table.metrics) + 2)]),
        ]
        for row in table.rows:
            label = md(row.label) + (f" ({remark(row)})" if remark(row) else "")
            cells = [_md_cell(row.cells.get(metric)) for metric in table.metrics]
            lines.append(md_line([label, *cells, seconds(row), parameters(row)]))
        parts += [f"## {md(heading(table))}", md(table.statement), "\n".join(lines)]
        if table.every_note:
            parts.append("\n".join(f"- {md(text)}" for text in table.every_note))
        if legend(table):
            parts.append(md(" ".join(legend(table))))
    return "\n\n".join(parts) + "\n"


def _md_cell(cell: Cell | None) -> str:
    if cell is None:
        return EMPTY
    mean = number(cell.mean)
    mean = f"**{mean}**" if cell.best else f"<u>{mean}</u>" if cell.second else mean
    spread = "" if cell.sd is None else f"± {number(cell.sd)}"
    percent = f"({change(cell)})" if change(cell) else ""
    return " ".join(part for part in (mean, spread, mark(cell), percent) if part)
