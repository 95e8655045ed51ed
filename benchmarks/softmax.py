"""Which form of the sampled softmax is the default: the estimate of the full softmax or ranking NCE, paired by seed.

    python -m benchmarks.softmax --data_path DATA --output benchmarks/records/softmax.json

MIND with ``loss_type: sampled`` and otherwise its defaults (1000 negatives of the whole batch), leave-one-out, the same
budget for both forms, one thread; the epoch is chosen on the validation set. DATA holds amazon-beauty and amazon-toys.
Each run is kept in the record as soon as it ends, and the same command goes on from there; so do two at once, each with
``--datasets`` and ``--output`` of its own. A run takes three to four minutes on one core.
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
    "protocol": "leave-one-out",
    "loss_type": "sampled",
    "epochs": 15,
    "stopping_step": 5,
    "train_batch_size": 512,
    "MAX_ITEM_LIST_LENGTH": 20,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "show_progress": False,
}
FORMS = ("softmax", "nce")
METRICS = ("recall@10", "ndcg@10", "recall@50", "ndcg@50")


def show(record: dict[str, Any]) -> None:
    """Print mean ± standard deviation over seeds, and that of the differences by seed."""
    print(f"{'':44}" + "".join(f"{metric:>20}" for metric in METRICS))
    for name, forms in record["results"].items():
        for phase in ("valid", "test"):
            figures = {
                form: {seed: [own[phase][metric] for metric in METRICS] for seed, own in by_seed.items()}
                for form, by_seed in forms.items()
            }
            shared = sorted(set.intersection(*(set(figures.get(form, {})) for form in FORMS)))
            rows = {form: [figures[form][seed] for seed in shared] for form in FORMS}
            rows["difference"] = [np.subtract(a, b).tolist() for a, b in zip(*rows.values(), strict=True)]
            for row, values in rows.items() if len(shared) > 1 else ():
                table = np.array(values)
                spread = zip(table.mean(0), table.std(0, ddof=1), strict=True)
                cells = "".join(f"{f'{mean:.4f} ± {deviation:.4f}':>20}" for mean, deviation in spread)
                print(f"{f'{name}, {phase}, {row}':44}{cells}")


def main() -> None:
    """Run what the record lacks, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["amazon-beauty", "amazon-toys"])
    parser.add_argument("--negatives", nargs="+", default=["uniform"], help="proposals")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020, 2021, 2022])
    parser.add_argument("--output", type=Path, required=True, help="where the record goes")
    arguments, rest = parser.parse_known_args()
    torch.set_num_threads(1)
    budget = BUDGET | parse_arguments(rest)
    record: dict[str, Any] = {"what": "forms of the sampled softmax, MIND", "threads": 1, "results": {}}
    if arguments.output.exists():
        record = json.loads(arguments.output.read_text())
    record["versions"], record["budget"] = (
        versions(),
        {k: v for k, v in budget.items() if not k.endswith(("_path", "_dir"))},
    )
    cases = [(negatives, seed, dataset, form) for negatives in arguments.negatives for seed in arguments.seeds
             for dataset in arguments.datasets for form in FORMS]  # fmt: skip
    for negatives, seed, dataset, form in cases:
        done = record["results"].setdefault(f"{dataset}, {negatives}", {}).setdefault(form, {})
        if str(seed) in done:
            continue
        settings = budget | {"preset": "plain", "negatives": negatives, "sampled_form": form}
        result = run("MIND", dataset, overrides=settings, seed=seed, saved=True)
        done[str(seed)] = {
            "valid": result.valid,
            "test": result.test,
            "curve": result.curve,
            "epochs": result.epochs,
            "seconds": result.seconds,
        }
        write_atomic(arguments.output, to_json(record))
        print(f"{dataset}, {negatives}, seed {seed}, {form}: valid ndcg@10 {result.valid['ndcg@10']:.4f}", flush=True)
    show(record)


if __name__ == "__main__":
    main()
