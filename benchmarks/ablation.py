"""What the number of interests and side information bring, for all items and for cold ones.

    python -m benchmarks.ablation --data_path DATA --output DIR

runs ``benchmarks/ablation.yaml`` as a leaderboard in ``DIR`` (what is done there is not done again), from the settings
that ``benchmarks.tuning`` chose, and writes ``benchmarks/records/ablation.json``: the board, and the metrics of the
targets that have at most 5 interactions in training.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.board_record import summary
from recbole_mind.experiments.leaderboard.markdown import to_markdown
from recbole_mind.experiments.leaderboard.runner import Leaderboard
from recbole_mind.experiments.leaderboard.spec import read_spec
from recbole_mind.util.files import alone_in, write_atomic
from recbole_mind.util.json_text import to_json

HERE = Path(__file__).parent
COLD = "0-5"  # a group of the record's report


def cold(board: Leaderboard) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds of each label's metrics on cold targets."""
    rows = []
    for dataset in board.spec.datasets:
        for label in board.spec.models:
            records = [record for cell, record in board.done.items() if (cell.dataset, cell.label) == (dataset, label)]
            groups = [
                group
                for record in records
                for group in record.get("report", {}).get("by_target_popularity", [])
                if group["group"] == COLD
            ]
            if not groups:
                continue
            row: dict[str, Any] = {
                "dataset": dataset,
                "label": label,
                "seeds": len(groups),
                "users": groups[0]["users"],
            }
            for metric in (name for name in groups[0] if "@" in name):
                values = [group[metric] for group in groups]
                spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
                row[metric] = [float(np.mean(values)), spread]
            rows.append(row)
    return rows


def main() -> None:
    """Run what is missing, print the board and what becomes of cold items, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    spec = dataclasses.replace(read_spec(HERE / "ablation.yaml"), data_path=arguments.data_path)
    with alone_in(arguments.output):
        board = Leaderboard(spec, arguments.output, arguments.jobs)
        board.clear()
        board.run()
    result, rows = board.board(), cold(board)
    print(to_markdown(result))
    for row in rows:
        print(row)
    write_atomic(HERE / "records/ablation.json", to_json(summary(board, result) | {"cold_items": rows}))


if __name__ == "__main__":
    main()
