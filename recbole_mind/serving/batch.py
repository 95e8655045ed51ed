"""Recall for every user of a Parquet file: users to items, streamed, to be gone on with after any stop.

Each batch of users becomes a part, a whole file in a folder beside the output; at the end the parts become the output
at one stroke. A part that is there is not made again, so that a run that was killed goes on, and what it writes is what
it would have written, byte for byte: a user's answer depends on no other's. The parts say what they are of, bundle,
histories and options; those of anything else are removed. For a moment, parts and output take twice the room.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recbole_mind import __version__
from recbole_mind.errors import InputError, InterruptedRun, require
from recbole_mind.retrieval import exact
from recbole_mind.retrieval.faiss_backend import threads_of
from recbole_mind.retrieval.validation import is_whole
from recbole_mind.serving.parquet import Asked, Histories, read_tokens
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.results import Recalled
from recbole_mind.serving.store.store import FORMAT as STORE
from recbole_mind.serving.store.store import Store
from recbole_mind.util.files import (
    JSON,
    MANIFEST,
    alone_in,
    parse_json,
    read_bytes,
    read_manifest,
    sha256,
    write_atomic,
)

FORMAT, VERSION = "recbole-mind recall", 1
BATCH, TOGETHER = 1024, 256  # users of a part, and at most so many of them for a thread at a time
SCHEMA = pa.schema(
    [
        ("user", pa.string()),
        ("items", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
        ("interests", pa.list_(pa.int16())),
        ("fallback", pa.string()),
    ]
)
_FEW = ["items.list.element", "interests.list.element", "fallback"]  # columns with few values, or the same ones often
_COUNTS = b"counts"  # the key under which a part says what it comes to

Watch = Callable[[str, int, int], None]
"""Told of progress: what is done, so many users of so many; first, how many there are at its start."""


@dataclass(frozen=True)
class Summary:
    """What came of a recall.

    Attributes:
        bundle: its id.
        users: all of them; ``made`` of them by this run, in ``seconds``.
        fallbacks: users who got the most popular items.
        empty: users who got nothing.
        given, unknown: items in the histories, and how many of them the bundle does not know.
        unknown_allowed, unknown_denied: tokens of the pool's file and of the denied items' that it does not know.
    """

    bundle: str
    users: int
    made: int
    seconds: float
    fallbacks: int
    empty: int
    given: int
    unknown: int
    unknown_allowed: int = 0
    unknown_denied: int = 0


def bundle_of(folder: str | Path) -> Path:
    """The bundle in ``folder``: itself, or the current version of a store.

    Raises:
        InputError: nothing was published in the store, or it is damaged.
    """
    folder = Path(folder)
    try:
        kind = parse_json(read_bytes(folder / MANIFEST, JSON).decode("utf-8"))["format"]
    except (OSError, ValueError, KeyError, TypeError):
        return folder  # Bundle.load says what is wrong
    if kind != STORE:
        return folder
    current = Store(folder).current()
    if current is None:
        raise InputError(f"store '{folder}' has no current version; recbole-mind publish makes one")
    return current


def recall(
    bundle: str | Path,
    histories: str | Path,
    output: str | Path,
    *,
    n: int = 1000,
    exclude_seen: bool = True,
    pool: str | Path | None = None,
    deny: str | Path | None = None,
    batch: int = BATCH,
    threads: int | None = None,
    watch: Watch = lambda *_: None,
    say: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Recall the n best items for each user of a file, in its order; go on with a run that was stopped.

    Args:
        bundle: its folder, or a store.
        histories: a Parquet file (:class:`~recbole_mind.serving.parquet.Histories`).
        output: the Parquet file that is written: :data:`SCHEMA`, one row group a batch.
        n: how many where the file has no column ``n`` or it is empty.
        exclude_seen: whether items of the whole history are left out.
        pool: a file of the items that may be recalled (:func:`~recbole_mind.serving.parquet.read_tokens`).
        deny: a file of items that are left out of them.
        batch: users of a part; memory grows with it and with n.
        threads: how many batches' parts are worked on at once; FAISS's number by default. The answers are the same.
        watch: is told of progress.
        say: is told, in sentences, what a person should know.

    Raises:
        InputError: something that cannot be used, or an output that cannot be written; parts that are done stay.
        InterruptedRun: Ctrl-C.
    """
    for key, value in (("n", n), ("batch", batch)):
        require(is_whole(value) and value > 0, f"{key}: {value!r} is not allowed; allowed: a whole number, at least 1")
    threads = threads_of(threads)
    folder, source, target = bundle_of(bundle), Path(histories), Path(output).absolute()
    _check_target(target, {"histories": source, "pool": pool, "denied items": deny}, [Path(bundle), folder])
    recaller = Recaller.load(folder, threads=1)  # each thread here searches by itself
    preprocessing = recaller.bundle.manifest.preprocessing
    fields = {feature.field: feature.several for feature in recaller.bundle.profile}
    asked = Histories(source, preprocessing.user_field, fields)
    if asked.ignored:
        say(f"columns that are not read: {', '.join(asked.ignored)}")
    lacking = _set_pool(recaller, pool, deny, preprocessing.item_field, say)
    before = _stamp(source)
    watch("checking", 0, asked.rows)
    asked.check(batch, lambda done: watch("checking", done, asked.rows))
    identity = {
        "bundle": recaller.bundle_id,
        "histories": sha256(source),
        "pool": None if pool is None else sha256(pool),
        "deny": None if deny is None else sha256(deny),
        "n": n,
        "exclude_seen": exclude_seen,
        "batch": batch,
        "release": __version__,
    }
    parts = target.with_name(f"{target.name}.parts")
    try:
        with alone_in(parts):
            starts = range(0, asked.rows, batch)
            sizes = [min(batch, asked.rows - start) for start in starts]
            missing = _begin(parts, identity, sizes, say)
            before_now = asked.rows - sum(sizes[place] for place in missing)
            done, began = before_now, time.monotonic()
            watch("recalling", done, asked.rows)
            if done:
                say(f"{done:,} of {asked.rows:,} users were done before")
            first = min(missing, default=len(starts))
            with exact.one_blas_thread(), _Work(recaller, n, exclude_seen, threads) as work:
                for place, table in enumerate(asked.batches(min(first * batch, asked.rows), batch), first):
                    if place not in missing:
                        continue
                    rows = asked.asked(table)
                    results = []
                    for some in work.recall(rows):
                        results += some
                        watch("recalling", done + len(results), asked.rows)
                    done += len(results)
                    content = _table(rows, results)
                    write_atomic(parts / _name(place), lambda file, content=content: _write(file, [content]))  # type: ignore[misc]
            seconds = time.monotonic() - began
            require(_stamp(source) == before, f"histories '{source}' changed while they were read; start again")
            summary = _finish(parts, len(starts), target, identity, asked.rows, watch)
            _clear(parts)
    except KeyboardInterrupt:
        raise InterruptedRun(f"stopped: what is done is in '{parts}'; the same command goes on from there") from None
    return Summary(recaller.bundle_id, asked.rows, asked.rows - before_now, seconds, **summary, **lacking)


def _check_target(target: Path, inputs: Mapping[str, str | Path | None], bundles: Sequence[Path]) -> None:
    require(not target.is_dir(), f"output: '{target}' is a folder; name a file")
    for what, path in inputs.items():
        same = path is not None and target.exists() and Path(path).exists() and target.samefile(path)
        require(not same, f"output: '{target}' is the file of {what}; name another one")
    inside = {folder.resolve() for folder in bundles} & set(target.resolve().parents)
    require(not inside, f"output: '{target}' is inside the bundle or store; name another place")


def _set_pool(
    recaller: Recaller, pool: str | Path | None, deny: str | Path | None, item_field: str, say: Callable[[str], None]
) -> dict[str, int]:
    """Set what may be recalled; how many tokens of each file the bundle does not know."""
    lacking = {"unknown_allowed": 0, "unknown_denied": 0}
    if pool is None and deny is None:
        return lacking
    tokens = None if pool is None else read_tokens(pool, item_field)
    found = recaller.pool(tokens)
    lacking["unknown_allowed"] = found.unknown
    require(len(found.rows) > 0, f"pool '{pool}': none of its {len(tokens or []):,} tokens is an item of the bundle")
    if deny is not None:
        found = recaller.pool(found, read_tokens(deny, item_field, "deny"))
        require(len(found.rows) > 0, f"deny '{deny}': it leaves no item to recall")
        lacking["unknown_denied"] = found.unknown - lacking["unknown_allowed"]
    recaller.set_pool(found)
    unknown = f"; {found.unknown:,} tokens are unknown to the bundle" if found.unknown else ""
    say(f"pool: {len(found.rows):,} items{unknown}")
    return lacking


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"histories '{path}' cannot be read: {error.strerror}") from None
    return status.st_size, status.st_mtime_ns


# -- parts ---------------------------------------------------------------------------------------------------------


def _name(place: int) -> str:
    return f"part-{place:07}.parquet"


def _begin(parts: Path, identity: dict[str, Any], sizes: Sequence[int], say: Callable[[str], None]) -> set[int]:
    """The places of the parts that are still to be made; the folder then is of this run, and holds no others."""
    manifest = {"format": FORMAT, "version": VERSION, **identity}
    held = sorted(parts.glob("part-*.parquet"))
    if (parts / MANIFEST).exists():
        found = read_manifest(parts, "parts", FORMAT, VERSION)
        changed = [key for key, value in manifest.items() if found.get(key) != value]
        if changed and held:
            say(f"the parts of an unfinished run are removed: it was of another {', '.join(changed)}")
            write_atomic(parts / MANIFEST, json.dumps({"format": FORMAT, "version": VERSION}) + "\n")  # nobody's
            _remove(held)
    else:
        foreign = [path.name for path in parts.iterdir() if not path.name.startswith(".")]
        require(not foreign, f"output: '{parts}' holds other files; remove it or name another output")
    _remove(parts.glob(".*.tmp"))  # of a process that was killed
    write_atomic(parts / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    return {place for place, size in enumerate(sizes) if not _is_whole(parts / _name(place), size)}


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink()


def _clear(parts: Path) -> None:
    """Remove a folder of parts; until the last of them is gone, its manifest says whose they are."""
    _remove(parts.glob("*.parquet"))
    shutil.rmtree(parts)


def _is_whole(path: Path, rows: int) -> bool:
    try:
        return int(pq.read_metadata(path).num_rows) == rows
    except (OSError, pa.ArrowException):
        return False


def _part(path: Path) -> Any:
    """What stands in a part; a damaged one is removed, so that the next run makes it again."""
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        counts = parse_json((table.schema.metadata or {})[_COUNTS])
        good = table.schema.equals(SCHEMA) and all(type(count) is int for count in counts.values())
    except (pa.ArrowException, OSError, KeyError, ValueError, AttributeError):
        good = False
    if not good:
        path.unlink(missing_ok=True)
        raise InputError(f"'{path}' was damaged and is removed; the same command makes it again")
    return table


def _finish(
    parts: Path, number: int, target: Path, identity: dict[str, Any], rows: int, watch: Watch
) -> dict[str, int]:
    """Make the output of the parts; what they came to."""
    totals: Counter[str] = Counter()
    keys = ("bundle", "n", "exclude_seen", "pool", "deny", "histories")
    about = {"recbole-mind": json.dumps({key: identity[key] for key in keys})}

    def tables() -> Iterator[Any]:
        done = 0
        watch("writing", done, rows)
        for place in range(number):
            table = _part(parts / _name(place))
            totals.update(json.loads(table.schema.metadata[_COUNTS]))
            done += len(table)
            yield table.replace_schema_metadata(about)
            watch("writing", done, rows)

    whole = parts / "whole.parquet"
    write_atomic(whole, lambda file: _write(file, tables()))
    try:
        os.replace(whole, target)
    except OSError as error:
        raise InputError(f"'{target}' cannot be written: {error.strerror}") from None
    return totals


def _write(file: Any, tables: Any) -> None:
    """Write tables as row groups."""
    writer = None
    try:
        for table in tables:
            if writer is None:
                options = {"compression": "zstd", "use_dictionary": _FEW, "write_page_checksum": True}
                writer = pq.ParquetWriter(file, table.schema, **options)
            writer.write_table(table, row_group_size=len(table))
    finally:
        if writer is not None:
            writer.close()


def _table(rows: Sequence[Asked], results: Sequence[Recalled]) -> Any:
    """The part of the output that these results make, with what its histories held beside it."""
    ends = np.cumsum([0, *(len(result.items) for result in results)]).astype(np.int32)
    columns = (
        pa.array([token for result in results for token in result.items], pa.string()),
        pa.array(np.array([score for result in results for score in result.scores], np.float32)),
        pa.array(np.array([interest for result in results for interest in result.interests], np.int16)),
    )
    lists = [pa.ListArray.from_arrays(ends, column) for column in columns]
    fallbacks = pa.array([result.fallback for result in results], pa.string())
    table = pa.Table.from_arrays([pa.array([row.user for row in rows], pa.string()), *lists, fallbacks], schema=SCHEMA)
    counts = {
        "fallbacks": sum(result.fallback is not None for result in results),
        "empty": sum(not result.items for result in results),
        "given": sum(len(row.history) for row in rows),
        "unknown": sum(result.unknown for result in results),
    }
    return table.replace_schema_metadata({_COUNTS: json.dumps(counts)})


class _Work:
    """Threads that recall."""

    def __init__(self, recaller: Recaller, n: int, exclude_seen: bool, threads: int) -> None:
        self._recaller, self._n, self._exclude_seen, self._number = recaller, n, exclude_seen, threads

    def __enter__(self) -> _Work:
        self._threads = ThreadPoolExecutor(self._number)
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def recall(self, rows: Sequence[Asked]) -> Iterator[list[Recalled]]:
        """The results of some rows after the other."""
        size = min(TOGETHER, -(-len(rows) // self._number))
        return self._threads.map(self._some, [rows[start : start + size] for start in range(0, len(rows), size)])

    def _some(self, rows: Sequence[Asked]) -> list[Recalled]:
        numbers = np.array([self._n if row.n is None else row.n for row in rows], object)
        results: dict[int, Recalled] = {}
        for n in dict.fromkeys(numbers):
            chosen = np.flatnonzero(numbers == n).tolist()
            histories, profiles = [rows[place].history for place in chosen], [rows[place].profile for place in chosen]
            times = [rows[place].times for place in chosen]
            found = self._recaller.recall_batch(histories, profiles, int(n), self._exclude_seen, times=times)
            results |= dict(zip(chosen, found, strict=True))
        return [results[place] for place in range(len(rows))]
