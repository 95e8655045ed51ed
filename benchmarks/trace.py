"""How many files of this package does one training step pass, and how many one request of the service?

    python -m benchmarks.trace --output benchmarks/records/trace.json

writes a record: the files with a function that is called, counted with ``sys.setprofile`` once everything is warm. The
step is one of MIND on ml-100k, from one loss to the next: loss, gradients, optimizer, the next batch. The files of the
functions that stand around it, up to ``fit``, count too. The request is a ``POST /recall`` to a service of a bundle of
that model, from the first byte to the last, in all threads of the service.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import recbole_mind
from recbole_mind import export, quick_start
from recbole_mind.training.result import versions
from recbole_mind.util.files import write_atomic

ROOT = str(Path(recbole_mind.__file__).parent)
STEP = 3  # which step of the run is traced: the first ones import and allocate
WARM = 3  # requests before the one that is traced


class Trace:
    """Calls of this package's functions, by file, while ``on``: what ``sys.setprofile`` takes."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.on = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if self.on and event == "call":
            self.add(frame)

    def add(self, frame: FrameType) -> None:
        """Count a call."""
        path = frame.f_code.co_filename
        if path.startswith(ROOT):
            self.calls[path[len(ROOT) + 1 :]] += 1

    def record(self) -> dict[str, Any]:
        """The number of files, and of calls in each."""
        return {"files": len(self.calls), "calls": self.calls.total(), "by_file": dict(sorted(self.calls.items()))}


class StepTrace(Trace):
    """The calls of one training step, from its loss to the next one's."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_name == "calculate_loss" and code.co_filename.startswith(ROOT):
            self.steps += 1
            self.on = self.steps == STEP
            around: FrameType | None = frame.f_back if self.on else None
            while around is not None and around.f_code.co_name != "fit":
                self.add(around)
                around = around.f_back
            if self.steps > STEP:
                sys.setprofile(None)
        super().__call__(frame, event, argument)


def step(dataset: str, overrides: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """The trace of a step of MIND, whose epoch must have more than :data:`STEP` steps, and the run's result."""
    trace = StepTrace()
    sys.setprofile(trace)
    try:
        result = quick_start.run("MIND", dataset, overrides={"preset": "plain", **overrides})
    finally:
        sys.setprofile(None)
    return trace.record(), result


def request(bundle: Path) -> dict[str, Any]:
    """The trace of one ``POST /recall``."""
    from recbole_mind.recall import Recaller
    from recbole_mind.serving.http.app import create_app
    from recbole_mind.serving.http.schema import limits
    from recbole_mind.serving.http.server import Server, open_door
    from recbole_mind.serving.http.settings import Settings

    tokens = Recaller.load(bundle).bundle.item_tokens.tokens(range(5))
    body = json.dumps({"history": [str(token) for token in tokens], "n": 10})
    trace = Trace()
    threading.setprofile(trace)  # for every thread from here on
    try:
        server = Server(create_app(Settings(bundle, limits({"poll_seconds": 3600.0}))))
        door = open_door("127.0.0.1", 0)
        thread = threading.Thread(target=server.run, args=([door],), daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        connection = http.client.HTTPConnection("127.0.0.1", door.getsockname()[1], timeout=30)
        for number in range(WARM + 1):
            trace.on = number == WARM
            connection.request("POST", "/recall", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
            if response.status != 200:
                raise RuntimeError(content.decode())
        trace.on = False
        connection.close()
    finally:
        threading.setprofile(None)  # type: ignore[arg-type]
    server.should_exit = True
    thread.join(20)
    return trace.record()


def main() -> None:
    """Trace a step and a request, print what they pass, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="where the record goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        given = {"epochs": 1, "checkpoint_dir": folder, "show_progress": False}
        step_, result = step("ml-100k", given)
        export.export(result.checkpoint, Path(folder) / "bundle")
        found = {"step": step_, "request": request(Path(folder) / "bundle")}
    for name, what in found.items():
        print(f"{name}: {what['files']} files, {what['calls']} calls")
    record = {
        "what": "files of the package that one training step of MIND and one POST /recall pass",
        "command": f"python -m benchmarks.trace --output {arguments.output}",
        **found,
        "versions": versions(),
    }
    write_atomic(arguments.output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
