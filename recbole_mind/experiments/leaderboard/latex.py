"""A leaderboard as LaTeX, for a paper."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_mind.experiments.leaderboard.labels import (
    COLUMNS,
    heading,
    legend,
    parameters,
    remark,
    seconds,
)
from recbole_mind.experiments.leaderboard.table import Board, Cell, Table
from recbole_mind.util.format import number

SIDE_BY_SIDE = 4  # metrics of a LaTeX table


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
