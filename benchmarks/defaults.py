"""What justifies the defaults of MIND: each setting that was in question, changed alone, over several seeds.

    python -m benchmarks.defaults --dataset ml-100k --output benchmarks/records/defaults-ml-100k.json

Leave-one-out, whole catalogue ranked, history masked, the same budget for every row, one thread; the epoch is chosen on
the validation set. Each run is kept in the record as soon as it ends, and the same command goes on from there. ml-100k
takes about 25 minutes on one core. Other data: ``--data_path`` and the settings that it needs, such as
``--dataset amazon-beauty --data_path data --loss_type sampled --sampled_form nce``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_mind.config.loading import parse_arguments
from recbole_mind.training.result import versions
from recbole_mind.training.run import run
from recbole_mind.util.files import write_atomic
from recbole_mind.util.json_text import to_json

BUDGET: dict[str, Any] = {
    "epochs": 5,
    "train_batch_size": 512,
    "learning_rate": 0.001,
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "mask_history": True,
    "metrics": ["Recall", "NDCG"],
    "topk": [10, 50, 100],
    "valid_metric": "NDCG@10",
    "show_progress": False,
}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "YouTubeDNN": ("YouTubeDNN", {}),
    "MIND (defaults)": ("MIND", {}),
    "K = 1": ("MIND", {"K": 1}),
    "p = inf": ("MIND", {"p": "inf"}),
    "p = 0": ("MIND", {"p": 0}),
    "routing_init = kmeans++": ("MIND", {"routing_init": "kmeans++"}),
    "routing_init = kmeans++, p = inf": ("MIND", {"routing_init": "kmeans++", "p": "inf"}),
    "routing_softmax = behaviors": ("MIND", {"routing_softmax": "behaviors"}),
    "routing_scale = 1": ("MIND", {"routing_scale": 1}),
    "initializer_range = 0.125, no scale": ("MIND", {"initializer_range": 0.125, "routing_scale": None}),
    "dropout = 0": ("MIND", {"dropout": 0}),
}
METRICS = ("recall@10", "ndcg@10", "recall@50", "recall@100")


def show(results: dict[str, dict[str, Any]]) -> None:
    """Print mean ± standard deviation over seeds for each row."""
    print(f"{'test':36}{'seeds':>6}" + "".join(f"{metric:>18}" for metric in (*METRICS, "valid ndcg@10")))
    for name, by_seed in results.items():
        cells = []
        for phase, metric in (*(("test", metric) for metric in METRICS), ("valid", "ndcg@10")):
            values = [result[phase][metric] for result in by_seed.values()]
            spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.4f}{spread}")
        print(f"{name:36}{len(by_seed):>6}" + "".join(f"{cell:>18}" for cell in cells))


def main() -> None:
    """Run what the record lacks, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--output", type=Path, required=True, help="where the record goes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), help="only these rows")
    arguments, rest = parser.parse_known_args()
    torch.set_num_threads(1)
    budget = BUDGET | parse_arguments(rest)
    record: dict[str, Any] = {"what": "defaults of MIND", "dataset": arguments.dataset, "threads": 1, "results": {}}
    if arguments.output.exists():
        record = json.loads(arguments.output.read_text())
    record["versions"], record["budget"] = versions(), {k: v for k, v in budget.items() if k != "data_path"}
    for seed in arguments.seeds:
        for name in arguments.rows:
            done = record["results"].setdefault(name, {})
            if str(seed) in done:
                continue
            model, changes = ROWS[name]
            result = run(model, arguments.dataset, overrides=budget | changes, seed=seed, saved=True)
            done[str(seed)] = {
                "valid": result.valid,
                "test": result.test,
                "interests": result.interests,
                "epochs": result.epochs,
                "seconds": result.seconds,
            }
            write_atomic(arguments.output, to_json(record))
            print(
                f"seed {seed}, {name}: test recall@10 {result.test['recall@10']:.4f}, {result.seconds:.0f} s",
                flush=True,
            )
    show({name: by_seed for name, by_seed in record["results"].items() if by_seed})


if __name__ == "__main__":
    main()
