"""A board and how its runs were made, small enough to keep: ``python -m benchmarks.board_record FILE.yaml DIR RECORD``

writes the record of a leaderboard that ``recbole-mind leaderboard FILE.yaml --output DIR`` has run: every figure of its
tables and, of each run, its settings, epochs, seconds, phases and versions.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
from typing import Any

from recbole_mind.board import Board
from recbole_mind.files import write_atomic
from recbole_mind.leaderboard import Leaderboard, read_spec
from recbole_mind.settings import to_json

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


def summary(board: Leaderboard, result: Board) -> dict[str, Any]:
    """What is worth keeping of a leaderboard's runs."""
    runs = [
        {"dataset": cell.dataset, "protocol": cell.protocol, "label": cell.label, "source": record.get("source")}
        | {key: record[key] for key in KEPT if key in record}
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


if __name__ == "__main__":
    spec, folder, record = sys.argv[1:]
    leaderboard = Leaderboard(read_spec(spec), folder)
    write_atomic(record, to_json(summary(leaderboard, leaderboard.board())))
