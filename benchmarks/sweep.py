"""Does TPE search better than chance, and how much sooner do two workers finish a sweep than one?

    python -m benchmarks.sweep --output benchmarks/records/sweep.json

writes a record. ``search``: the best of 60 trials of a cheap objective with ten conditional settings, TPE and annealing
against random, 20 seeds each, a one-sided Wilcoxon test over the seeds; two minutes. ``workers``: a random sweep of
MIND on ml-100k, single-threaded trials, by one process and by two Ray workers, wall time of the whole command, the
start of the cluster included; a quarter of an hour on two cores that nothing else uses. ``--parts`` chooses.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from recbole_mind.experiments.sweep.space import parse
from recbole_mind.experiments.sweep.suggest import Search
from recbole_mind.training.result import versions
from recbole_mind.util.files import write_atomic
from recbole_mind.util.json_text import to_json

SEEDS, TRIALS = 20, 60
SPACE = parse(
    {
        **{name: {"uniform": [-2, 2]} for name in ("a", "b", "c")},
        "rate": {"loguniform": [0.0001, 0.1]},
        "depth": {"int": [1, 8]},
        "form": {"choice": ["pow", "scale", "none"]},
        "p": {"choice": [0, 1, 2, 4, 8], "when": {"form": ["pow", "scale"]}},
        "scale": {"loguniform": [0.01, 10], "when": {"form": ["scale"]}},
        "step": {"quniform": [0, 1, 0.1]},
        "idle": {"uniform": [0, 1]},
    }
)
SWEEP: dict[str, Any] = {
    "model": "MIND",
    "dataset": "ml-100k",
    "settings": {
        "preset": "plain",
        "protocol": "leave-one-out",
        "loss_type": "sampled",
        "sampled_form": "nce",
        "epochs": 5,
        "stopping_step": 5,
        "train_batch_size": 512,
        "MAX_ITEM_LIST_LENGTH": 20,
    },
    "space": {"learning_rate": {"loguniform": [0.0005, 0.004]}, "K": {"choice": [4]}},
    "algo": "random",
    "max_evals": 12,
    "final_seeds": [],
    "threads": 1,
}


def objective(point: dict[str, Any]) -> float:
    """A smooth bowl with one good branch: ``form`` scale, ``p`` 2, ``scale`` 0.1; ``idle`` does nothing."""
    value = sum((point[name] - at) ** 2 for name, at in (("a", 0.5), ("b", -1.0), ("c", 1.5)))
    value += (math.log10(point["rate"]) + 2.5) ** 2 + 0.1 * (point["depth"] - 4) ** 2 + (point["step"] - 0.3) ** 2
    if point["form"] == "scale":
        value += 0.5 * (math.log10(point["scale"]) + 1) ** 2
    value += {"scale": 0.0, "pow": 1.0, "none": 2.0}[point["form"]]
    return value + 0.3 * abs(point.get("p", 8) - 2)


def best(algo: str, seed: int) -> float:
    """The least value that a search of ``TRIALS`` trials finds."""
    search = Search(SPACE, algo, seed)
    for number in range(1, TRIALS + 1):
        point = search.ask(number)
        assert point is not None  # noqa: S101
        search.tell(number, objective(point))
    return min(value for value in search.losses.values() if value is not None)


def search() -> dict[str, Any]:
    """The best of each algorithm for each seed, and the tests against random."""
    found = {algo: [best(algo, seed) for seed in range(SEEDS)] for algo in ("random", "tpe", "anneal")}
    result: dict[str, Any] = {"best": found}
    for algo in ("tpe", "anneal"):
        wins = sum(own < chance for own, chance in zip(found[algo], found["random"], strict=True))
        p = float(wilcoxon(found[algo], found["random"], alternative="less").pvalue)
        result[algo] = {"median": float(np.median(found[algo])), "wins": wins, "of": SEEDS, "p": p}
        print(f"{algo}: median {result[algo]['median']:.3f} against {np.median(found['random']):.3f} of random, "
              f"better on {wins} of {SEEDS} seeds, p = {p:.2g}")  # fmt: skip
    return result


def workers(turns: int) -> dict[str, Any]:
    """Seconds of the whole command with one process and with two workers, in turns."""
    seconds: dict[str, list[float]] = {"one": [], "two": []}
    code = "import sys; from recbole_mind.cli.main import main; sys.exit(main(sys.argv[1:]))"
    with tempfile.TemporaryDirectory() as folder:
        space = Path(folder) / "space.json"
        space.write_text(json.dumps(SWEEP))
        for turn in range(turns):
            for jobs, name in ((1, "one"), (2, "two")):
                output = f"{folder}/{name}{turn}"
                command = [sys.executable, "-W", "ignore", "-c", code, "sweep", space, "--output", output]
                began = time.perf_counter()
                subprocess.run(
                    [*map(str, command), "--jobs", str(jobs)],
                    check=True,
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                    stdout=subprocess.DEVNULL,
                )
                seconds[name].append(round(time.perf_counter() - began, 1))
                print(f"{name}: {seconds[name][-1]} s")
    ratio = min(seconds["two"]) / min(seconds["one"])
    print(f"two workers take {ratio:.2f} of one's time")
    return {"seconds": seconds, "ratio": round(ratio, 3), "sweep": SWEEP}


def main() -> None:
    """Run the parts and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the record, of which other parts are kept")
    parser.add_argument("--parts", nargs="+", default=["search", "workers"], choices=["search", "workers"])
    parser.add_argument("--turns", type=int, default=2, help="of each number of workers; the best counts")
    arguments = parser.parse_args()
    record: dict[str, Any] = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for part in arguments.parts:
        record[part] = search() if part == "search" else workers(arguments.turns)
        record[part]["machine"] = {"processor": platform.machine(), "cores": os.cpu_count()}
        record[part]["versions"] = versions()
        write_atomic(arguments.output, to_json(record))


if __name__ == "__main__":
    main()
