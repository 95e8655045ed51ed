"""Waits that follow what is waited for: how busy the machine is decides how long they take, not whether they pass."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

HANG = 600  # seconds of the clock after which something hangs, however busy the machine


def until(condition: Callable[[], Any], process: subprocess.Popen[Any] | None = None) -> Any:
    """Wait for something to become true, for as long as ``process`` runs, if one is to make it so; what it became."""
    end = time.monotonic() + HANG
    while not (found := condition()):
        assert process is None or process.poll() is None, "the process ended before"
        assert time.monotonic() < end, "it does not become true"
        time.sleep(0.01)
    return found


@contextlib.contextmanager
def at_once(seconds: float) -> Iterator[None]:
    """A context in which this process works for less than so many seconds; those of other processes do not count."""
    start = time.process_time()
    yield
    assert time.process_time() - start < seconds
