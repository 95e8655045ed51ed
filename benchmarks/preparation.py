"""What does it cost to read and split a data set, up to the first batch? RecBole's way, ours, and from a pack.

    python -m benchmarks.preparation --output preparation.json

writes a record; about eight minutes on two cores. Interactions in random order, leave-one-out, histories of up to 50.
Seconds are wall time of ``create_dataset``, ``create_loaders`` and the first batch; memory is what the process needs
at its peak beyond what it has after its imports, pages of mapped files included. ``batch`` is the time of a shuffled
training batch of 2048 with what MIND reads of it. Each figure is the median of three processes.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TURNS = 3
SIZES = {300_000: ("recbole", "lazy", "packed"), 1_000_000: ("recbole", "lazy", "packed"), 20_000_000: ("packed",)}
READ = ("user_id", "item_id", "item_id_list", "item_length")


def write(folder: str, total: int) -> None:
    """Write the data set ``made``: an interaction has 15 others of its user and a Zipf item, at a random time."""
    import numpy as np

    from benchmarks.synthetic import Interactions, interactions
    from benchmarks.synthetic import write as write_file

    data = interactions(total // 15, total // 50, total)
    order = np.random.default_rng(2).permutation(len(data.users))
    write_file(Interactions(data.users[order], data.items[order]), Path(folder), "made")


def prepare(folder: str, how: str) -> dict[str, float]:
    """Prepare it in this process."""
    import resource
    import time

    from recbole.config import Config

    import recbole_mind  # noqa: F401 - registers the models
    from recbole_mind.data.create import create_dataset, create_loaders
    from recbole_mind.training.build import argv_hidden

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    settings = {
        "data_path": folder,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
        "train_neg_sample_args": None,
        "packed": None if how == "packed" else False,
    }
    with argv_hidden():
        config = Config("GRU4Rec" if how == "recbole" else "MIND", "made", config_dict=settings)
    began, before = time.perf_counter(), peak()
    train, _, _ = create_loaders(config, create_dataset(config))
    next(iter(train))
    figures = {"seconds": time.perf_counter() - began, "megabytes": peak() - before, "samples": len(train.dataset)}
    began = time.perf_counter()
    for number, batch in enumerate(train, 1):
        for field in READ:
            _ = batch[field]
        if number == 200:
            break
    return figures | {"batch_ms": 1000 * (time.perf_counter() - began) / number}


def pack(folder: str) -> dict[str, float]:
    """Pack it in this process."""
    import resource
    import time

    from recbole_mind.data.packed_dataset import pack_data
    from recbole_mind.training.build import build_config

    config = build_config("MIND", "made", overrides={"data_path": folder})
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pack_data(config)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": time.perf_counter() - began, "megabytes": more / 1024}


def _apart(call: str) -> Any:
    """A call's result from a process of its own: this one stays small, for a process begins with its parent's peak."""
    code = f"import json, benchmarks.preparation as p; print(json.dumps(p.{call}))"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.decode().splitlines()[-1])


def main() -> None:
    """Measure every size in every way, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the record")
    output = parser.parse_args().output
    rows = []
    for total, ways in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            _apart(f"write({folder!r}, {total})")
            for way in ("pack", *ways):
                call = f"pack({folder!r})" if way == "pack" else f"prepare({folder!r}, {way!r})"
                found = [_apart(call) for _ in range(TURNS)]
                median = {key: round(statistics.median(turn[key] for turn in found), 2) for key in found[0]}
                rows.append({"interactions": total, "way": way} | median)
                print(rows[-1], flush=True)
    machine = {"machine": platform.machine(), "python": platform.python_version()}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"protocol": __doc__, "rows": rows} | machine, indent=2) + "\n")


if __name__ == "__main__":
    main()
