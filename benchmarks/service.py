"""How many requests does the service answer, how fast, and does a new bundle cost any?

    python -m benchmarks.service BUNDLE --output benchmarks/records/service.json

starts ``recbole-mind serve`` on a store with the bundle and a twin of it (the same files under another id), and asks
for the top 1000 of random histories of 50 items: by 1, 8 and 32 clients, which keep their connections, while the
store's current version changes 20 times, and beside a client that sends the largest bodies that are refused, with how
long ``/health`` takes meanwhile. The same requests in this process, without HTTP, say what HTTP adds. Clients
and service share the machine's cores.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import platform
import re
import shutil
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.served import served
from recbole_mind.serving.bundle import sealed_folder
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.store.store import Store
from recbole_mind.training.result import versions
from recbole_mind.util.files import MANIFEST, write_atomic

SEED, LENGTH, TOP, CLIENTS, SWAPS = 0, 50, 1000, (1, 8, 32), 20
SIZE = 2_000_000  # bytes of a body that is refused by what it holds, just under --max_body
REFUSED = {
    "wrong keys": b"{" + b",".join(b'"%d":1' % i for i in range(SIZE // 11)) + b"}",
    "numbers": b'{"history":[' + b"1," * (SIZE // 2) + b"1]}",
    "as many wrong values as may be": b'{"history":[],"allowed":[' + b'"%s",' % (b"x" * 300) * (SIZE // 303) + b'""]}',
    "empty lists": b'{"history":[' + b"[]," * (SIZE // 3) + b"1]}",
    "lists within lists": b"[" * SIZE,
    "too many bytes": b" " * (8 * SIZE),
}
_HEADERS = {"Content-Type": "application/json"}


def twin(bundle: Path, folder: Path) -> Path:
    """The same bundle under another id."""

    def fill(target: Path) -> dict[str, Any]:
        manifest = json.loads((bundle / MANIFEST).read_text())
        shutil.copytree(bundle, target, dirs_exist_ok=True)
        (target / MANIFEST).unlink()
        given = {key: value for key, value in manifest.items() if key not in ("id", "seal", "files", "created")}
        return given | {"model": manifest["model"] | {"twin": True}}

    sealed_folder.write(folder, fill)
    return folder


def questions(recaller: Recaller, count: int) -> list[dict[str, Any]]:
    """Random histories, drawn by a fixed seed."""
    generator, N = np.random.default_rng(SEED), len(recaller.bundle.item_tokens)
    draws = (generator.choice(N, min(LENGTH, N // 2), replace=False) for _ in range(count))
    return [{"history": recaller.bundle.item_tokens.tokens(rows), "n": TOP} for rows in draws]


def figures(seconds: list[float], took: float) -> dict[str, Any]:
    """Percentiles of latencies in milliseconds, and requests a second."""
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    return {
        "requests": len(seconds),
        "a second": round(len(seconds) / took, 1),
        "p50 ms": round(p50, 2),
        "p99 ms": round(p99, 2),
    }


def in_process(recaller: Recaller, asked: list[dict[str, Any]], duration: float) -> dict[str, Any]:
    """The same requests without HTTP, one after the other."""
    seconds: list[float] = []
    start = time.perf_counter()
    while time.perf_counter() - start < duration:
        before = time.perf_counter()
        recaller.recall(**asked[len(seconds) % len(asked)])
        seconds.append(time.perf_counter() - before)
    return figures(seconds, time.perf_counter() - start)


class Load:
    """Clients that ask one request after another until they are told to stop."""

    def __init__(self, port: int, clients: int, bodies: list[bytes]) -> None:
        self.seconds: list[float] = []
        self.errors: list[str] = []
        self.bundles: set[str] = set()
        self._port, self._bodies, self._stop = port, bodies, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(clients)]
        self._start = time.perf_counter()
        for thread in self._threads:
            thread.start()

    def _run(self, client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        place = client
        while not self._stop.is_set():
            before = time.perf_counter()
            try:
                connection.request("POST", "/recall", self._bodies[place % len(self._bodies)], _HEADERS)
                response = connection.getresponse()
                content = response.read()
                found = re.search(rb'"bundle":"(\w+)"', content[-200:])
                if response.status != 200 or found is None:
                    self.errors.append(f"status {response.status}")
                    continue
                self.bundles.add(found[1].decode())
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(type(error).__name__)
                connection.close()
                continue
            self.seconds.append(time.perf_counter() - before)
            place += len(self._threads)

    def end(self) -> dict[str, Any]:
        """Stop, and say what came."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return figures(self.seconds, time.perf_counter() - self._start) | {"errors": len(self.errors)}


def measure(bundle: Path, duration: float, swaps: int) -> dict[str, Any]:
    """All figures of one bundle."""
    with tempfile.TemporaryDirectory(dir=bundle.parent) as folder, threadpool_limits(1):
        store = Store(Path(folder) / "store")
        ids = [store.publish(path, force="benchmark").id for path in (twin(bundle, Path(folder) / "twin"), bundle)]
        recaller = Recaller.load(bundle, threads=1)
        asked = questions(recaller, 256)
        bodies = [json.dumps(question).encode() for question in asked]
        in_process(recaller, asked, min(1.0, duration))
        result: dict[str, Any] = {"items": len(recaller.bundle.item_tokens), "index": recaller.index.factory}
        result["parameters"] = recaller.index.parameters
        result["in process"] = in_process(recaller, asked, duration)
        with served(str(store.folder), "--poll_seconds=0.1") as (service, port):
            for clients in (1, *CLIENTS):  # the first to warm up
                load = Load(port, clients, bodies)
                time.sleep(duration)
                result[f"{clients} clients"] = load.end()
                print(clients, result[f"{clients} clients"], flush=True)
            result["under attack"] = under_attack(port, bodies, duration)
            print("under attack", result["under attack"], flush=True)
            load = Load(port, CLIENTS[1], bodies)
            for turn in range(swaps):
                store.rollback(ids[turn % 2])
                _serves(port, ids[turn % 2])
            result["swaps"] = {"swaps": swaps, "clients": CLIENTS[1], **load.end(), "bundles": len(load.bundles)}
            print(result["swaps"], flush=True)
        result["exit status"] = service.returncode
    http_ms, own_ms = result["1 clients"]["p50 ms"], result["in process"]["p50 ms"]
    return result | {"HTTP adds ms (p50)": round(http_ms - own_ms, 2)}


def probe(port: int, duration: float) -> dict[str, Any]:
    """How long /health takes, asked a hundred times a second at most."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    seconds: list[float] = []
    start = time.perf_counter()
    while time.perf_counter() - start < duration:
        before = time.perf_counter()
        connection.request("GET", "/health")
        connection.getresponse().read()
        seconds.append(time.perf_counter() - before)
        time.sleep(0.01)
    return figures(seconds, time.perf_counter() - start)


def under_attack(port: int, bodies: list[bytes], duration: float) -> dict[str, Any]:
    """How long /health takes while one client sends bodies that are refused and others ask what they may."""
    load, stop, refused = Load(port, CLIENTS[1], bodies), threading.Event(), []

    def attack() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while not stop.is_set():
            for body in REFUSED.values():
                try:
                    connection.request("POST", "/recall", body, _HEADERS)
                    refused.append(connection.getresponse().read())
                except (OSError, http.client.HTTPException):
                    connection.close()

    attacker = threading.Thread(target=attack)
    attacker.start()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:  # with an interpreter of its own
        health = process.submit(probe, port, duration).result()
    stop.set()
    attacker.join()
    return {"health": health, "good": load.end(), "refused": len(refused)}


def _serves(port: int, name: str) -> None:
    """Wait until a bundle serves."""
    for _ in range(6000):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/ready")
        found = json.loads(connection.getresponse().read())
        connection.close()
        if found.get("bundle") == name:
            return
        time.sleep(0.01)
    raise RuntimeError(f"bundle {name} does not come into service")


def main() -> None:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="+", help="bundles to measure")
    parser.add_argument("--output", type=Path, required=True, help="where the record goes")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--swaps", type=int, default=SWAPS)
    arguments = parser.parse_args()
    given = f"--output {arguments.output} --seconds {arguments.seconds:g} --swaps {arguments.swaps}"
    record = {
        "what": f"recbole-mind serve: histories of {LENGTH}, top {TOP}, JSON over HTTP on this machine",
        "command": f"python -m benchmarks.service BUNDLE... {given}",
        "seed": SEED,
        "seconds": arguments.seconds,
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": versions(),
        "bundles": [measure(bundle.absolute(), arguments.seconds, arguments.swaps) for bundle in arguments.bundle],
    }
    write_atomic(arguments.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
