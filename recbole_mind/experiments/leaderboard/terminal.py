"""A leaderboard on the terminal."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

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
from recbole_mind.util.format import EMPTY, number

LABEL = 24  # columns of the terminal that a label may take before it is folded


def print_board(board: Board, console: Console) -> None:
    """Print the tables at the console's width.

    Percentages are left out where a table would not fit with them; where it does not fit without them either, its
    columns are shared out among several tables.
    """
    for table in board.tables:
        console.print()
        console.print(Text(heading(table), style="bold"))
        console.print(Text(table.statement, style="dim"))
        labels = [_label(row) for row in table.rows]
        space = console.width - min(LABEL, max((label.cell_len for label in labels), default=0))
        columns = _columns(table, percent=True)
        percent = sum(map(_width, columns)) <= space
        for part in _fitted(columns if percent else _columns(table, percent=False), space):
            grid = Grid(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
            grid.add_column("model", max_width=LABEL, overflow="fold")
            for name, _ in part:
                grid.add_column(Text(name), justify="right", no_wrap=True)
            for place, label in enumerate(labels):
                grid.add_row(label, *(texts[place] for _, texts in part))
            console.print()
            console.print(grid)
        console.print()
        for text in table.every_note:
            console.print(Text(text))
        read = " ".join(text for text in legend(table) if percent or not text.startswith("Percentages"))
        console.print(Text(read, style="dim"), end="\n" if read else "")


def _label(row: Row) -> Text:
    text = Text(" ".join(row.label.split()))
    return text.append(f" ({remark(row)})", style="dim") if remark(row) else text


def _columns(table: Table, percent: bool) -> list[tuple[str, list[Text]]]:
    """Heading and texts of every column, the parts of a figure below each other."""
    columns = []
    for metric in table.metrics:
        parts = [_parts(row.cells.get(metric), percent) for row in table.rows]
        widths = [max(cell_len(text) for text, _ in part) for part in zip(*parts, strict=True)]
        texts = []
        for row_parts in parts:
            text = Text()
            for (part, style), width in zip(row_parts, widths, strict=True):
                text.append(" " * (width - cell_len(part))).append(part, style=style)
            texts.append(text)
        columns.append((metric, texts))
    beside = ([Text(seconds(row)) for row in table.rows], [Text(parameters(row)) for row in table.rows])
    return [*columns, *zip(COLUMNS, beside, strict=True)]


def _parts(cell: Cell | None, percent: bool) -> list[tuple[str, str]]:
    """Texts and styles of a figure: mean, spread in small form, arrow, change."""
    if cell is None:
        return [(EMPTY, "dim"), ("", ""), ("", ""), ("", "")]
    spread = "" if cell.sd is None else f" ±{number(cell.sd).removeprefix('0')}"
    arrow = (f" {mark(cell)}", "green" if cell.direction > 0 else "red") if mark(cell) else ("", "")
    style = "bold" if cell.best else "underline" if cell.second else ""
    return [(number(cell.mean), style), (spread, "dim"), arrow, (f" {change(cell)}" if percent else "", "")]


def _width(column: tuple[str, list[Text]]) -> int:
    name, texts = column
    return 2 + max(cell_len(name), *(text.cell_len for text in texts))


def _fitted(columns: list[tuple[str, list[Text]]], space: int) -> list[list[tuple[str, list[Text]]]]:
    """The columns in order, shared out so that each share fits; at least one column a share."""
    parts: list[list[tuple[str, list[Text]]]] = [[]]
    for column in columns:
        if parts[-1] and sum(map(_width, parts[-1])) + _width(column) > space:
            parts.append([])
        parts[-1].append(column)
    return parts
