"""Events shared out to files by item, sorted one by one and merged, so that memory does not grow with a log."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recbole_mind.data import event_log
from recbole_mind.data.event_log import CLICK, IMPRESSION

PART = 2**18  # events that are counted at once, about
MOST = 512  # parts, each an open file


class Parts:
    """The events that are needed, in files by item, and beside them rows that the data set holds already."""

    def __init__(self, folder: Path, rows: int, more: tuple[str, ...]) -> None:
        self.folder, self.more = folder, more
        self.number = min(MOST, 1 + rows // PART)
        self._held: list[tuple[str, str, int]] = []

    def share_out(
        self, log: Sequence[Path], kinds: Sequence[str], left_out: Counter[str], watch: Callable[[int], None]
    ) -> int:
        """Write the log's events to the parts; the time of the first one."""
        first, done = 2**63 - 1, 0
        with ExitStack() as stack:
            writers: dict[int, Any] = {}
            for table in event_log.tables(log, self.more):
                done += len(table)
                known = pc.is_in(table["event"], pa.array([IMPRESSION, CLICK], pa.large_string()))
                left_out["other events"] += len(table) - (pc.sum(known).as_py() or 0)
                table = table.filter(pc.is_in(table["event"], pa.array(kinds, pa.large_string())))
                if len(table):
                    first = min(first, pc.min(table["time"].cast(pa.int64())).as_py())
                self._write(table, "events", writers, stack)
                watch(done)
        return first

    def hold(self, rows: list[tuple[str, str, int]], writers: dict[int, Any], stack: ExitStack) -> None:
        """Write users, items and times in microseconds that the data set holds to the parts."""
        user, item, time = zip(*rows, strict=True)
        columns = {"user": pa.array(user, pa.large_string()), "item": pa.array(item, pa.large_string())}
        self._write(pa.table(columns | {"time": pa.array(time, pa.int64())}), "held", writers, stack)

    def _write(self, table: Any, name: str, writers: dict[int, Any], stack: ExitStack) -> None:
        items = table["item"].to_numpy(zero_copy_only=False).astype(object)
        place = pd.util.hash_array(items, categorize=False) % np.uint64(self.number)
        order = np.argsort(place, kind="stable")
        table, ends = table.take(pa.array(order)), np.searchsorted(place[order], np.arange(self.number + 1))
        for part in range(self.number):
            own = table.slice(ends[part], ends[part + 1] - ends[part])
            if len(own):
                if part not in writers:
                    file = stack.enter_context(pa.OSFile(str(self._path(name, part)), "wb"))
                    writers[part] = stack.enter_context(pa.ipc.new_stream(file, table.schema))
                writers[part].write_table(own)

    def read(self, name: str, part: int) -> Any | None:
        """A part's events or held rows; ``None`` for none."""
        path = self._path(name, part)
        if not path.exists():
            return None
        with pa.OSFile(str(path), "rb") as file:
            table = pa.ipc.open_stream(file).read_all()
        path.unlink()
        return table

    def save(self, part: int, table: Any) -> None:
        """Keep a part's rows, sorted."""
        with pa.OSFile(str(self._path("rows", part)), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=2**12)

    def merged(self) -> Iterator[tuple[Any, ...]]:
        """The rows of all parts in their order."""
        paths = [path for part in range(self.number) if (path := self._path("rows", part)).exists()]
        return heapq.merge(*map(_rows, paths))

    def _path(self, name: str, part: int) -> Path:
        return self.folder / f"{name}-{part}.arrow"


def _rows(path: Path) -> Iterator[tuple[Any, ...]]:
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
        for batch in reader:
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
