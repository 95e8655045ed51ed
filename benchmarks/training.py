"""How fast does MIND train, what does its data cost, and how near is that to what the machine can do?

    python -m benchmarks.training --output benchmarks/records/training.json

writes a record and, beside it, a figure. The parts, which ``--part`` chooses among (a record that exists is completed):

``steps``: samples per second against the size of the catalogue, batch 2048, L = 50, D = 64, K = 4, 1000 shared
negatives. MIND, MIND with dense updates and YouTubeDNN are ours; beside them the same mathematics written straight
down (``benchmarks.plain_mind``, dense Adam, as RecBole trains) and RecBole's GRU4Rec and SASRec, whose loss is a
softmax over the catalogue. The models take turns; a ratio is the median of the turns.

``roofline``: the operations and bytes that a step must do, at this machine's measured rates, against the time it takes.

``preparation``: from the ``.inter`` file to the first batch, RecBole's data set and ours (``benchmarks.preparation``).

``accuracy`` (with ``--data_path``): MIND on amazon-beauty with dense and sparse updates, in float32 and bfloat16, each
over the same seeds.

``epoch``: data as large as Amazon Books (400,000 items, 350,000 users, 6.3 million interactions), one epoch of
``run_recbole`` with evaluation, in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks import synthetic
from benchmarks.defaults import BUDGET
from benchmarks.plain_mind import PlainMIND
from recbole_mind.layers.batch_shards import Share
from recbole_mind.training import build
from recbole_mind.training.result import versions
from recbole_mind.util.files import write_atomic

B, L, D, K, NEGATIVES, HIDDEN, SEED = 2048, 50, 64, 4, 1000, 256, 1
SEEDS = (1, 2, 3)
CATALOGUES = (10_000, 40_000, 400_000, 4_000_000, 10_000_000)
TURNS, STEPS = 9, 4
SOFTMAX_UP_TO = 40_000  # beyond it GRU4Rec's and SASRec's logits alone take seconds a step
PLAIN_UP_TO = 4_000_000  # beyond it dense Adam's four tables leave no room

Step = Callable[[Any], Any]


# -- steps --------------------------------------------------------------------------------------------------------


def batches(N: int, count: int) -> list[Any]:
    """``count`` batches of samples over a catalogue of ``N`` items."""
    from recbole.data.interaction import Interaction

    data = synthetic.interactions(100_000, N, 2_000_000, SEED)
    rng, made = np.random.default_rng(SEED), []
    for _ in range(count):
        rows = rng.integers(1, len(data.users), 2 * B)
        rows = rows[data.users[rows] == data.users[rows - 1]][:B]  # a user's first has no history
        history, lengths, target, users = (torch.from_numpy(part) for part in synthetic.histories(data, rows, L))
        made.append(Interaction({"item_id_list": history, "item_length": lengths, "item_id": target, "user_id": users}))
    return made


def model_step(name: str, N: int, **overrides: Any) -> tuple[Step, Any]:
    """A training step of one of our models or RecBole's, as its trainer does it, and the model."""
    from recbole.utils import get_model, init_seed

    ours = name in ("MIND", "YouTubeDNN")
    settings = {
        "MAX_ITEM_LIST_LENGTH": L,
        "train_batch_size": B,
        "use_gpu": False,
        "checkpoint_dir": tempfile.gettempdir(),
    }
    if ours:
        settings |= {"preset": "plain", "loss_type": "sampled", "sampled_form": "nce"}  # what plain_mind computes
        settings |= {"num_negatives": NEGATIVES, "item_features": [], "user_features": []}
    else:
        settings |= {"loss_type": "CE", "train_neg_sample_args": None}
    config = build.build_config(name, "ml-100k", overrides=settings | overrides)
    init_seed(SEED, True)
    counts = {"item_id": torch.arange(1, N)}  # each item once
    data = SimpleNamespace(num=lambda field: N if field == "item_id" else 200_001, inter_feat=counts)
    data.item_feat = data.user_feat = None
    model = get_model(name)(config, data)
    trainer = build.build_trainer(config, model)
    model.train()
    if ours:
        return (lambda batch: trainer.advance(batch, Share())), model
    return recbole_step(model, trainer.optimizer), model


def recbole_step(model: Any, optimizer: Any) -> Step:
    """What RecBole's trainer does with a batch."""

    def step(batch: Any) -> None:
        optimizer.zero_grad()
        loss = model.calculate_loss(batch)
        loss.item()
        loss.backward()
        optimizer.step()

    return step


def plain_step(N: int) -> Step:
    """A training step of the baseline."""
    model = PlainMIND(N=N, D=D, K=K, L=L, n=NEGATIVES, hidden=HIDDEN, temperature=0.07, scale=5.0)
    return recbole_step(model, torch.optim.Adam(model.parameters(), lr=1e-3))


def steps(N: int) -> dict[str, Any]:
    """Samples per second of every model over a catalogue of ``N`` items."""
    data = batches(N, 8)
    runners: dict[str, Step] = {"MIND": model_step("MIND", N)[0], "YouTubeDNN": model_step("YouTubeDNN", N)[0]}
    if N <= PLAIN_UP_TO:
        runners["plain MIND"] = plain_step(N)
    if N <= 400_000:
        runners["MIND, dense updates"] = model_step("MIND", N, sparse_updates=False)[0]
    if N <= SOFTMAX_UP_TO:
        runners["MIND, full softmax"] = model_step("MIND", N, loss_type="CE")[0]
        for name in ("GRU4Rec", "SASRec"):
            runners[name] = model_step(name, N)[0]
    rates: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(TURNS + 1):
        for name, step in runners.items():
            if name in ("GRU4Rec", "SASRec") and turn > 3:
                continue  # half a minute each
            slow = name in ("GRU4Rec", "SASRec") or (name == "plain MIND" and N > 40_000)
            some = data[turn % 8 :][:1] if slow else data[turn % 2 :: 2][:STEPS]
            if not slow:
                step(data[-1])  # the caches are full of another model
            began = time.perf_counter()
            for batch in some:
                step(batch)
            if turn:  # the first is for warming up
                rates[name].append(B * len(some) / (time.perf_counter() - began))
    row: dict[str, Any] = {"items": N, "samples_per_s": {name: round(float(np.median(r))) for name, r in rates.items()}}
    if "plain MIND" in rates:
        times = float(np.median(np.array(rates["MIND"]) / np.array(rates["plain MIND"])))
        row["times_plain"] = round(times, 1)
    row["mean_history"] = round(float(torch.cat([batch["item_length"] for batch in data]).float().mean()), 1)
    return row


# -- roofline -----------------------------------------------------------------------------------------------------


def median_time(run: Callable[[], Any], times: int = 15) -> float:
    """Median seconds of a call."""
    run()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))


def rates() -> dict[str, float]:
    """This machine's arithmetic, memory and gathering rates, by torch."""
    a = torch.randn(2048, 2048)
    x, y = torch.randn(1 << 26), torch.empty(1 << 26)
    table, ids = torch.randn(1_000_000, D), torch.randperm(1_000_000)[:50_000].sort().values
    rows = table.index_select(0, ids)
    gathered = median_time(lambda: table.index_select(0, ids)) + median_time(lambda: table.index_copy_(0, ids, rows))
    return {
        "gflops": round(2 * 2048**3 / median_time(lambda: a @ a) / 1e9, 1),
        "copy_gb_s": round(2 * 4 * len(x) / median_time(lambda: y.copy_(x)) / 1e9, 1),
        "rows_gb_s": round(2 * 2 * 4 * rows.numel() / gathered / 1e9, 1),
    }


def work(batch: Any) -> dict[str, float]:
    """What a step must do for a batch: operations, table bytes; and the operations if padding is computed too."""
    lengths = batch["item_length"].double()
    active = lengths.log2().floor().clamp(1, K)
    different = len(torch.cat([batch["item_id_list"].flatten(), batch["item_id"]]).unique()) + NEGATIVES
    layers, negatives = 2 * 2 * D * HIDDEN, 2 * B * NEGATIVES * D
    # S once for each different item; three sums and two agreements, and the last sum's gradient, for each behaviour;
    # the ReLU layers for each active interest; the negatives; three times for the backward pass
    needed = 3 * (2 * different * D * D + layers * float(active.sum()) + negatives)
    needed += 6 * 2 * D * float((lengths * active).sum())
    padded = 3 * B * (2 * L * D * D + 5 * 2 * K * L * D + layers * K + 2 * NEGATIVES * D)
    return {"operations": needed, "padded_operations": padded, "table_bytes": 6.0 * different * D * 4}


def roofline(N: int = 400_000) -> dict[str, Any]:
    """The least time of a step at this machine's rates, against its time; and where the time goes."""
    data = batches(N, 8)
    step, _ = model_step("MIND", N)
    for batch in data:
        step(batch)
    machine, turns = rates(), []
    for _ in range(TURNS):
        began = time.perf_counter()
        for batch in data:
            step(batch)
        turns.append((time.perf_counter() - began) / len(data))
    again = rates()
    machine = {key: round(max(value, again[key]), 1) for key, value in machine.items()}
    took = float(np.median(turns))
    counts = [work(batch) for batch in data]
    mean = {key: float(np.mean([count[key] for count in counts])) for key in counts[0]}
    moved = mean["table_bytes"] / (machine["rows_gb_s"] * 1e9)
    least = mean["operations"] / (machine["gflops"] * 1e9) + moved
    padded = mean["padded_operations"] / (machine["gflops"] * 1e9) + moved
    return {
        "items": N,
        "machine": machine,
        "step_ms": round(1e3 * took, 1),
        "mflop_per_sample": round(mean["operations"] / B / 1e6, 2),
        "padded_mflop_per_sample": round(mean["padded_operations"] / B / 1e6, 2),
        "table_mb": round(mean["table_bytes"] / 1e6, 1),
        "least_ms": round(1e3 * least, 1),
        "least_padded_ms": round(1e3 * padded, 1),
        "share": round(least / took, 2),
        "share_of_padded": round(padded / took, 2),
        "profile_percent": profile(step, data),
    }


KINDS = {
    "matrix products": ("mm", "bmm", "addmm", "addmm_", "linear"),
    "gathering, scattering": (
        "index", "index_select", "index_copy_", "index_add_", "index_put_", "scatter_add_", "_index_put_impl_",
        "index_fill_", "gather",
    ),
    "random numbers": ("normal_", "random_", "uniform_"),
    "sorting, unique": ("sort", "_unique2", "searchsorted", "argsort"),
    "exp, softmax": ("exp", "exp_", "_softmax", "_softmax_backward_data", "log"),
    "Adam": ("_fused_adam_",),
}  # fmt: skip


def profile(step: Step, data: list[Any]) -> dict[str, float]:
    """Shares of a step's time by kind of operation, in percent."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as record:
        for batch in data:
            step(batch)
    kind_of = {f"aten::{name}": kind for kind, names in KINDS.items() for name in names}
    times: dict[str, float] = {}
    for event in record.key_averages():
        kind = kind_of.get(
            event.key, "elementwise, copies" if event.key.startswith("aten::") else "Python and autograd"
        )
        times[kind] = times.get(kind, 0.0) + event.self_cpu_time_total
    total = sum(times.values())
    return {kind: round(100 * value / total, 1) for kind, value in sorted(times.items(), key=lambda pair: -pair[1])}


# -- preparation and epoch ----------------------------------------------------------------------------------------


def preparation() -> list[dict[str, Any]]:
    """The rows of ``benchmarks.preparation``, which measures in processes of its own."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "preparation.json"
        subprocess.run([sys.executable, "-m", "benchmarks.preparation", "--output", str(output)], check=True)
        rows: list[dict[str, Any]] = json.loads(output.read_text())["rows"]
    return rows


# VmHWM is the process's own peak; that of rusage begins with its parent's
RUN = """
import re, sys
from recbole_mind.cli.main import run_recbole
status = run_recbole(sys.argv[1:])
print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
sys.exit(status)
"""


def epoch() -> dict[str, Any]:
    """One epoch of ``run_recbole`` at the size of Amazon Books."""
    users, items, total, search = 350_000, 400_000, 6_300_000, "IVF2048,Flat"
    with tempfile.TemporaryDirectory() as folder:
        synthetic.write(synthetic.interactions(users, items, total, SEED), Path(folder), "books")
        record = Path(folder) / "record.json"
        options = {
            "model": "MIND", "dataset": "books", "data_path": folder, "checkpoint_dir": folder, "record": record,
            "epochs": 1, "train_batch_size": B, "MAX_ITEM_LIST_LENGTH": L, "loss_type": "sampled",
            "sampled_form": "nce", "num_negatives": NEGATIVES, "mask_history": True, "eval_search": search,
            "search_parameters": "nprobe=16", "use_gpu": False,
        }  # fmt: skip
        began = time.perf_counter()
        command = [sys.executable, "-c", RUN, *(f"--{key}={value}" for key, value in options.items())]
        done = subprocess.run(command, stdout=subprocess.PIPE, cwd=folder, check=True)
        seconds = time.perf_counter() - began
        peak = int(done.stdout.split()[-1])
        result = json.loads(record.read_text())
    return {
        "users": users,
        "items": items,
        "interactions": total,
        "search": f"{search}, nprobe 16",
        "seconds": round(seconds),
        "peak_gib": round(peak / 2**20, 2),
        "phases_s": result.get("phases"),
        "test": result["test"],
    }


# -- accuracy -----------------------------------------------------------------------------------------------------

UPDATES: dict[str, dict[str, Any]] = {
    "dense updates, float32": {"sparse_updates": False},
    "sparse updates, float32": {"sparse_updates": True},
    "sparse updates, bfloat16": {"sparse_updates": True, "enable_amp": True},
}


def accuracy(data_path: str) -> list[dict[str, Any]]:
    """Test metrics of MIND on amazon-beauty by how it is updated: mean and standard deviation over seeds."""
    from recbole_mind.training import run as quick_start

    common = BUDGET | {"data_path": data_path, "loss_type": "sampled", "MAX_ITEM_LIST_LENGTH": 20}
    common |= {"preset": "plain", "sampled_form": "nce"}
    rows = []
    for name, changed in UPDATES.items():
        results = []
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as folder:
                overrides = {**common, **changed, "checkpoint_dir": folder}
                results.append(quick_start.run("MIND", "amazon-beauty", overrides=overrides, seed=seed))
            print(name, seed, results[-1].test, results[-1].seconds, flush=True)
        row: dict[str, Any] = {"updates": name, "seeds": list(SEEDS), "seconds": [result.seconds for result in results]}
        row["threads"] = torch.get_num_threads()
        for metric in results[0].test:
            values = [result.test[metric] for result in results]
            row[metric] = [float(np.mean(values)), float(np.std(values, ddof=1))]
        rows.append(row)
    return rows


# -- record and figure --------------------------------------------------------------------------------------------


def draw(record: dict[str, Any], path: Path) -> None:
    """Speed against the catalogue, preparation, and where a step's time goes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(15, 4.2), constrained_layout=True)
    rows = sorted(record["steps"], key=lambda row: row["items"])
    names = list(dict.fromkeys(name for row in rows for name in row["samples_per_s"]))
    for name in names:
        points = [(row["items"], row["samples_per_s"][name]) for row in rows if name in row["samples_per_s"]]
        left.plot(*zip(*points, strict=True), marker="o", label=name, linewidth=2.5 if name == "MIND" else 1.2)
    left.set(xscale="log", yscale="log", xlabel="items", ylabel="samples per second", title="Training step")
    left.legend(fontsize=8)
    for way in ("recbole", "lazy", "packed"):
        rows = [row for row in record["preparation"] if row["way"] == way]
        x = [row["interactions"] for row in rows]
        (line,) = middle.plot(x, [row["seconds"] for row in rows], marker="o", label=f"{way}: seconds")
        memory = [row["megabytes"] / 1024 for row in rows]
        middle.plot(x, memory, marker="s", linestyle="--", color=line.get_color(), label=f"{way}: GiB")
    middle.set(xscale="log", yscale="log", xlabel="interactions", title="Data preparation")
    middle.legend(fontsize=8)
    roof = record["roofline"]
    kinds = list(roof["profile_percent"].items())[::-1]
    right.barh([kind for kind, _ in kinds], [percent for _, percent in kinds], color="tab:gray")
    right.set(
        xlabel="% of a step",
        title=f"{roof['step_ms']:.0f} ms a step; {roof['least_ms']:.0f} ms at this machine's rates\n"
        f"({roof['least_padded_ms']:.0f} ms if padding is computed)",
    )
    for axis in (left, middle):
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure what the record lacks, write it and draw it."""
    parts = ("steps", "roofline", "preparation", "epoch", "accuracy")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the record; the figure stands beside it as .png")
    parser.add_argument(
        "--part", action="append", choices=parts, help="measure this part (again); default: all lacking"
    )
    parser.add_argument("--data_path", help="the folder that holds amazon-beauty/, for accuracy")
    arguments = parser.parse_args()
    record: dict[str, Any] = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    asked = arguments.part or [
        part for part in parts if part not in record and (part != "accuracy" or arguments.data_path)
    ]
    record |= {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": versions(),
        "seed": SEED,
        "setting": {"batch": B, "L": L, "D": D, "K": K, "negatives": NEGATIVES, "turns": TURNS},
    }
    for part in asked:
        if part == "steps":
            record[part] = []
        for size in CATALOGUES if part == "steps" else (0,):
            run: dict[str, Callable[[], Any]] = {
                "steps": lambda size=size: steps(size),
                "roofline": roofline,
                "preparation": preparation,
                "epoch": epoch,
                "accuracy": lambda: accuracy(arguments.data_path),
            }
            found = run[part]()
            print(part, json.dumps(found), flush=True)
            record[part] = [*record[part], found] if part == "steps" else found
            write_atomic(arguments.output, json.dumps(record, indent=2) + "\n")
            gc.collect()
    if all(part in record for part in parts[:3]):
        draw(record, arguments.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
