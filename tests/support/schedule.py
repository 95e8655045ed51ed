"""When the tests would end on some processes, by what was recorded: ``python -m tests.support.schedule``."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterable

from tests.support.durations import Durations


def makespan(seconds: Iterable[float], processes: int) -> float:
    """When the last file ends, if each process takes the next file when it is done with one."""
    ends = [0.0] * processes
    for each in seconds:
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


if __name__ == "__main__":
    files = Durations().files
    for processes in map(int, sys.argv[1:] or ["2", "4"]):
        total = sum(files.values()) / processes
        by_name = makespan((files[name] for name in sorted(files)), processes)
        longest = makespan(sorted(files.values(), reverse=True), processes)
        print(f"{processes} processes: {by_name:.0f} s by name, {longest:.0f} s longest first, at least {total:.0f} s")
