"""A board and how its runs were made, small enough to keep.

    python -m benchmarks.board_record FILE.yaml DIR RECORD [BASELINE ...]

writes the record of a leaderboard that ``recbole-mind leaderboard FILE.yaml --output DIR`` has run: every figure of its
tables and, of each run, its settings, epochs, seconds, phases and versions; with other baselines than the file's also
each row's change against them, and its significance.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
from typing import Any

from recbole_mind.experiments.leaderboard.runner import Leaderboard
from recbole_mind.experiments.leaderboard.spec import read_spec
from recbole_mind.experiments.leaderboard.table import Board
from recbole_mind.util.files import write_atomic
from recbole_mind.util.json_text import to_json

KEPT = (
    "seed",
    "config",
    "valid",
    "test",
    "interests",
    "epochs",
    "seconds",
    "phases",
    "parameters",
    "threads",
    "device",
)
OF_INTERESTS = ("hits_by_interest", "lists")  # of a record's report


def summary(board: Leaderboard, result: Board) -> dict[str, Any]:
    """What is worth keeping of a leaderboard's runs."""
    runs = [
        {"dataset": cell.dataset, "protocol": cell.protocol, "label": cell.label, "source": record.get("source")}
        | {key: record[key] for key in KEPT if key in record}
        | {key: record["report"][key] for key in OF_INTERESTS if key in (record.get("report") or {})}
        for cell, record in board.done.items()
        if "error" not in record
    ]
    for run in runs:
        run["config"] = {
            key: value for key, value in run["config"].items() if key not in ("data_path", "checkpoint_dir")
        }
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    versions = next((record["versions"] for record in board.done.values() if "versions" in record), {})
    return {"machine": machine, "versions": versions, "board": dataclasses.asdict(result), "runs": runs}


def against(board: Leaderboard, baseline: str) -> dict[str, Any]:
    """By data set, row and metric: the change against another baseline in percent, p as its table corrects it, and the
    direction of a significant difference.
    """
    other = Leaderboard(dataclasses.replace(board.spec, baseline=baseline), board.folder)
    return {
        table.dataset: {
            row.label: {
                metric: {"change": cell.change, "p": cell.p, "direction": cell.direction}
                for metric, cell in row.cells.items()
            }
            for row in table.rows
            if row.label != baseline
        }
        for table in other.board().tables
    }


if __name__ == "__main__":
    spec, folder, record, *baselines = sys.argv[1:]
    leaderboard = Leaderboard(read_spec(spec), folder)
    content = summary(leaderboard, leaderboard.board())
    if baselines:
        content["against"] = {baseline: against(leaderboard, baseline) for baseline in baselines}
    write_atomic(record, to_json(content))
