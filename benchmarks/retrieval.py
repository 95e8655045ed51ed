"""How fast and how exact is multi-vector retrieval? Dense scores, exact search and FAISS's indexes, side by side.

    python -m benchmarks.retrieval --output benchmarks/records/retrieval.json

writes a record and, beside it, a figure (recall against speed). K = 4 interests of size 64, top 50. Item vectors are
clustered, as trained ones are; ``--checkpoint FILE.pth`` adds the vectors of a trained model, on its test users, and a
whole validation pass through RecBole's trainer, dense against exact, masked and not, with the metrics of both compared.
A record that exists is completed: a catalogue that is in it is not measured again, unless ``--again`` names families
of methods (``exact``, ``"IVF Flat"``, ...), whose rows, and dense scoring's, are then replaced.

Every method is timed in turns with dense scoring, and the ratio is the median of the turns. Memory is what a search
takes beyond the vectors and the index; a request is one user on one thread, top 1000.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt
import torch

from recbole_mind.retrieval.faiss_backend import automatic
from recbole_mind.retrieval.index import MultiVectorIndex, overlap
from recbole_mind.training.result import versions
from recbole_mind.util.files import write_atomic

D, K, TOP, SEED, TURNS = 64, 4, 50, 3, 3
CLUSTERED = (10_000, 100_000, 1_000_000, 10_000_000)
TOO_COSTLY = {10_000_000: ("HNSW", "IVF Flat")}  # hours of building, or more than 8 GiB


class Data(NamedTuple):
    """Item vectors ``[N, D]``, interests ``[B, K, D]`` and active flags ``[B, K]``."""

    items: npt.NDArray[np.float32]
    interests: npt.NDArray[np.float32]
    active: npt.NDArray[np.bool_]


def clustered(N: int, users: int) -> Data:
    """Unit vectors around N / 500 centres; interests lie near items."""
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((max(N // 500, 20), D), dtype=np.float32)
    items = np.empty((N, D), np.float32)
    for start in range(0, N, 2**18):
        part = items[start : start + 2**18]
        part[:] = centres[rng.integers(0, len(centres), len(part))]
        part += 0.5 * rng.standard_normal(part.shape, dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    interests = items[rng.integers(0, N, users * K)].reshape(users, K, D)
    interests = interests + 0.05 * rng.standard_normal(interests.shape, dtype=np.float32)
    return Data(items, interests.astype(np.float32), np.ones((users, K), bool))


def passes(path: str) -> list[dict[str, Any]]:
    """Whole validation passes of a saved model, by RecBole's dense evaluator and by exact search, in turns."""
    from recbole_mind.training.load import load, trainer_for

    rows = []
    for mask in (True, False):
        beyond = ["ItemCoverage", "AveragePopularity", "ShannonEntropy", "GiniIndex", "TailPercentage"]
        metrics = ["Recall", "MRR", "NDCG", "Hit", "MAP", "Precision", *beyond]
        few = {"mask_history": mask, "metrics": ["Recall", "MRR", "NDCG"], "topk": [10, 50, 100]}
        loaded = load(path, few | {"valid_metric": "Recall@10"})
        trainer, seconds = trainer_for(loaded), {"dense": [], "exact": []}
        for _ in range(TURNS):
            for search, taken in seconds.items():
                loaded.config["eval_search"] = search
                began = time.perf_counter()
                trainer.evaluate(loaded.valid_data, load_best_model=False)
                taken.append(time.perf_counter() - began)
        ratio = float(np.median(np.array(seconds["exact"]) / np.array(seconds["dense"])))
        loaded.config["metrics"] = metrics
        both = []
        for search in seconds:
            loaded.config["eval_search"] = search
            both.append([trainer_for(loaded).evaluate(part, False) for part in (loaded.valid_data, loaded.test_data)])
        row = {"mask_history": mask, "users": len(loaded.valid_data.dataset), "metrics": len(both[0][0])}
        row |= {f"{search}_s": round(float(np.median(taken)), 2) for search, taken in seconds.items()}
        different = [
            f"{part} {name}: dense {dense[name]}, exact {exact[name]}"
            for part, dense, exact in zip(("valid", "test"), *both, strict=True)
            for name in dense
            if dense[name] != exact[name]
        ]
        rows.append(row | {"exact_to_dense": round(ratio, 3), "different": different})
        print(rows[-1], flush=True)
    return rows


def trained(path: str) -> tuple[str, Data]:
    """The vectors of a saved model, on its test users."""
    from recbole_mind.training.load import load

    loaded = load(path)
    device = loaded.config["device"]
    pairs = [loaded.model.interests(batch[0].to(device)) for batch in loaded.test_data]
    interests, active = (torch.cat(parts).cpu().numpy() for parts in zip(*pairs, strict=True))
    items = loaded.model.item_vectors().detach().cpu().numpy()[1:].copy()
    return f"{loaded.config['model']} on {loaded.config['dataset']}", Data(items, interests[:4096], active[:4096])


def methods(N: int) -> Iterator[tuple[str, str, str, dict[str, int]]]:
    """Name, family, factory and search parameters of each method."""
    lists = f"IVF{round(4 * math.sqrt(N))}"
    yield "exact", "exact", "exact", {}
    yield "FAISS Flat", "FAISS Flat", "Flat", {}
    for nprobe in (8, 32):
        yield f"{lists},Flat nprobe={nprobe}", "IVF Flat", f"{lists},Flat", {"nprobe": nprobe}
    for nprobe in (8, 32):
        yield f"{lists},SQ8 nprobe={nprobe}", "IVF SQ8", f"{lists},SQ8", {"nprobe": nprobe}
    for ef in (64, 256):
        yield f"HNSW32 efSearch={ef}", "HNSW", "HNSW32", {"efSearch": ef}


def dense(data: Data, users: int) -> npt.NDArray[np.int64]:
    """RecBole's way: a score for every item, the maximum over interests, topk."""
    items, interests, active = (torch.from_numpy(np.asarray(part)) for part in data)
    batch = max(1, min(1024, 2**26 // len(items)))
    found = []
    for start in range(0, users, batch):
        mine, on = interests[start : min(start + batch, users)], active[start : min(start + batch, users)]
        scores = torch.einsum("bkd,nd->bkn", mine, items).masked_fill_(~on[:, :, None], -math.inf).amax(1)
        found.append(scores.topk(min(TOP, len(items)), dim=1).indices)
    return torch.cat(found).numpy()


def status(key: str) -> float:
    """A line of /proc/self/status, in MiB."""
    text = Path("/proc/self/status").read_text().partition(f"{key}:")[2]
    return int(text.split()[0]) / 1024


def measured(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """What ``function`` returns, its seconds, and the MiB that it took at its peak beyond what was there."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    before, began = status("VmRSS"), time.perf_counter()
    result = function()
    seconds = time.perf_counter() - began
    return result, seconds, max(0.0, status("VmHWM") - before)


def requests(search: Callable[[int], Any], users: int, budget: float = 8.0) -> dict[str, float]:
    """Milliseconds of single requests: median and 99th percentile."""
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < 300 and (time.perf_counter() - began < budget or len(taken) < 5):
        start = time.perf_counter()
        search(len(taken) % users)
        taken.append(1000 * (time.perf_counter() - start))
    kept = taken[1:]
    return {"p50_ms": round(float(np.median(kept)), 2), "p99_ms": round(float(np.quantile(kept, 0.99)), 2)}


def compare(data: Data, threads: int, families: list[str]) -> list[dict[str, Any]]:
    """One row for each method of ``families``, all if there are none."""
    N, users = len(data.items), len(data.interests)
    few = max(8, min(users, 2**29 // (N * K)))  # users of a dense turn
    items = data.items.view()
    items.flags.writeable = False  # an index need not copy it
    truth = MultiVectorIndex.build(items, "exact", threads=threads).search(*data[1:], TOP).ids
    _, seconds, memory = measured(lambda: dense(data, few))
    rows: list[dict[str, Any]] = [{"method": "dense", "users_per_s": [round(few / seconds, 1)], "recall": 1.0}]
    rows[0] |= {"search_mib": round(memory), "build_s": 0.0, "index_mib": 0}
    batch = Data(data.items, data.interests[:1], data.active[:1])
    torch.set_num_threads(1)
    rows[0] |= requests(lambda _: dense(batch, 1), 1, budget=4.0)
    torch.set_num_threads(threads)
    index, built = None, {}
    for name, family, factory, parameters in methods(N):
        if families and family not in families:
            continue
        if family in TOO_COSTLY.get(N, ()):
            print(f"{N:>11,} {name:28} not run: too costly", flush=True)
            continue
        if index is None or index.factory != factory:
            index = None
            index, seconds, peak = measured(lambda f=factory: MultiVectorIndex.build(items, f, threads=threads))
            size = 0 if factory == "exact" else len(faiss.serialize_index(index._index)) / 2**20 if N < 10**7 else None
            built = {
                "build_s": round(seconds, 1),
                "build_mib": round(peak),
                "index_mib": None if size is None else round(size),
            }
        index.set_parameters(**parameters)
        found, _, memory = measured(lambda i=index: i.search(*data[1:], TOP))
        speeds, ratios = [], []
        for _ in range(TURNS):
            began = time.perf_counter()
            dense(data, few)
            between = time.perf_counter()
            index.search(*data[1:], TOP)
            speeds.append(users / (time.perf_counter() - between))
            rows[0]["users_per_s"].append(round(few / (between - began), 1))
            ratios.append(speeds[-1] / rows[0]["users_per_s"][-1])
        index.threads, n = 1, min(1000, N)
        with_one = requests(
            lambda u, i=index, n=n: i.search(data.interests[u : u + 1], data.active[u : u + 1], n), users
        )
        index.threads = threads
        row = {"method": name, "family": family, "factory": factory, "parameters": parameters}
        row |= {"users_per_s": round(float(np.median(speeds)), 1), "ratio": round(float(np.median(ratios)), 2)}
        row |= {"recall": round(overlap(found.ids, truth), 4), "search_mib": round(memory), **built, **with_one}
        row |= {
            "rss_mib": round(status("VmRSS")),
            "default": factory == automatic(N) and parameters.get("nprobe", 32) == 32,
        }
        rows.append(row)
        say(N, row)
    rows[0]["users_per_s"] = round(float(np.median(rows[0]["users_per_s"])), 1)
    rows[0]["ratio"] = 1.0
    say(N, rows[0])
    return rows


def say(N: int, row: dict[str, Any]) -> None:
    """Print one row."""
    print(
        f"{N:>11,} {row['method']:28} {row['users_per_s']:>9,.0f} users/s {row['ratio']:>7.1f}x"
        f"  recall {row['recall']:.4f}"
        f"  build {row['build_s']:>6.1f} s  search {row['search_mib']:>5} MiB  request {row['p50_ms']:>7.1f} ms,"
        f" p99 {row['p99_ms']:>7.1f}",
        flush=True,
    )


def draw(record: dict[str, Any], path: Path) -> None:
    """Recall against speed, a panel for each catalogue."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    looks = {  # Okabe-Ito colours, told apart by shape too
        "dense": ("#000000", "X"),
        "exact": ("#D55E00", "*"),
        "FAISS Flat": ("#E69F00", "P"),
        "IVF Flat": ("#0072B2", "o"),
        "IVF SQ8": ("#56B4E9", "s"),
        "HNSW": ("#009E73", "^"),
    }
    panels = record["catalogues"]
    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(4.2 * columns, 3.6 * lines), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (name, panel) in zip(axes.flat, panels.items(), strict=False):
        for family, (colour, shape) in looks.items():
            rows = [row for row in panel["rows"] if row.get("family", row["method"]) == family]
            x, y = [row["users_per_s"] for row in rows], [row["recall"] for row in rows]
            axis.plot(x, y, color=colour, marker=shape, markersize=12 if family == "exact" else 8, label=family, lw=1)
        axis.set(title=name, xscale="log", xlabel="users per second", ylabel=f"recall@{TOP} of the exact search")
        axis.set_ylim(top=1.02, bottom=min(0.9, axis.get_ylim()[0]))
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    figure.legend(
        *axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(looks), frameon=False
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    """Measure what the record lacks, print each row, write the record and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="where the record goes")
    parser.add_argument(
        "--items", type=int, nargs="*", default=list(CLUSTERED), help="sizes of the clustered catalogues"
    )
    parser.add_argument("--checkpoint", nargs="*", default=[], help="trained models whose vectors are measured too")
    parser.add_argument("--again", nargs="*", default=[], metavar="FAMILY", help="families to measure again")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    record: dict[str, Any] = {"catalogues": {}}
    if arguments.output.exists():
        record = json.loads(arguments.output.read_text())
    record |= {
        "what": f"multi-vector retrieval: K = {K}, D = {D}, top {TOP}",
        "command": f"python -m benchmarks.retrieval --output {arguments.output}",
        "seed": SEED,
    }
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "threads": arguments.threads}
    jobs: list[tuple[str, Callable[[], Data]]] = [
        (f"{N:,} clustered items", lambda N=N: clustered(N, int(np.clip(2**29 // N, 64, 4096))))
        for N in arguments.items
    ]
    for path in arguments.checkpoint:
        name, data = trained(path)
        name = f"{name}: {len(data.items):,} items"
        jobs.append((name, lambda data=data: data))
        if name not in record["catalogues"]:
            record.setdefault("validation passes", {})[name] = passes(path)
            write_atomic(arguments.output, json.dumps(record, indent=1) + "\n")
    for name, make in jobs:
        known = record["catalogues"].get(name, {}).get("rows", [])
        if known and not arguments.again:
            print(f"{name}: in the record")
            continue
        data = make()
        rows = compare(data, arguments.threads, arguments.again if known else [])
        fresh = {row["method"]: row for row in rows}
        rows = [fresh.pop(row["method"], row) for row in known] + list(fresh.values())
        made = {"machine": machine, "versions": versions()}
        record["catalogues"][name] = {"users": len(data.interests), "rows": rows, **made}
        write_atomic(arguments.output, json.dumps(record, indent=1) + "\n")
    draw(record, arguments.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
