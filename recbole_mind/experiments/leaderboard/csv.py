"""A leaderboard as CSV, a line a figure."""

from __future__ import annotations

import csv
import io

from recbole_mind.experiments.leaderboard.table import Board, Row, Table

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
