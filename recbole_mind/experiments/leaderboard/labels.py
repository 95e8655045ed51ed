"""How a board's figures are written, the same in every format."""

from __future__ import annotations

import math

from recbole_mind.experiments.leaderboard.table import LEVEL, Cell, Row, Table
from recbole_mind.util import format

COLUMNS = ("training s", "parameters")  # beside the metrics


def mark(cell: Cell) -> str:
    """An arrow if the model differs significantly from the baseline."""
    return {1: "↑", -1: "↓"}.get(cell.direction, "")


def change(cell: Cell) -> str:
    """The change against the baseline, such as ``+12.1%``."""
    return "" if cell.change is None or not math.isfinite(cell.change) else f"{cell.change:+.1f}%"


def seconds(row: Row) -> str:
    """The seconds of training."""
    return format.seconds(row.seconds)


def parameters(row: Row) -> str:
    """The number of parameters."""
    return format.EMPTY if row.parameters is None else f"{row.parameters:,}"


def remark(row: Row) -> str:
    """What stands beside a label that has not all of its runs."""
    if len(row.seeds) == row.asked:
        return ""
    return f"{len(row.seeds)} of {row.asked} seeds" if row.seeds else "no result"


def heading(table: Table) -> str:
    """What a table is called."""
    return f"{table.dataset}, {table.protocol}"


def legend(table: Table) -> list[str]:
    """How to read the table: sentences that hold for what stands in it."""
    cells = [cell for row in table.rows for cell in row.cells.values()]
    lines = []
    if any(cell.sd is not None for cell in cells):
        lines.append("Mean ± standard deviation over seeds.")
    if any(cell.best for cell in cells):
        lines.append("Bold: best of the column; underlined: second.")
    if any(cell.change is not None for cell in cells):
        lines.append(f"Percentages: change against {table.baseline}.")
    if table.comparisons:
        lines.append(
            f"↑ better, ↓ worse than {table.baseline} at p < {LEVEL:g}: two-sided Wilcoxon signed-rank test over users "
            f"(each user's values averaged over seeds), corrected by Holm for the {table.comparisons} "
            f"comparison{'s' if table.comparisons > 1 else ''} of this table."
        )
    if any(row.seconds is not None for row in table.rows):
        lines.append("Training time is the median over seeds.")
    return lines
