"""An append-only log of events: what it has taken is on the disk, and stands in Parquet files in the end.

Events are appended to a text file, a line for what was appended at once with the sum of its bytes before it, and are
on the disk when :meth:`EventLog.append` returns. A text that is large or old enough becomes a Parquet file of the same
name, which appears whole; then the text goes. So whatever moment the process dies at, an event that was taken stands
in the text or in the Parquet file of one name, and where both are there the text is the one that is removed. No two
processes give the same name, so that files of several logs may lie in one folder.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import threading
import time
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from recbole_mind.errors import InputError
from recbole_mind.util.files import alone_in, read_bytes, sync, write_atomic

logger = logging.getLogger(__name__)
SCHEMA = pa.schema(
    [
        pa.field("time", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("request", pa.string(), nullable=False),
        pa.field("channel", pa.string(), nullable=False),
        pa.field("bundle", pa.string(), nullable=False),
        pa.field("user", pa.string(), nullable=False),
        pa.field("item", pa.string(), nullable=False),
        pa.field("position", pa.int32()),
        pa.field("event", pa.string(), nullable=False),
        pa.field("answered", pa.string(), nullable=False),
    ]
)
ROWS = 100_000  # events of a Parquet file, about
SECONDS = 600.0  # in which a text becomes one
_TEXT = re.compile(r"events-\d{8}T\d{6}-[0-9a-f]{8}-\d{6,}\.text")
_TEXTS = ("request", "channel", "bundle", "user", "item", "event")
_FEW = ["channel", "bundle", "event", "answered"]


class Event(NamedTuple):
    """Something that happened to an item that was recalled.

    Attributes:
        time: seconds since 1970.
        request: the id of the answer that it was in.
        channel: that the user was assigned to.
        bundle: that answered.
        user: who asked.
        item: its token.
        position: its place in the list that was shown, from 1; ``None`` where that is not known.
        event: ``impression``, ``click`` or another word.
        answered: the channel that answered where it was another; in Parquet ``channel`` stands in place of nothing.
    """

    time: float
    request: str
    channel: str
    bundle: str
    user: str
    item: str
    position: int | None
    event: str
    answered: str = ""


class EventLog:
    """A folder of Parquet files, to which this process alone appends.

    Args:
        folder: is made; what a process that died has left in it becomes Parquet.
        rows: events after which a text becomes a Parquet file.
        seconds: or how long after its first event it does, if :meth:`tend` is called now and then.

    Attributes:
        damaged: lines of texts that were found torn: what was never said to be taken.

    Raises:
        InputError: another process appends to it, or it cannot be written.
    """

    def __init__(self, folder: str | Path, *, rows: int = ROWS, seconds: float = SECONDS) -> None:
        self.folder, self.rows, self.seconds = Path(folder), rows, seconds
        self.damaged = 0
        self._lock = threading.Lock()
        self._file: int | None = None  # of the text that is open, which is at ``_path``
        self._path = self.folder
        self._name = f"events-{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        self._number = self._size = self._count = 0
        self._began = 0.0
        with ExitStack() as stack:
            stack.enter_context(alone_in(self.folder))
            try:
                self._recover()
            except OSError as error:
                raise InputError(f"events: '{folder}' cannot be read: {error.strerror}") from None
            self._held = stack.pop_all()

    def append(self, events: Sequence[Event]) -> None:
        """Take events: all of them are on the disk, or none.

        Raises:
            OSError: they are not; the log is as it was.
        """
        if not events:
            return
        line = _line(events)
        with self._lock:
            if self._file is None:
                self._open()
            assert self._file is not None  # noqa: S101 - it is open now
            try:
                _write(self._file, line)
                os.fdatasync(self._file)
            except OSError:
                self._undo()
                raise
            if self._count == 0:
                self._began = time.monotonic()
            self._size += len(line)
            self._count += len(events)
            full = self._count >= self.rows
        if full:
            self.tend()

    def tend(self, *, now: bool = False) -> None:
        """Make Parquet of the text if it is large or old enough, or ``now``; and of others that could not be before.

        What cannot be made now, as on a full disk, is logged and stays text.
        """
        with self._lock:
            due = self._count >= self.rows or time.monotonic() - self._began >= self.seconds
            if self._file is not None and self._count and (due or now):
                self._close()
            self._convert_all()

    def close(self) -> None:
        """Make Parquet of what there is, and let go of the folder."""
        with self._lock:
            self._close()
            self._convert_all()
        self._held.close()

    # -- with the lock held ------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._number += 1
        path = self.folder / f"{self._name}-{self._number:06}.text"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            sync(self.folder)
        except OSError:
            os.close(file)
            raise
        self._file, self._path, self._size, self._count = file, path, 0, 0

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file, self._count = None, 0

    def _undo(self) -> None:
        """Cut off what may have been written of a line; a text that cannot be cut is left, and another one begun."""
        assert self._file is not None  # noqa: S101 - a line was being written to it
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            self._close()

    def _recover(self) -> None:
        for path in self.folder.glob(".events-*.tmp"):
            path.unlink()  # of a process that was killed
        self._convert_all()

    def _convert_all(self) -> None:
        try:
            texts = sorted(path for path in self.folder.glob("events-*.text") if _TEXT.fullmatch(path.name))
        except OSError as error:
            logger.error("events stay text, to be tried again: %s", error)
            return
        for path in texts:
            if self._file is None or path != self._path:
                try:
                    self._convert(path)
                except (OSError, InputError, MemoryError, pa.ArrowException) as error:
                    logger.error("events stay text, to be tried again: %s", error)

    def _convert(self, path: Path) -> None:
        target = path.with_suffix(".parquet")
        if not target.exists():
            events, torn = _read(path)
            self.damaged += torn
            if events:
                table = _table(events)
                options: dict[str, Any] = {"compression": "zstd", "use_dictionary": _FEW, "write_page_checksum": True}
                write_atomic(target, lambda file: pq.write_table(table, file, **options))
                sync(self.folder)
        path.unlink()


def _line(events: Sequence[Event]) -> bytes:
    content = json.dumps(events, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def _read(path: Path) -> tuple[list[Event], int]:
    """The events of a text, and how many lines are torn."""
    events: list[Event] = []
    lines = read_bytes(path, 2**40).split(b"\n")
    torn = int(lines.pop() != b"")  # without its end
    for line in lines:
        found, _, content = line.partition(b" ")
        if found != b"%08x" % zlib.crc32(content):
            torn += 1
        else:
            events += [Event(*values) for values in json.loads(content)]
    return events, torn


def _table(events: Sequence[Event]) -> Any:
    columns: dict[str, Any] = {name: [getattr(event, name) for event in events] for name in _TEXTS}
    columns["time"] = [datetime.fromtimestamp(event.time, timezone.utc) for event in events]
    columns["position"] = [event.position for event in events]
    columns["answered"] = [event.answered or event.channel for event in events]
    return pa.table(columns, SCHEMA)


def _write(file: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]
