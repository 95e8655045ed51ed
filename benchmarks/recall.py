"""How long does one recall take, in process, over a million items and over ten million, and how much does it find?

    python -m benchmarks.recall --output benchmarks/records/recall.json

A request is a history of 50 behaviours; ``Recaller.recall`` looks up its tokens, runs the exported encoder (MIND,
K = 4, D = 64) on ONNX Runtime, searches the index for the top 1000 but for the history and returns raw tokens: one
request at a time, on one thread (as the service does, which has others to answer) and on all cores. The same requests
run by exact search, in turns with the index's; a ratio is the median over requests that both did, recall the share of
the exact top 1000. Memory is the peak of the process that serves: everything it has mapped and touched, with the item
vectors that are mapped from the bundle.

**The items are synthetic**: unit vectors in a hierarchy like that of trained ones, N / 50,000 topics (20 at least),
each with 20 to 200 groups around it, group sizes by Zipf's law, and items around a group, some groups tighter than
others. A user draws four groups by size and 50 behaviours from them. The encoder is MIND as it is initialised, with its
defaults: it need not learn, since its routing separates the groups and its layers start near the identity, so that
interests lie near items as those of a trained model do. Everything is seeded.

An index is built, written as a bundle (without RecBole's data) and measured in processes of their own, so that peaks of
memory are those of each. ``--items 100000`` tries it quickly; rows that are in the record are not measured again.
``--bundle DIR`` makes the bundle of the record's best index, for ``benchmarks.service``, and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recbole_mind.retrieval.index import MultiVectorIndex
from recbole_mind.serving.bundle import sealed_folder
from recbole_mind.serving.bundle.token_index import TokenIndex
from recbole_mind.training.build import build_config, build_data, build_model
from recbole_mind.training.result import versions
from recbole_mind.util.arrays import open_array, save_array
from recbole_mind.util.files import write_atomic

D, K, HISTORY, TOP, SEED, USERS = 64, 4, 50, 1000, 7, 200
# factory, and the search parameters that are tried
Method = tuple[str, tuple[Mapping[str, float], ...]]
METHODS: dict[int, tuple[Method, ...]] = {
    100_000: (
        ("IVF1264,Flat", ({"nprobe": 16}, {"nprobe": 32}, {"nprobe": 64})),
        ("IVF1264,SQ8", ({"nprobe": 16}, {"nprobe": 32}, {"nprobe": 64})),
    ),
    1_000_000: (
        ("IVF4000,SQ8", ({"nprobe": 128}, {"nprobe": 192}, {"nprobe": 256})),
        ("IVF4000,Flat", ({"nprobe": 192}, {"nprobe": 256})),
        ("HNSW32", ({"efSearch": 512}, {"efSearch": 1024})),
    ),
    10_000_000: (("IVF16384,SQ8", ({"nprobe": 128}, {"nprobe": 256}, {"nprobe": 384}, {"nprobe": 512})),),
}
NAME = "{:,} items"


# -- data ---------------------------------------------------------------------------------------------------------


def write_items(folder: Path, N: int) -> None:
    """Write ``items.npy`` [N, D] and ``groups.npy`` [N], the group of each item, a part at a time."""
    rng = np.random.default_rng(SEED)
    topics = unit(rng.standard_normal((max(20, N // 50_000), D), dtype=np.float32))
    topic = np.repeat(np.arange(len(topics)), rng.integers(20, 200, len(topics)))
    centres = unit(topics[topic] + 0.9 * unit(rng.standard_normal((len(topic), D), dtype=np.float32)))
    spread = rng.uniform(0.4, 1.0, len(centres)).astype(np.float32)
    share = 1 / (1 + rng.permutation(len(centres)))
    edges = np.cumsum(share / share.sum())
    group = np.minimum(np.searchsorted(edges, rng.random(N)), len(centres) - 1).astype(np.int32)
    items = np.lib.format.open_memmap(folder / "items.npy", "w+", np.float32, (N, D))
    for start in range(0, N, 2**18):
        mine = group[start : start + 2**18]
        noise = unit(rng.standard_normal((len(mine), D), dtype=np.float32))
        items[start : start + 2**18] = unit(centres[mine] + spread[mine, None] * noise)
    items.flush()
    save_array(folder / "groups.npy", group)


def unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Vectors at unit length."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def histories(group: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """The rows ``[USERS, HISTORY]`` that users have read, each of four groups, which are drawn by their size."""
    rng = np.random.default_rng(SEED + 1)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(int(group.max()) + 2))
    mine = group[rng.integers(0, len(group), (USERS, K))]
    chosen = np.take_along_axis(mine, rng.integers(0, K, (USERS, HISTORY)), axis=1)
    first, size = starts[chosen], starts[chosen + 1] - starts[chosen]
    return order[first + (rng.random(chosen.shape) * size).astype(np.int64)]


def initialised(folder: Path) -> Any:
    """A MIND of ours, of a data set that matters for its shape alone."""
    import torch

    from benchmarks.synthetic import interactions, write

    write(interactions(200, 100, 4000), folder, "shape")
    given = {"data_path": str(folder), "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "seed": SEED}
    given |= {"embedding_size": D, "K": K, "MAX_ITEM_LIST_LENGTH": HISTORY, "use_gpu": False, "show_progress": False}
    given |= {"checkpoint_dir": str(folder), "state": "ERROR"}
    config = build_config("MIND", "shape", overrides=given)
    torch.manual_seed(SEED)
    return build_model(config, build_data(config)[1])


# -- a bundle -----------------------------------------------------------------------------------------------------


def prepare(folder: Path, N: int) -> dict[str, Any]:
    """Write items, encoder, tokens and popularity, which all bundles of this catalogue share."""
    from recbole_mind.export import write_encoder

    write_items(folder, N)
    write_encoder(folder / "encoder.onnx", initialised(folder))
    TokenIndex.of([f"i{row}" for row in range(N)]).save(folder / "tokens", "items")
    TokenIndex.of(["u0"]).save(folder / "tokens", "users")
    return {"groups": int(open_array(folder / "groups.npy", np.int32, (N,)).max()) + 1}


def build(shared: Path, N: int, factory: str, parameters: dict[str, float] | None = None) -> dict[str, Any]:
    """Write the bundle of an index, set to ``parameters``; seconds and peak of memory of building it."""

    def fill(target: Path) -> dict[str, Any]:
        items = open_array(shared / "items.npy", np.float32, (N, D))  # mapped: FAISS reads it a part at a time
        began = time.perf_counter()
        index = MultiVectorIndex.build(items, factory, device="cpu")
        said["build_s"] = round(time.perf_counter() - began, 1)
        index.set_parameters(**parameters or {})
        index.save(target / "index")
        said["index_mib"] = sum(path.stat().st_size for path in (target / "index").glob("*.faiss")) >> 20
        for path in [shared / "encoder.onnx", *(shared / "tokens").iterdir()]:
            place = target / path.relative_to(shared)
            place.parent.mkdir(exist_ok=True)
            os.link(path, place)
        counts = np.maximum(1, 10**6 // np.arange(1, N + 1))
        save_array(target / "counts.npy", counts)
        save_array(target / "popularity.npy", np.arange(N, dtype=np.int32))
        save_array(target / "norms.npy", np.ones(N, np.float32))
        return {
            "model": {"name": "MIND"},
            "data": {"name": "synthetic", "items": N, "users": 1},
            "preprocessing": {"max_history": HISTORY, "norms": True, "item_field": "item_id", "user_field": "user_id"},
            "profile": [],
            "categories": [],
            "interests": {"K": K, "D": D},
            "index": {"factory": factory, "metric": "ip", "parameters": index.parameters},
        }

    said: dict[str, Any] = {}
    sealed_folder.write(shared / "bundle", fill)
    return said | {"build_peak_mib": peak_mib()}


def peak_mib() -> int:
    """The most memory that this process has had, mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


# -- requests -----------------------------------------------------------------------------------------------------


def measure(shared: Path, N: int, grid: list[dict[str, float]], threads: int, seconds: float) -> list[dict[str, Any]]:
    """A row for each set of search parameters: requests alone, then in turns with exact search."""
    from recbole_mind.serving.recaller import Recaller

    read = histories(open_array(shared / "groups.npy", np.int32, (N,)))
    requests = [[f"i{row}" for row in rows] for rows in read.tolist()]
    began = time.perf_counter()
    recaller = Recaller.load(shared / "bundle", threads=threads)
    rows = []
    loaded = round(time.perf_counter() - began, 1)
    for parameters in grid:
        recaller.index.set_parameters(**parameters)
        for history in requests[:20]:
            recaller.recall(history, n=TOP)
        began = time.process_time()
        taken = timed(lambda turn: recaller.recall(requests[turn % USERS], n=TOP), seconds)
        cpu = 1000 * (time.process_time() - began) / len(taken)  # far below the median: the machine was busy
        row = {
            "parameters": parameters,
            "threads": threads,
            "load_s": loaded,
            "requests": len(taken),
            "cpu_ms": round(cpu, 2),
        }
        row |= {f"p{q}_ms": round(float(np.quantile(taken, q / 100)), 2) for q in (50, 90, 99)}
        row |= {"peak_mib": peak_mib(), **stages(recaller, requests, threads)}
        rows.append(row)
    exact = Recaller(
        recaller.bundle, index=MultiVectorIndex.build(recaller.bundle.index.vectors, device="cpu", threads=threads)
    )
    truth: list[set[str]] = []
    for row in rows:
        recaller.index.set_parameters(**row["parameters"])
        ratios, found, slow = [], [], []
        began = time.perf_counter()
        for turn, history in enumerate(requests):
            between = [time.perf_counter()]
            mine = recaller.recall(history, n=TOP)
            between.append(time.perf_counter())
            if turn < 8 or time.perf_counter() - began < 2 * seconds:
                wanted = set(exact.recall(history, n=TOP).items)
                between.append(time.perf_counter())
                slow.append(1000 * (between[2] - between[1]))
                ratios.append(slow[-1] / (1000 * (between[1] - between[0])))
                truth += [wanted] if turn == len(truth) else []
            if turn < len(truth):
                found.append(len(truth[turn] & set(mine.items)) / len(truth[turn]))
        row |= {"exact_p50_ms": round(float(np.median(slow)), 1), "times_faster": round(float(np.median(ratios)), 1)}
        row |= {"recall": round(float(np.mean(found)), 4), "worst": round(min(found), 3), "compared": len(found)}
    return rows


def timed(request: Any, seconds: float) -> list[float]:
    """Milliseconds of each request."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 100:
        began = time.perf_counter()
        request(len(taken))
        taken.append(1000 * (time.perf_counter() - began))
    return taken


def stages(recaller: Any, requests: list[list[str]], threads: int) -> dict[str, float]:
    """Medians of what a request is made of."""
    index = recaller.bundle.index
    vectors = [recaller.interests(history).vectors[None] for history in requests]
    rows = index.search(vectors[0], None, TOP).ids[0]
    parts = {
        "encode_ms": lambda turn: recaller.interests(requests[turn % USERS]),
        "search_ms": lambda turn: index.search(vectors[turn % USERS], None, TOP),
        "faiss_ms": lambda turn: index._index.search(vectors[turn % USERS][0], TOP, params=own),
        "tokens_ms": lambda turn: recaller.bundle.item_tokens.tokens(rows),
    }
    import faiss

    from recbole_mind.retrieval.faiss_backend import search_parameters

    faiss.omp_set_num_threads(threads)
    own = search_parameters(index._index, index.parameters, None)
    return {name: round(float(np.median(timed(part, 1.0))), 2) for name, part in parts.items()}


# -- the command --------------------------------------------------------------------------------------------------


def apart(function: str, *arguments: Any, threads: int) -> Any:
    """Run a function of this module in a process of its own."""
    command = [
        sys.executable,
        "-W",
        "ignore::FutureWarning",
        "-m",
        "benchmarks.recall",
        "--call",
        json.dumps([function, *arguments]),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure what the record lacks and write it; print each row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="where the record goes")
    parser.add_argument("--items", type=int, nargs="*", default=[1_000_000, 10_000_000], choices=METHODS)
    parser.add_argument("--factory", nargs="*", help="only these")
    parser.add_argument("--folder", type=Path, help="where bundles are made, 8 GB for ten million items")
    parser.add_argument("--seconds", type=float, default=20, help="of requests for each row")
    parser.add_argument("--again", action="store_true", help="measure rows that are in the record too")
    parser.add_argument("--bundle", type=Path, help="make the bundle of the best index of the first of --items here")
    parser.add_argument("--call", help=argparse.SUPPRESS)
    known = parser.parse_args()
    if known.call:
        name, folder, *rest = json.loads(known.call)
        print(json.dumps({"prepare": prepare, "build": build, "measure": measure}[name](Path(folder), *rest)))
        return
    if known.output is None:
        parser.error("the following arguments are required: --output")
    record: dict[str, Any] = json.loads(known.output.read_text()) if known.output.exists() else {"catalogues": {}}
    cores = len(os.sched_getaffinity(0))
    if known.bundle:
        N = known.items[0]
        best = record["catalogues"][NAME.format(N)]["best"]
        with tempfile.TemporaryDirectory(dir=known.folder, prefix="recall-") as place:
            apart("prepare", place, N, threads=1)
            apart("build", place, N, best["factory"], best["parameters"], threads=cores)
            shutil.copytree(Path(place) / "bundle", known.bundle)
        return
    what = f"one request at a time: history {HISTORY}, K = {K}, D = {D}, top {TOP}; synthetic items"
    record |= {"what": what, "command": f"python -m benchmarks.recall --output {known.output}", "seed": SEED}
    for N in known.items:
        old = record["catalogues"].get(NAME.format(N), {})
        rows = {key(row["factory"], row["parameters"], row["threads"]): row for row in old.get("rows", [])}
        todo = [
            (factory, threads, [dict(p) for p in grid if known.again or key(factory, p, threads) not in rows])
            for factory, grid in METHODS[N]
            for threads in sorted({1, cores})
            if not known.factory or factory in known.factory
        ]
        todo = [(factory, threads, grid) for factory, threads, grid in todo if grid]
        if not todo:
            continue
        with tempfile.TemporaryDirectory(dir=known.folder, prefix="recall-") as place:
            made = apart("prepare", place, N, threads=1)
            stands = None
            for factory, threads, grid in todo:
                if stands != factory:
                    stands, built = factory, apart("build", place, N, factory, threads=cores)
                for row in apart("measure", place, N, grid, threads, known.seconds, threads=threads):
                    row = {"factory": factory, **row, **built}
                    rows[key(factory, row["parameters"], threads)] = row
                    show(N, row)
                # what the service is measured with: its requests have one thread each
                good = [row for row in rows.values() if row["recall"] >= 0.97 and row["threads"] == 1]
                machine = {"processor": platform.machine(), "cores": cores, "load": round(os.getloadavg()[0], 1)}
                record["catalogues"][NAME.format(N)] = {
                    **made,
                    "best": min(good, key=lambda row: row["p99_ms"], default=None),
                    "rows": list(rows.values()),
                    "machine": machine,
                    "versions": versions(),
                }
                write_atomic(known.output, json.dumps(record, indent=1) + "\n")


def key(factory: str, parameters: Mapping[str, float], threads: int) -> str:
    """What tells a row from others."""
    return json.dumps([factory, parameters, threads])


def show(N: int, row: Mapping[str, Any]) -> None:
    """Print one row."""
    name = f"{row['factory']} {','.join(f'{key}={value}' for key, value in row['parameters'].items())}"
    print(
        f"{N:>11,} {name:44} {row['threads']} threads: p50 {row['p50_ms']:>6.2f} ms, p99 {row['p99_ms']:>6.2f},"
        f" CPU {row['cpu_ms']:.2f}"
        f" (encoder {row['encode_ms']:.2f}, search {row['search_ms']:.2f}, of it FAISS {row['faiss_ms']:.2f},"
        f" tokens {row['tokens_ms']:.2f})  recall {row['recall']:.4f}  {row['times_faster']:.1f}x exact"
        f"  peak {row['peak_mib']:,} MiB  build {row['build_s']:.0f} s, {row['build_peak_mib']:,} MiB",
        flush=True,
    )


if __name__ == "__main__":
    main()
