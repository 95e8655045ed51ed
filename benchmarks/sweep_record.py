"""A sweep along axes, small enough to keep: ``python -m benchmarks.sweep_record DIR RECORD``

writes the record of what ``recbole-mind sweep mind-paper.yaml --output DIR`` has run: each trial's metrics, curve and
seconds, and each curve's mean ± standard deviation over seeds. Its figures go beside it: RECORD.json has
``RECORD-epochs.png`` (the paper's Figure 3) and ``RECORD-values.png`` (Figure 4).
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from recbole_mind.experiments.sweep import outcomes
from recbole_mind.report import axis_scale
from recbole_mind.util.files import write_atomic
from recbole_mind.util.json_text import to_json

METRICS = ("recall@10", "ndcg@10", "recall@50", "ndcg@50", "recall@100", "ndcg@100")
# a trial has these of its own, or they say where it ran
LEFT_OUT = ("seed", "data_path", "checkpoint_dir")


def summary(folder: Path) -> dict[str, Any]:
    """The trials of a sweep along axes and the curves that they make."""
    found = [json.loads(path.read_text()) for path in (folder / "records").glob("*.json")]
    finals = sorted((record for record in found if record.get("final")), key=lambda record: record["seed"])
    records = sorted((record for record in found if not record.get("final")), key=lambda record: record["number"])
    axes = list(records[0]["drawn"])
    config = {
        key: value
        for key, value in records[0]["config"].items()
        if key not in (*LEFT_OUT, *axes) and all(record["config"].get(key) == value for record in records)
    }
    trials = [
        {"settings": record["drawn"]} | {key: record[key] for key in ("number", "seed", "valid", "curve", "seconds")}
        for record in records
    ]
    result: dict[str, Any] = {
        "model": records[0]["label"],
        "dataset": records[0]["dataset"],
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": records[0]["threads"]},
        "versions": records[0]["versions"],
        "hours": round(sum(record["seconds"] for record in records) / 3600, 2),
        "curves": {axis: {} for axis in axes},
        "winner": {
            "settings": finals[0]["drawn"] if finals else None,
            "test": {str(record["seed"]): record["test"] for record in finals},
        },
        "trials": trials,
        "config": config,
    }
    for metric in METRICS:
        runs = outcomes.outcomes(trials, metric)
        for axis in axes:
            for value, group in outcomes.along(runs, axis, axes).items():
                mean, sd = outcomes.spread(group)
                point = result["curves"][axis].setdefault(axis_scale.text(value), {"seeds": len(group)})
                point[metric] = [mean, sd]
    return result


if __name__ == "__main__":
    place, record = Path(sys.argv[1]), Path(sys.argv[2])
    write_atomic(record, to_json(summary(place)))
    for figure in ("epochs", "values"):
        shutil.copy(place / "figures" / f"{figure}.png", record.with_name(f"{record.stem}-{figure}.png"))
