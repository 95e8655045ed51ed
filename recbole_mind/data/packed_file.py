"""Interactions larger than memory: an ``.inter`` file as columns on disk, by user and time. No RecBole, no pickle.

A pack is a folder: ``column-<field>.npy`` for each field, ``tokens-<field>.txt`` with the tokens in the order of their
ids (from 1), ``offsets.npy`` with the row at which each user begins, and ``manifest.json``, which holds the sizes and
hashes of all of them and of the text file. ``packing.pack`` reads the text once and needs memory for users, items and a
block, not for interactions; :class:`Pack` maps the columns into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recbole_mind.data.atomic_file import Clock, Column
from recbole_mind.errors import InputError, require
from recbole_mind.util.arrays import open_array
from recbole_mind.util.files import MANIFEST, read_manifest, read_text, sha256

FORMAT, VERSION = "recbole-mind packed interactions", 1
Watch = Callable[[str, int, int], None]  # (what is done, how much of it, of how much)


@dataclass(frozen=True)
class Layout:
    """What to pack of a file: all of its columns in order, those that are loaded, and which are user, item and time."""

    columns: Sequence[Column]
    loaded: Sequence[str]
    separator: str
    user: str
    item: str
    time: str

    @property
    def clock(self) -> Clock:
        """Which of the columns is the time."""
        return Clock(self.time, self.user, self.item)

    @property
    def packed(self) -> list[Column]:
        """The columns that are loaded."""
        return [column for column in self.columns if column.field in self.loaded]

    @property
    def record(self) -> np.dtype[Any]:
        """A row of them: ids, the time in float64, other numbers as RecBole keeps them, in float32."""
        kinds = {"token": "<i4", "float": "<f4"}
        return np.dtype([(c.field, "<f8" if c.field == self.time else kinds[c.kind]) for c in self.packed])

    @property
    def tokens(self) -> list[str]:
        """The fields of tokens among them; a time is a number, whatever its type."""
        return [column.field for column in self.packed if column.kind == "token" and column.field != self.time]


@dataclass(frozen=True)
class Pack:
    """A pack on disk, checked.

    Attributes:
        folder: where it is.
        interactions: N.
        user, item, time: fields.
        tokens: how many each token field has.
        heading: the fields of the file.
        fields: the type of those that were packed, in the order of the file.
        source: name, ``bytes``, ``mtime_ns`` and ``sha256`` of the text file.
        missing: how many of its rows were left out for want of a user or an item.
    """

    folder: Path
    interactions: int
    user: str
    item: str
    time: str
    tokens: dict[str, int]
    heading: list[str]
    fields: dict[str, str]
    source: dict[str, Any]
    missing: int = 0

    @classmethod
    def open(cls, folder: str | Path) -> Pack:
        """Open a pack and read all of it once, to check its hashes.

        Raises:
            InputError: it is missing, corrupt, truncated, or of another version.
        """
        folder = Path(folder)
        content = _manifest(folder)
        for name, entry in content["files"].items():
            _check_file(folder, name, entry)
        keys = ("interactions", "user", "item", "time", "tokens", "heading", "fields", "source", "missing")
        pack = cls(folder, *(({"missing": 0} | content)[key] for key in keys))  # of 0.1.0's packs it is not known
        try:
            whole = pack._is_whole()
        except InputError as error:
            raise InputError(f"pack '{folder}' is corrupt: {error}") from None
        require(whole, f"pack '{folder}' is corrupt: its files do not belong together")
        return pack

    def _is_whole(self) -> bool:
        """Whether every id has a token, and every user the rows that are said to be its own."""
        offsets, users = self.offsets(), self.column(self.user)
        whole = len(offsets) == self.tokens[self.user] + 2 and offsets[0] == offsets[1] == 0
        whole = whole and offsets[-1] == self.interactions and bool((np.diff(offsets) >= 0).all())
        for field, kind in self.fields.items() if whole else ():
            column = self.column(field)
            if kind == "token":
                whole = whole and self._text(field).count("\n") == self.tokens[field]
                whole = whole and int(column.min()) >= 0 and int(column.max()) <= self.tokens[field]
        filled = np.flatnonzero(np.diff(offsets)) if whole else np.zeros(0, np.int64)
        return whole and all(bool((users[offsets[filled + place] - place] == filled).all()) for place in (0, 1))

    def column(self, field: str) -> npt.NDArray[Any]:
        """``[N]`` values of a field by user and time, mapped into memory; what is written to it stays in memory."""
        kind = "<i4" if self.fields[field] == "token" else "<f8" if field == self.time else "<f4"
        return open_array(self.folder / f"column-{field}.npy", kind, (self.interactions,), mode="c")

    def offsets(self) -> npt.NDArray[np.int64]:
        """``[U + 1]``: where the rows of each user id begin; id 0 has none."""
        return np.array(open_array(self.folder / "offsets.npy", "<i8", (None,)))

    def texts(self, field: str) -> list[str]:
        """The tokens of ids 1, 2, ..."""
        found = self._text(field).split("\n")[:-1]
        require(len(set(found)) == len(found), f"pack '{self.folder}' is corrupt: a token of '{field}' stands twice")
        return found

    def _text(self, field: str) -> str:
        return read_text(self.folder / f"tokens-{field}.txt", "tokens", 2**40)

    def check_source(self, path: str | Path) -> None:
        """Raise :class:`InputError` if ``path`` is there and is not what was packed."""
        path = Path(path)
        if not path.is_file():
            return  # the pack stands for it
        now = path.stat()
        if (now.st_size, now.st_mtime_ns) == (self.source["bytes"], self.source["mtime_ns"]):
            return
        same = now.st_size == self.source["bytes"]
        if same:  # a copy has a time of its own
            same = sha256(path) == self.source["sha256"]
        require(same, f"pack '{self.folder}' is not of '{path}' as it is now; run `recbole-mind pack` again")


def _manifest(folder: Path) -> dict[str, Any]:
    content = read_manifest(folder, "a pack", FORMAT, VERSION)
    try:
        fields, files, source = (dict(content[key]) for key in ("fields", "files", "source"))
        need = {"offsets.npy", *(f"column-{field}.npy" for field in fields)}
        need |= {f"tokens-{field}.txt" for field, kind in fields.items() if kind == "token"}
        whole = need == set(files) and {content[key] for key in ("user", "item", "time")} <= set(fields)
        whole = whole and {"bytes", "mtime_ns", "sha256"} <= set(source) and content["interactions"] > 0
        whole = whole and set(fields.values()) <= {"token", "float"} and fields[content["time"]] == "float"
        tokens = dict(content["tokens"])
        whole = whole and {field for field, kind in fields.items() if kind == "token"} == set(tokens)
        whole = whole and all(type(number) is int for number in (*tokens.values(), content["interactions"]))
        whole = whole and {content["user"], content["item"]} <= set(tokens) and set(fields) <= set(content["heading"])
    except (KeyError, TypeError, ValueError):
        whole = False
    require(whole, f"pack '{folder}' is corrupt: {MANIFEST} is incomplete")
    return content


def _check_file(folder: Path, name: str, entry: Any) -> None:
    require(Path(name).name == name, f"pack '{folder}' is corrupt: '{name}' is not the name of a file in it")
    path = folder / name
    try:
        size = path.stat().st_size
        require(size == entry["bytes"], f"pack '{folder}' is corrupt: {name} has {size} bytes, not {entry['bytes']}")
        found = sha256(path)
    except OSError as error:
        raise InputError(f"pack '{folder}' is incomplete: {name}: {error.strerror}") from None
    except (KeyError, TypeError):
        raise InputError(f"pack '{folder}' is corrupt: {MANIFEST} is incomplete") from None
    require(found == entry["sha256"], f"pack '{folder}' is corrupt: {name} was changed")
