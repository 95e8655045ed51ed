"""What ComiRec's controllable diversity costs, and what it brings.

    python -m benchmarks.diversity --data_path DATA --output benchmarks/records/diversity.json

trains MIND on amazon-beauty and amazon-toys (one seed, the settings that ``benchmarks.tuning`` chose), exports it with
the items' categories, and recalls 50 items for the validation histories of every fourth user with each λ: Recall, and
the mean Jaccard distance between the categories of two of the recalled items. The leaderboard's split; of a history the
last 20 items are read and left out.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recbole_mind.config import loading
from recbole_mind.export import export
from recbole_mind.serving.recaller import Recaller
from recbole_mind.training import load, run
from recbole_mind.training.result import versions
from recbole_mind.util import json_text
from recbole_mind.util.files import write_atomic

DATASETS, WEIGHTS = ("amazon-beauty", "amazon-toys"), (0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
FIELD, N, SEED, EVERY = "categories", 50, 1, 4
COMMON = {
    "protocol": "leave-one-out",
    "epochs": 15,
    "stopping_step": 3,
    "train_batch_size": 512,
    "eval_batch_size": 4096,
    "MAX_ITEM_LIST_LENGTH": 20,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", FIELD]},
    "item_features": [],
    "show_progress": False,
}


def prepared(dataset: str, data_path: str, folder: Path) -> tuple[Recaller, list[list[str]], list[str]]:
    """A trained MIND as a recaller; validation histories and their targets, as raw tokens."""
    chosen = loading.defaults("leaderboard", dataset)["leave-one-out"]["MIND"]
    given = COMMON | chosen | {"data_path": data_path, "checkpoint_dir": str(folder)}
    path = str(run.run("MIND", dataset, overrides=given, seed=SEED, test=False).checkpoint)
    export(path, folder / "bundle", factory="exact", categories=[FIELD])
    loaded = load.load(path)
    field, histories, targets = loaded.dataset.iid_field, [], []
    for rows, _, _, found in loaded.valid_data:
        lists = rows[f"{field}_list"].numpy()
        for items, length, target in zip(lists, rows["item_length"].tolist(), found.tolist(), strict=True):
            histories.append(loaded.dataset.id2token(field, items[:length]).tolist())
            targets.append(str(loaded.dataset.id2token(field, target)))
    return Recaller.load(folder / "bundle", threads=1), histories[::EVERY], targets[::EVERY]


def distance(categories: npt.NDArray[Any]) -> float:
    """The mean Jaccard distance between the categories ``[n, M]`` of two rows."""
    held = np.zeros((len(categories), int(categories.max()) + 1))
    np.put_along_axis(held, categories, 1, axis=1)
    held = held[:, 1:]
    shared, numbers = held @ held.T, held.sum(1)
    united = numbers[:, None] + numbers - shared
    alike = np.divide(shared, united, out=np.ones_like(shared), where=united > 0)
    return float(1 - alike[np.triu_indices(len(held), 1)].mean())


def measured(recaller: Recaller, histories: list[list[str]], targets: list[str]) -> list[dict[str, Any]]:
    """A row for each λ."""
    kinds, rows = recaller.bundle.categories[FIELD], []
    for weight in WEIGHTS:
        found = recaller.recall_batch(histories, n=N, diversity=weight, category=FIELD)
        row: dict[str, Any] = {"lambda": weight}
        for k in (10, N):
            hits = [target in one.items[:k] for one, target in zip(found, targets, strict=True)]
            row[f"recall@{k}"] = float(np.mean(hits))
        apart = [distance(kinds[recaller.bundle.item_tokens.ids(one.items)]) for one in found]
        row[f"diversity@{N}"] = float(np.mean(apart))
        rows.append(row)
        print(row, flush=True)
    return rows


def main() -> None:
    """Measure both data sets and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    content: dict[str, Any] = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": versions(),
        "seed": SEED,
        "settings": COMMON,
    }
    for dataset in DATASETS:
        with tempfile.TemporaryDirectory() as folder:
            recaller, histories, targets = prepared(dataset, arguments.data_path, Path(folder))
            print(f"{dataset}: {len(histories):,} users", flush=True)
            content[dataset] = {"users": len(histories), "rows": measured(recaller, histories, targets)}
    write_atomic(arguments.output, json_text.to_json(content))


if __name__ == "__main__":
    main()
