"""A leaderboard as Markdown, as GitHub shows it."""

from __future__ import annotations

from recbole_mind.experiments.leaderboard import labels
from recbole_mind.experiments.leaderboard.table import Board, Cell
from recbole_mind.util.format import EMPTY, md, md_line, number


def to_markdown(board: Board) -> str:
    """Tables of GitHub's Markdown, with ``<u>`` for the second of a column."""
    parts = [f"# {md(board.title)}"]
    for table in board.tables:
        lines = [
            md_line(["model", *map(md, table.metrics), *labels.COLUMNS]),
            md_line(["---", *["---:"] * (len(table.metrics) + 2)]),
        ]
        for row in table.rows:
            label = md(row.label) + (f" ({labels.remark(row)})" if labels.remark(row) else "")
            cells = [_md_cell(row.cells.get(metric)) for metric in table.metrics]
            lines.append(md_line([label, *cells, labels.seconds(row), labels.parameters(row)]))
        parts += [f"## {md(labels.heading(table))}", md(table.statement), "\n".join(lines)]
        if table.every_note:
            parts.append("\n".join(f"- {md(text)}" for text in table.every_note))
        if labels.legend(table):
            parts.append(md(" ".join(labels.legend(table))))
    return "\n\n".join(parts) + "\n"


def _md_cell(cell: Cell | None) -> str:
    if cell is None:
        return EMPTY
    mean = number(cell.mean)
    mean = f"**{mean}**" if cell.best else f"<u>{mean}</u>" if cell.second else mean
    spread = "" if cell.sd is None else f"± {number(cell.sd)}"
    percent = f"({labels.change(cell)})" if labels.change(cell) else ""
    return " ".join(part for part in (mean, spread, labels.mark(cell), percent) if part)
