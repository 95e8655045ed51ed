"""Packing: an ``.inter`` file sorted, numbered and written as columns, in memory that does not grow with it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from recbole_mind.data import inter_file
from recbole_mind.data.atomic_file import Format
from recbole_mind.data.packed_file import FORMAT, VERSION, Layout, Pack, Watch
from recbole_mind.data.splits import stable_order
from recbole_mind.errors import InputError, require
from recbole_mind.util.files import MANIFEST

BLOCK = 2**20  # rows that are read at once
BUCKET = 2**20  # rows that are sorted at once, but for a user who has more


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
    np.lib.format.write_array_header_1_0(file, shape)  # type: ignore[no-untyped-call,unused-ignore]


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
