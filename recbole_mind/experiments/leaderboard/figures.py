"""The charts of a board."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure

from recbole_mind.experiments.leaderboard.table import Cell, Row, Table
from recbole_mind.report import style
from recbole_mind.util.format import number

WIDTH, LINE = 3.4, 0.24  # inches: of a chart beside others, of a row
LONGEST = 16  # letters of a label


def bars(table: Table, metric: str, *, width: float = WIDTH) -> Figure | None:
    """Draw a metric of every model as a bar from zero, with one standard deviation to each side.

    The best model's letters are bold; a dotted line stands at the baseline.

    Returns:
        the figure, or ``None`` where no model has a finite figure.
    """
    rows = finite(table, metric)
    return _bars(rows, table.baseline, width) if rows else None


def finite(table: Table, metric: str) -> list[tuple[Row, Cell]]:
    """The rows that have a finite figure of a metric."""
    cells = [(row, row.cells[metric]) for row in table.rows if metric in row.cells]
    return [(row, cell) for row, cell in cells if math.isfinite(cell.mean)]


@style.drawn
def _bars(rows: list[tuple[Row, Cell]], baseline: str, width: float) -> Figure:
    figure, (axes,), _ = style.grid(1, width, 1, LINE * len(rows) + 0.1)
    for place, (row, cell) in enumerate(rows):
        length, sd = max(cell.mean, 0.0), cell.sd or 0.0
        (bar,) = axes.barh(place, length, 0.64, color=style.BASE if row.label == baseline else style.BAR)
        spread = "" if cell.sd is None else f" ± {number(cell.sd)}"
        style.hint(bar, [f"{row.label}: {number(cell.mean)}{spread}"])
        if sd:
            ends = [[min(sd, length)], [sd]]
            look: dict[str, Any] = {"color": style.INK, "linewidth": 1, "capsize": 3, "capthick": 1, "label": "spread"}
            axes.errorbar(length, place, xerr=ends, **look)
        if row.label == baseline and len(rows) > 1:
            axes.axvline(length, color=style.SOFT, linewidth=0.8, linestyle=(0, (2, 3)), zorder=3)
        axes.annotate(
            number(cell.mean),
            (1.0, place),
            xytext=(6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            weight="bold" if cell.best else "normal",
        )
    axes.set_yticks(range(len(rows)), [style.plain(style.short(row.label, LONGEST)) for row, _ in rows])
    for tick, (_, cell) in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set(fontsize=9.5, fontweight="bold" if cell.best else "normal")
    axes.set_xlim(0, max(max(cell.mean, 0.0) + (cell.sd or 0.0) for _, cell in rows) * 1.02 or 1.0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="both", length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    return figure
