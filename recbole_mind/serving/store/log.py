"""The history of a store: one event a line, and a pointer to the event that made the current version current.

An event that changes the version is appended first and counts once ``current`` names it, which is replaced as a whole.
So at most the last line of the history is torn or does not count; whoever writes next cuts it off.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from recbole_mind.errors import InputError, require
from recbole_mind.util.files import sync, write_atomic
from recbole_mind.util.json_text import plain

HISTORY, CURRENT = "history.jsonl", "current"
PUBLISHED, FORCED, BLOCKED, ROLLED_BACK = "published", "forced", "blocked", "rolled back"
SERVED = (PUBLISHED, FORCED)
_SWITCHES = (*SERVED, ROLLED_BACK)
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,127}")


class Pointer(NamedTuple):
    """The version that is current, and the number of the event that made it so."""

    id: str
    event: int


@dataclass(frozen=True)
class Event:
    """What happened to a store.

    Attributes:
        number: of the event, from 1.
        time: UTC, ISO 8601.
        event: ``published``, ``forced``, ``blocked`` or ``rolled back``.
        id: of the version that was asked for.
        before: the version that was current until then.
        figures: what the gate judged of it, by name.
        reasons, notes: of the gate.
        who, why: a person's name, and what they said.
    """

    number: int
    time: str
    event: str
    id: str
    before: str | None
    figures: dict[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    who: str | None = None
    why: str | None = None


class Log:
    """The history and the pointer of a store's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pointer(self) -> Pointer | None:
        """What is current; ``None`` before the first publication.

        Raises:
            InputError: it cannot be read, or is damaged.
        """
        try:
            content = json.loads((self.folder / CURRENT).read_text("utf-8"))
            name, number = content["id"], content["event"]
            good = is_name(name) and isinstance(number, int)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"store '{self.folder}' cannot be read: {CURRENT}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            good = False
        require(good, f"store '{self.folder}' is damaged: {CURRENT} does not name a version")
        return Pointer(name, number)

    def events(self) -> list[Event]:
        """What happened, oldest first, for a reader beside a writer.

        Raises:
            InputError: an event that counts is damaged or missing.
        """
        while True:
            pointer = self.pointer()
            try:
                return self._read(pointer)[0]
            except InputError:
                if self.pointer() == pointer:  # no writer has just moved it
                    raise

    def recover(self) -> tuple[list[Event], Pointer | None]:
        """The events that count and the pointer, for the one writer; what a killed writer left is cut off.

        Raises:
            InputError: as :meth:`events`.
            OSError: the history cannot be written.
        """
        pointer = self.pointer()
        events, size = self._read(pointer)
        path = self.folder / HISTORY
        if path.exists() and path.stat().st_size > size:
            with open(path, "r+b") as file:
                file.truncate(size)
                os.fsync(file.fileno())
        return events, pointer

    def _read(self, pointer: Pointer | None) -> tuple[list[Event], int]:
        """The events that count, and how many bytes of the file they are."""
        path, done = self.folder / HISTORY, pointer.event if pointer else 0
        damaged = f"store '{self.folder}' is damaged: {HISTORY}"
        try:
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        except OSError as error:
            raise InputError(f"store '{self.folder}' cannot be read: {HISTORY}: {error.strerror}") from None
        events: list[Event] = []
        size = 0
        for place, line in enumerate(lines, 1):
            event = _event(line, place)
            if event is None:
                require(place == len(lines), f"{damaged}, line {place} is not event {place}")
                break  # torn
            if event.event in _SWITCHES and event.number > done:
                require(place == len(lines), f"{damaged} goes on after event {done}, which {CURRENT} names")
                break  # the version was not switched
            events.append(event)
            size += len(line)
        named = pointer is None or any((event.number, event.id) == (done, pointer.id) for event in events)
        require(named, f"{damaged} lacks event {done}, which {CURRENT} names")
        return events, size

    def append(self, event: Event) -> None:
        """Write an event to the end, on disk; one that cannot be written whole is cut off again.

        Raises:
            OSError: it cannot be written.
        """
        path = self.folder / HISTORY
        new = not path.exists()
        with open(path, "ab") as file:
            size = file.tell()
            try:
                file.write(json.dumps(plain(asdict(event)), allow_nan=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                with contextlib.suppress(OSError):
                    os.truncate(path, size)
                raise
        if new:
            sync(self.folder)

    def switch(self, event: Event) -> None:
        """Make the event's version current, at once: from here on the event counts.

        Raises:
            InputError, OSError: it cannot be written.
        """
        write_atomic(self.folder / CURRENT, json.dumps({"id": event.id, "event": event.number}) + "\n")
        sync(self.folder)


def is_name(name: object) -> bool:
    """Whether a bundle's id can be a folder's name."""
    return isinstance(name, str) and bool(_NAME.fullmatch(name))


def _event(line: bytes, number: int) -> Event | None:
    """The event of a line of the history, ``None`` if it is torn or damaged."""
    try:
        event = Event(**json.loads(line))
    except (ValueError, TypeError):
        return None
    known = line.endswith(b"\n") and event.number == number and event.event in (*_SWITCHES, BLOCKED)
    named = is_name(event.id) and (event.before is None or is_name(event.before))
    return event if known and named and isinstance(event.figures, dict) else None
