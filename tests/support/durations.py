"""How long each test takes: recorded by ``make durations``, so that long files start first and slow tests are known.

A time is kept for each file, and for each test and fixture that takes a second; a test stands for all of its cases.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable
from pathlib import Path
from time import perf_counter  # by name, for tests put another clock into time
from typing import Any

import pytest

from tests import ROOT

PATH = ROOT / "tests" / "durations.json"
SLOW = 3.0  # seconds: a test, or a fixture of a file, that takes as long is slow,
QUICK = 130.0  # and so are the longest of the others, until all that is left takes no longer than this in one process
LEAST = 0.5  # of a test or a fixture that is kept
ASIDE = "tests/integration/"  # which is not quick, however long it takes
UNKNOWN = 20.0  # of a file that was never measured
# imported before the first test is measured, which would else seem to take what they take
LIBRARIES = (
    "recbole.config",
    "recbole.data",
    "recbole.trainer",
    "faiss",
    "onnxruntime",
    "pyarrow.parquet",
    "matplotlib.figure",
)


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def test_of(nodeid: str) -> str:
    """The name of a test without that of its case."""
    return nodeid.partition("[")[0]


class Durations:
    """What was recorded: seconds of each file, and of each test and fixture that takes long."""

    def __init__(self, path: Path = PATH) -> None:
        content = json.loads(path.read_text()) if path.exists() else {}
        self.path = path
        self.files: dict[str, float] = content.get("files", {})
        self.tests: dict[str, float] = content.get("tests", {})
        self.fixtures: dict[str, float] = content.get("fixtures", {})

    @functools.cached_property
    def limit(self) -> float:
        """From how many seconds on a test is slow."""
        left = sum(seconds for name, seconds in self.files.items() if not name.startswith(ASIDE))
        parts = {name: seconds for name, seconds in (self.tests | self.fixtures).items() if not name.startswith(ASIDE)}
        limit = SLOW
        for seconds in sorted(parts.values(), reverse=True):
            if seconds < SLOW and left <= QUICK:
                break
            left, limit = left - seconds, min(limit, seconds)
        return limit

    def slow(self, item: pytest.Item) -> bool:
        """Whether a test takes long, or waits for a fixture of its file that does."""
        fixtures = (f"{file_of(item.nodeid)}::{name}" for name in getattr(item, "fixturenames", ()))
        seconds = [self.tests.get(test_of(item.nodeid), 0.0), *(self.fixtures.get(name, 0.0) for name in fixtures)]
        return max(seconds) >= self.limit

    def longest_first(self, items: list[pytest.Item]) -> None:
        """Sort tests by how long their file takes; the tests of a file keep their order."""
        items.sort(key=lambda item: (-self.files.get(file_of(item.nodeid), UNKNOWN), file_of(item.nodeid)))

    def update(self, measured: Iterable[tuple[str, str, float]]) -> None:
        """Replace what is known of the files that were run by ``(nodeid or file::fixture, kind, seconds)``."""
        found = list(measured)
        run = {file_of(name) for name, *_ in found}
        gone = {name for name in self.files if not (ROOT / name).exists()}
        for known in (self.files, self.tests, self.fixtures):
            for name in [name for name in known if file_of(name) in run | gone]:
                del known[name]
        sums: dict[str, Counter[str]] = defaultdict(Counter)
        for name, kind, seconds in found:
            sums["files"][file_of(name)] += seconds
            sums[kind][test_of(name)] += seconds
        self.files |= {name: round(seconds, 1) for name, seconds in sums["files"].items()}
        for kind, known in (("tests", self.tests), ("fixtures", self.fixtures)):
            known.update({name: round(seconds, 2) for name, seconds in sums[kind].items() if seconds >= LEAST})

    def save(self) -> None:
        parts = {"files": self.files, "tests": self.tests, "fixtures": self.fixtures}
        content = {part: dict(sorted(known.items())) for part, known in parts.items()}
        self.path.write_text(json.dumps(content, indent=1) + "\n")


def _now() -> tuple[float, float]:
    """Seconds of the clock, and of the processor with those of processes that have ended."""
    times = os.times()
    return perf_counter(), times.user + times.system + times.children_user + times.children_system


def _since(start: tuple[float, float]) -> list[float]:
    return [now - then for now, then in zip(_now(), start, strict=True)]


class Recorder:
    """Plugin that measures every test of a run, in its process or in those of xdist, and saves at the end."""

    def __init__(self) -> None:
        self.measured: list[tuple[str, str, list[float]]] = []
        self._start, self._fixtures = _now(), dict[str, list[float]]()

    def pytest_collection_finish(self) -> None:
        for name in LIBRARIES:
            importlib.import_module(name)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, None, None]:
        start = _now()
        yield
        if fixturedef.scope != "function":
            self._fixtures[fixturedef.argname] = _since(start)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, Any, None]:
        outcome = yield
        report = outcome.get_result()
        report.took, report.fixtures = _since(self._start), self._fixtures  # both come with it from another process
        self._start, self._fixtures = _now(), {}

    def pytest_runtest_logstart(self) -> None:
        self._start = _now()

    def pytest_runtest_logreport(self, report: Any) -> None:
        rest = report.took
        for name, took in report.fixtures.items():
            rest = [whole - part for whole, part in zip(rest, took, strict=True)]
            self.measured.append((f"{file_of(report.nodeid)}::{name}", "fixtures", took))
        self.measured.append((report.nodeid, "tests", rest))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput"):
            return
        # what the clock says, less what other work on the machine makes of it
        shares = [clock / busy for _, _, (clock, busy) in self.measured if busy > 0.5]
        load = max(1.0, statistics.median(shares)) if shares else 1.0
        durations = Durations()
        durations.update((name, kind, max(busy, clock / load)) for name, kind, (clock, busy) in self.measured)
        durations.save()
