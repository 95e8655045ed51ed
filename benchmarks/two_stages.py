"""What ranking adds to recall: DIN over what MIND and YouTubeDNN bring, three seeds, under ``last-fifth``.

    python -m benchmarks.two_stages --data_path DATA --output DIR --record benchmarks/records/two-stages.json

For each data set and seed, MIND and YouTubeDNN are trained with their defaults, and rankers on what each brings; MIND's
also with negatives of the whole catalogue, and on the interactions that recall was trained on. Final lists stand beside
recall's own: means and deviations over seeds, p by a two-sided Wilcoxon signed-rank test over users, corrected by Holm
for all comparisons of a data set. Then what the two stages take on one thread, by the bundle of the first seed. What is
in DIR already is not made again, and other data sets of the record stay.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recbole_mind.evaluation.hits import Hits, mean_per_user
from recbole_mind.experiments.leaderboard.significance import compare
from recbole_mind.export import export
from recbole_mind.ranking.run import rank
from recbole_mind.serving.recaller import Recaller
from recbole_mind.training.result import versions
from recbole_mind.training.run import run
from recbole_mind.util.files import write_atomic
from recbole_mind.util.json_text import to_json
from recbole_mind.util.multiple_tests import holm

METRICS = ("ndcg@10", "ndcg@50", "recall@10", "recall@50")
OF_RANKER = ("auc", "pcoc", "loss")
TRAINING: dict[str, Any] = {
    "protocol": "last-fifth",
    "epochs": 12,
    "stopping_step": 3,
    "train_batch_size": 512,
    "eval_batch_size": 4096,
    "loss_type": "sampled",
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "item_features": [],
    "user_features": [],
    "show_progress": False,
}
OF_DATA: dict[str, dict[str, Any]] = {"complete-journey": {"train_batch_size": 1024, "epochs": 6}}
RANKERS: dict[str, dict[str, dict[str, Any]]] = {
    "MIND": {
        "DIN": {},
        "DIN, uniform negatives": {"negatives": "uniform"},
        "DIN, on recall's training data": {"learn_from": "training", "lists": 20_000},
    },
    "YouTubeDNN": {"DIN": {}},
}
TIMED, AGAIN = 200, 3  # histories, and how often each


def recalled(model: str, dataset: str, seed: int, data_path: str, folder: Path) -> Path:
    """The checkpoint of a recall, trained where there is none."""
    record = folder / f"{dataset}-{model}-{seed}.json"
    if not record.is_file():
        given = TRAINING | OF_DATA.get(dataset, {}) | {"data_path": data_path, "checkpoint_dir": str(folder / "saved")}
        run(model, dataset, overrides=given, seed=seed, record=record)
    return Path(json.loads(record.read_text())["checkpoint"])


def ranked(
    model: str, label: str, dataset: str, seed: int, data_path: str, folder: Path
) -> tuple[dict[str, Any], tuple[Hits, Hits]]:
    """A ranker's record, and what recall alone and both stages found."""
    name = f"{dataset}-{model}-{label.replace(', ', '-').replace(' ', '-')}-{seed}"
    record, files = folder / f"{name}.json", [folder / f"{name}.{part}.npz" for part in ("recall", "ranked")]
    if not record.is_file():
        given = {"data_path": data_path, "checkpoint_dir": str(folder / "saved")} | RANKERS[model][label]
        result, ranker = rank(recalled(model, dataset, seed, data_path, folder), given, seed=seed, test=False)
        found = ranker.judged(ranker.test_lists())
        for hits, path in zip((found.recall, found.ranked), files, strict=True):
            hits.save(path)
        content = {"test": found.figures(), "valid": result.valid, "settings": result.settings}
        content |= {"positives": result.positives, "epochs": result.epochs, "seconds": result.seconds}
        write_atomic(record, to_json(content | {"checkpoint": result.checkpoint}))
    return json.loads(record.read_text()), (Hits.load(files[0]), Hits.load(files[1]))


def table(dataset: str, seeds: list[int], data_path: str, folder: Path) -> dict[str, Any]:
    """The rows of a data set by label; the baseline is MIND alone."""
    runs: dict[str, list[Hits]] = {}
    records: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:
        for model, labels in RANKERS.items():
            for label in labels:
                print(f"{dataset}, seed {seed}: {model} + {label}", flush=True)
                content, (alone, both) = ranked(model, label, dataset, seed, data_path, folder)
                if label == "DIN":
                    runs.setdefault(model, []).append(alone)
                runs.setdefault(f"{model} + {label}", []).append(both)
                records.setdefault(f"{model} + {label}", []).append(content)
    base = runs["MIND"]
    rows: dict[str, Any] = {}
    for name, found in runs.items():
        rows[name] = {metric: _cell(found, None if name == "MIND" else base, metric) for metric in METRICS}
        for figure in OF_RANKER if name in records else ():
            values = [content["test"][figure] for content in records[name]]
            rows[name][figure] = {"mean": float(np.mean(values)), "sd": _sd(values)}
    cells = [cell for row in rows.values() for key, cell in row.items() if cell.get("p") is not None]
    for cell, p in zip(cells, holm([cell["p"] for cell in cells]), strict=True):
        cell["p"] = float(p)
    return {"rows": rows, "runs": {name: [_kept(one) for one in found] for name, found in records.items()}}


def _cell(found: list[Hits], base: list[Hits] | None, metric: str) -> dict[str, Any]:
    values = [float(mean_per_user([run], metric).mean()) for run in found]
    cell: dict[str, Any] = {"mean": float(np.mean(values)), "sd": _sd(values)}
    if base is not None:
        comparison = compare(mean_per_user(found, metric), mean_per_user(base, metric))
        before = float(mean_per_user(base, metric).mean())
        cell |= {"change": 100 * comparison.difference / before, "p": comparison.p}
    return cell


def _sd(values: list[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _kept(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != "checkpoint"}


def timed(dataset: str, seed: int, data_path: str, folder: Path) -> dict[str, Any]:
    """Milliseconds of a recall and of a recommendation on one thread, for 1000 candidates and 50 items."""
    ranker = ranked("MIND", "DIN", dataset, seed, data_path, folder)[0]["checkpoint"]
    bundle = folder / f"{dataset}.bundle"
    export(
        recalled("MIND", dataset, seed, data_path, folder), bundle, ranker=ranker, overrides={"data_path": data_path}
    )
    recaller = Recaller.load(bundle, threads=1)
    random = np.random.default_rng(0)
    N = len(recaller.bundle.item_tokens)
    histories = [recaller.bundle.item_tokens.tokens(random.integers(0, N, 50)) for _ in range(TIMED)]
    taken: dict[str, list[float]] = {"recall": [], "recommend": []}
    for _ in range(AGAIN):
        for history in histories:
            for name, call in (("recall", lambda h: recaller.recall(h, n=1000)), ("recommend", recaller.recommend)):
                began = time.perf_counter()
                call(history)
                taken[name].append(1000 * (time.perf_counter() - began))
    return {
        name: {"p50": float(np.percentile(values, 50)), "p99": float(np.percentile(values, 99))}
        for name, values in taken.items()
    } | {"items": N}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_path", required=True)
    parser.add_argument("--output", required=True, type=Path, help="where runs and checkpoints go")
    parser.add_argument("--record", required=True)
    parser.add_argument("--datasets", nargs="+", default=["complete-journey", "ml-100k"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": versions(),
        "training": TRAINING,
    }
    done = json.loads(Path(asked.record).read_text())["datasets"] if Path(asked.record).is_file() else {}
    for name in asked.datasets:
        done[name] = {"seeds": asked.seeds} | table(name, asked.seeds, asked.data_path, asked.output)
        done[name]["milliseconds"] = timed(name, asked.seeds[0], asked.data_path, asked.output)
    write_atomic(asked.record, to_json(content | {"datasets": done}))
