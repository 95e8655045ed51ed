"""A board as Markdown, LaTeX, CSV, a page and in the terminal. Labels come from users and are escaped everywhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from recbole_mind.board import Board, Cell, Row, Table
from recbole_mind.board_html import to_html
from recbole_mind.board_words import COLUMNS, change, heading, legend, mark, parameters, remark, seconds
from recbole_mind.files import write_atomic
from recbole_mind.words import EMPTY, md, md_line, number

__all__ = ["print_board", "to_csv", "to_html", "to_latex", "to_markdown", "write"]

NAME = "leaderboard"
SIDE_BY_SIDE = 4  # metrics of a LaTeX table
LABEL = 24  # columns of the terminal that a label may take before it is folded


def write(board: Board, folder: str | Path) -> list[Path]:
    """Write ``leaderboard.md``, ``.tex``, ``.csv`` and ``.html``, each whole or not at all; their paths.

    Raises:
        InputError: the folder cannot be written.
    """
    contents = {".md": to_markdown, ".tex": to_latex, ".csv": to_csv, ".html": to_html}
    paths = []
    for ending, render in contents.items():
        paths.append(Path(folder) / f"{NAME}{ending}")
        write_atomic(paths[-1], render(board))
    return paths


# -- Markdown -----------------------------------------------------------------------------------------------------


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


# -- LaTeX --------------------------------------------------------------------------------------------------------

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "–": "--",
    **{sign: f"\\{sign}" for sign in "{}$&#%_"},
}


def to_latex(board: Board) -> str:
    """Tables for ``booktabs``, with at most four metrics side by side.

    For width they leave out the percentages, which the other formats have.
    """
    parts = [r"% needs \usepackage[T1]{fontenc}, \usepackage{textcomp} and \usepackage{booktabs}"]
    for table in board.tables:
        grids = [_tabular(table, share, last=share[-1:] == table.metrics[-1:]) for share in _shares(table.metrics)]
        read = " ".join(text for text in legend(table) if not text.startswith("Percentages"))
        lines = [
            r"\begin{table}[t]",
            r"\centering\small\setlength{\tabcolsep}{4pt}",
            rf"\caption{{{_tex(heading(table))}: {_tex(table.statement)}.}}",
            "\n\\par\\smallskip\n".join(grids),
            r"\par\smallskip",
            r"\begin{minipage}{\linewidth}\footnotesize\raggedright",
            *(rf"{_tex(text)}\par" for text in (*table.every_note, read) if text),
            r"\end{minipage}",
            r"\end{table}",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _shares(metrics: Sequence[str]) -> list[Sequence[str]]:
    """The metrics in order, in shares of nearly equal size."""
    number = max(1, -(-len(metrics) // SIDE_BY_SIDE))
    size = -(-len(metrics) // number)
    return [metrics[place * size : (place + 1) * size] for place in range(number)]


def _tabular(table: Table, metrics: Sequence[str], last: bool) -> str:
    """The rows with some of the metrics; the last one has time and size too."""
    heads = [*map(_tex, metrics), *(COLUMNS if last else ())]
    lines = [rf"\begin{{tabular}}{{l{'r' * len(heads)}}}", r"\toprule", _tex_line(["model", *heads]), r"\midrule"]
    for row in table.rows:
        label = _tex(row.label) + (rf" {{\scriptsize({remark(row)})}}" if remark(row) else "")
        cells = [_tex_cell(row.cells.get(metric)) for metric in metrics]
        lines.append(_tex_line([label, *cells, *((_tex(seconds(row)), _tex(parameters(row))) if last else ())]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _tex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))


def _tex_line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _tex_cell(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    mean = number(cell.mean)
    mean = rf"\textbf{{{mean}}}" if cell.best else rf"\underline{{{mean}}}" if cell.second else mean
    spread = "" if cell.sd is None else rf"{{\scriptsize$\pm${number(cell.sd).removeprefix('0')}}}"
    return mean + spread + {1: r"$^{\uparrow}$", -1: r"$^{\downarrow}$"}.get(cell.direction, "")


# -- CSV ----------------------------------------------------------------------------------------------------------

_COLUMNS = (
    "dataset", "protocol", "label", "model", "metric", "mean", "sd", "seeds", "seeds_asked", "change_percent",
    "p", "p_holm", "significant", "effect", "users", "wins", "losses", "place", "baseline", "training_seconds",
    "parameters", "interactions", "left_out", "notes",
)  # fmt: skip


def to_csv(board: Board) -> str:
    """Long form: a line for each data set, protocol, label and metric; empty where there is no figure."""
    file = io.StringIO()
    writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for table in board.tables:
        for row in table.rows:
            for metric in table.metrics or ("",):
                writer.writerow(_csv_line(table, row, metric))
    return file.getvalue()


def _csv_line(table: Table, row: Row, metric: str) -> dict[str, object]:
    line: dict[str, object] = {
        "dataset": table.dataset,
        "protocol": table.protocol,
        "label": row.label,
        "model": row.model,
        "metric": metric,
        "seeds": len(row.seeds),
        "seeds_asked": row.asked,
        "baseline": table.baseline,
        "training_seconds": row.seconds,
        "parameters": row.parameters,
        "interactions": row.data.get("kept", {}).get("interactions"),
        "left_out": sum(row.data["left_out"].values()) if row.data else None,
        "notes": "; ".join(row.notes),
    }
    cell = row.cells.get(metric)
    if cell is not None:
        line |= {"mean": cell.mean, "sd": cell.sd, "change_percent": cell.change, "p_holm": cell.p}
        line |= {
            "significant": {1: "better", -1: "worse"}.get(cell.direction, ""),
            "place": "best" if cell.best else "second" if cell.second else "",
        }
    if cell is not None and cell.comparison is not None:
        test = cell.comparison
        line |= {"p": test.p, "effect": test.effect, "users": test.users, "wins": test.wins, "losses": test.losses}
    return {key: f"{value:.10g}" if isinstance(value, float) else value for key, value in line.items()}


# -- the terminal -------------------------------------------------------------------------------------------------


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
