"""Interactions larger than memory: an ``.inter`` file as columns on disk, by user and time. No RecBole, no pickle.

A pack is a folder: ``column-<field>.npy`` for each field, ``tokens-<field>.txt`` with the tokens in the order of their
ids (from 1), ``offsets.npy`` with the row at which each user begins, and ``manifest.json``, which holds the sizes and
hashes of all of them and of the text file. :func:`pack` reads the text once and needs memory for users, items and a
block, not for interactions; :class:`Pack` maps the columns into memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from recbole_mind.data import inter_file
from recbole_mind.data.atomic_file import Clock, Column, Format
from recbole_mind.data.splits import stable_order
from recbole_mind.errors import InputError, require
from recbole_mind.util.arrays import open_array
from recbole_mind.util.files import MANIFEST, read_manifest, read_text, sha256

FORMAT, VERSION = "recbole-mind packed interactions", 1
BLOCK = 2**20  # rows that are read at once
BUCKET = 2**20  # rows that are sorted at once, but for a user who has more

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


# -- writing ------------------------------------------------------------------------------------------------------


def pack(source: str | Path, target: str | Path, layout: Layout, watch: Watch | None = None) -> Pack:
    """Pack ``source`` into the folder ``target``, which is replaced when all is written.

    Args:
        source: an ``.inter`` file.
        target: the folder; its parent must exist.
        layout: which columns.
        watch: told how far the work is.

    Raises:
        InputError: the file is unusual (quotes, ragged lines), lacks numbers, is empty or changes; no room.
    """
    source, target = Path(source), Path(target)
    _check(layout, source)
    folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        folder.mkdir()
        _write(source, folder, layout, watch or (lambda *_: None))
        _replace(target, folder)
    except OSError as error:
        raise InputError(f"'{source}' cannot be packed into '{target}': {error.strerror}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Pack.open(target)


def _check(layout: Layout, source: Path) -> None:
    for column in layout.packed:
        known = column.kind in ("token", "float")
        require(known, f"'{source}': field '{column.field}' is of type {column.kind}; allowed: token, float")
        plain = Path(column.field).name == column.field
        require(plain, f"'{source}': field '{column.field}' cannot be the name of a file")
    kinds = {column.field: column.kind for column in layout.packed}
    for field in (layout.user, layout.item):
        require(kinds.get(field) == "token", f"'{source}' has no field '{field}:token' among {', '.join(kinds)}")
    require(layout.time in kinds, f"'{source}' has no field '{layout.time}', the time, among {', '.join(kinds)}")


def _write(source: Path, folder: Path, layout: Layout, watch: Watch) -> None:
    before = source.stat()
    raw = folder / "rows.tmp"
    tokens, counts, missing, digest = _number(source, raw, layout, watch)
    after = source.stat()
    same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    require(same, f"'{source}' changed while it was packed; pack it again")
    n = int(counts.sum())
    rowless = f"'{source}' holds no row below its first line"
    require(n > 0, f"'{source}' holds no interaction with a user and an item" if missing else rowless)
    offsets = np.concatenate([[0], counts.cumsum()])
    files: dict[str, Any] = {}
    with _new(folder, "offsets.npy", files) as file:
        _header(file, "<i8", len(offsets))
        file.write(offsets.astype("<i8").tobytes())
    for field, found in tokens.items():
        with _new(folder, f"tokens-{field}.txt", files) as file:
            for token in found.texts():
                file.write(f"{token}\n".encode())
    numbers = {field: len(found) for field, found in tokens.items()}
    del tokens
    _sort(raw, folder, layout, offsets, files, watch)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "source": {"name": source.name, "bytes": before.st_size, "mtime_ns": before.st_mtime_ns, "sha256": digest},
        "interactions": n,
        "missing": missing,
        "user": layout.user,
        "item": layout.item,
        "time": layout.time,
        "heading": [column.field for column in layout.columns],
        "tokens": numbers,
        "fields": {column.field: "token" if column.field in numbers else "float" for column in layout.packed},
        "files": files,
    }
    with open(folder / MANIFEST, "w", encoding="utf-8") as manifest:
        manifest.write(json.dumps(content, indent=2) + "\n")
        manifest.flush()
        os.fsync(manifest.fileno())


def _number(
    source: Path, raw: Path, layout: Layout, watch: Watch
) -> tuple[dict[str, inter_file.Tokens], npt.NDArray[np.int64], int, str]:
    """Write rows of ids and numbers in the order of the file.

    As RecBole does, leave out rows without a user or an item, and give ids in the order of what is left.

    Returns:
        the tokens, each user's number of rows, how many rows were left out, and the file's hash.
    """
    tokens = {field: inter_file.Tokens() for field in layout.tokens}
    counts, gone = np.zeros(1, np.int64), 0  # of id 0, which no user has
    digest, size, done = hashlib.sha256(), source.stat().st_size, 0

    def look(text: bytes) -> None:
        nonlocal done
        digest.update(text)
        done += len(text)
        watch("reading", done, size)

    try:
        with open(raw, "wb") as file:
            for words, floats in inter_file.blocks(
                source, layout.packed, len(layout.columns), layout.separator, look=look, clock=layout.clock
            ):
                kept = ~(inter_file.missing(words[layout.user]) | inter_file.missing(words[layout.item]))
                gone += int((~kept).sum())
                rows = np.empty(int(kept.sum()), layout.record)
                for field, found in words.items():
                    rows[field] = tokens[field].number([word[kept] for word in found]) + 1  # a missing one's is 0
                for field, values in floats.items():
                    absent = int(np.isnan(values[kept]).sum())
                    require(not absent, f"'{source}': {absent} lines lack a number for '{field}', which RecBole would "
                            "fill with the mean; fill them, or leave the field out (load_col)")  # fmt: skip
                    rows[field] = values[kept]
                found_counts = np.bincount(rows[layout.user], minlength=len(counts))
                found_counts[: len(counts)] += counts
                counts = found_counts
                rows.tofile(file)
    except inter_file.UnusualFileError as error:
        form = Format(layout.separator)
        inter_file.refuse(source, form, layout.packed, layout.clock, f"'{source}' cannot be packed: {error}")
    return tokens, counts, gone, digest.hexdigest()


def _sort(
    raw: Path, folder: Path, layout: Layout, offsets: npt.NDArray[np.int64], files: dict[str, Any], watch: Watch
) -> None:
    """Write the columns: rows are shared out to buckets of users, and each bucket is sorted by user and time.

    Everything is read and written in one direction, so that a disk can keep up when memory cannot hold the file.
    """
    n, kind = int(offsets[-1]), layout.record
    bucket_of = (offsets[:-1] // max(BUCKET, n // 256)).astype(np.uint16)  # of each user
    paths = [folder / f"bucket-{bucket}.tmp" for bucket in range(int(bucket_of[-1]) + 1)]
    if len(paths) == 1:
        raw.rename(paths[0])
    else:
        with ExitStack() as stack:
            buckets = [stack.enter_context(open(path, "wb")) for path in paths]
            for done, rows in _read(raw, kind):
                places = bucket_of[rows[layout.user]]
                ends = np.bincount(places, minlength=len(paths)).cumsum()
                for bucket, part in zip(buckets, np.split(rows[stable_order(places)], ends[:-1]), strict=True):
                    part.tofile(bucket)
                watch("sharing out", done, n)
        raw.unlink()
    with ExitStack() as stack:
        columns = {}
        for column in layout.packed:
            columns[column.field] = stack.enter_context(_new(folder, f"column-{column.field}.npy", files))
            _header(columns[column.field], kind[column.field].str, n)
        done = 0
        for path in paths:
            rows = np.fromfile(path, kind)
            path.unlink()
            order = np.argsort(rows[layout.time], kind="stable")
            order = order[stable_order(rows[layout.user][order])]
            for field, file in columns.items():
                file.write(rows[field][order].tobytes())
            done += len(rows)
            watch("sorting", done, n)


def _read(path: Path, kind: np.dtype[Any]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    done = 0
    with open(path, "rb") as file:
        while len(rows := np.fromfile(file, kind, BLOCK)):
            done += len(rows)
            yield done, rows


def _header(file: Any, kind: str, n: int) -> None:
    shape = {"descr": kind, "fortran_order": False, "shape": (n,)}
    np.lib.format.write_array_header_1_0(file, shape)  # type: ignore[no-untyped-call]


class _Hashed:
    """A file that is hashed while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest, self.bytes = file, hashlib.sha256(), 0

    def write(self, content: bytes) -> None:
        self.file.write(content)
        self.digest.update(content)
        self.bytes += len(content)


@contextmanager
def _new(folder: Path, name: str, files: dict[str, Any]) -> Iterator[_Hashed]:
    """A new file whose size and hash go into ``files`` when it is on the disk."""
    with open(folder / name, "xb") as file:
        hashed = _Hashed(file)
        yield hashed
        file.flush()
        os.fsync(file.fileno())
    files[name] = {"bytes": hashed.bytes, "sha256": hashed.digest.hexdigest()}


def _replace(target: Path, folder: Path) -> None:
    """Put ``folder`` in the place of ``target``."""
    old = target.with_name(f"{folder.name}.old")
    if target.is_dir():
        require((target / MANIFEST).is_file(), f"'{target}' is a folder that holds something else; name another")
        target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        if old.is_dir():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


# -- reading ------------------------------------------------------------------------------------------------------


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
