"""A log of events in Parquet files, some rows at a time, checked, and each event once.

A row is an event: ``time``, a timestamp, with a zone or in UTC; ``request``, ``channel``, ``user``, ``item`` and
``event`` (``impression`` or ``click``), text; and, where they are asked for, ``position``, a whole number, and
``bundle``, text. Other columns are not read. An item of a request has one event of a kind, however often it was sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbole_mind.errors import InputError, require

IMPRESSION, CLICK = "impression", "click"
POSITION, BUNDLE = "position", "bundle"
TEXTS = ("request", "channel", "user", "item", "event")  # columns of text, none of them empty
ROWS = 2**17  # that are read at once
_EARLIEST, _LATEST = 0, 253_402_300_800_000_000  # microseconds since 1970, to the year 10000


def files(*paths: str | Path) -> list[Path]:
    """The files of a log: Parquet files, and those of folders in the order of their names.

    Raises:
        InputError: a folder has none.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        inside = [path]
        if path.is_dir():
            inside = sorted(file for file in path.glob("*.parquet") if not file.name.startswith("."))
            require(len(inside) > 0, f"log '{path}': the folder has no .parquet file")
        found += inside
    return found


def count(log: Sequence[Path]) -> int:
    """How many rows the files of a log have.

    Raises:
        InputError: one cannot be read.
    """
    return sum(_open(path).metadata.num_rows for path in log)


def tables(log: Sequence[Path], more: Sequence[str] = ()) -> Iterator[Any]:
    """The rows of a log's files: ``time`` in microseconds, the columns of text, and ``more``.

    Of ``more`` there are :data:`POSITION` and :data:`BUNDLE`.

    Raises:
        InputError: a file cannot be read, or lacks a column or a value.
    """
    for path in log:
        yield from _tables(path, ("time", *TEXTS, *more))


def once(events: Any) -> tuple[Any, int]:
    """Each item of each request once, with its first time, and how many rows were there again.

    ``torn`` says of which the channel or the user is not the same in all rows.
    """
    ends = [("time", "min"), *((name, end) for name in ("channel", "user") for end in ("min", "max"))]
    more = [name for name in (POSITION, BUNDLE) if name in events.column_names]
    ends += [(name, "min") for name in more]
    found = events.group_by(["request", "item"], use_threads=False).aggregate(ends)
    torn = pc.or_(
        pc.not_equal(found["channel_min"], found["channel_max"]), pc.not_equal(found["user_min"], found["user_max"])
    )
    columns = {
        "request": found["request"],
        "item": found["item"],
        "time": found["time_min"],
        "channel": found["channel_min"],
        "user": found["user_min"],
        "torn": torn,
    }
    columns |= {name: found[f"{name}_min"] for name in more}
    return pa.table(columns), len(events) - len(found)


def _open(path: Path) -> Any:
    try:
        return pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise InputError(f"log '{path}' is not a Parquet file that can be read: {_first(error)}") from None
    except OSError as error:
        raise InputError(f"log '{path}' cannot be read: {error.strerror or _first(error)}") from None


def _tables(path: Path, names: Sequence[str]) -> Iterator[Any]:
    """The columns that are read of a file, of the types that they have."""
    with _open(path) as file:
        kinds = {field.name: field.type for field in file.schema_arrow}
        for name in names:
            require(name in kinds, f"log '{path}': it has no column '{name}'")
            _check_kind(path, name, kinds[name])
        yield _checked(path, file.schema_arrow.empty_table().select(names), names)  # of a file without rows, too
        batches = file.iter_batches(ROWS, columns=list(names))
        while True:
            try:
                batch = next(batches, None)
                if batch is None:
                    return
                table = pa.Table.from_batches([batch])
                table.validate(full=True)  # text that is not UTF-8
            except pa.ArrowException as error:
                raise InputError(f"log '{path}' is not a Parquet file that can be read: {_first(error)}") from None
            except OSError as error:
                raise InputError(f"log '{path}' cannot be read: {error.strerror or _first(error)}") from None
            yield _checked(path, table, names)


def _check_kind(path: Path, name: str, kind: Any) -> None:
    """Refuse a column of another type than what is read of it."""
    where = f"log '{path}': column '{name}' is {kind}"
    if name == "time":
        require(pa.types.is_timestamp(kind), f"{where}; allowed: timestamps")
    elif name == POSITION:
        require(pa.types.is_integer(kind) or pa.types.is_null(kind), f"{where}; allowed: whole numbers")
    else:
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        require(text, f"log '{path}': column '{name}' is {kind}; allowed: text")


def _checked(path: Path, table: Any, names: Sequence[str]) -> Any:
    """Columns of one type each, whatever the file's, without a missing value but for positions."""
    unit = table.schema.field("time").type.unit
    no_day = f"log '{path}': column 'time' has values that are no day; is its unit {unit}?"
    try:
        columns = {"time": table["time"].cast(pa.timestamp("us", "UTC"), safe=unit != "ns")}
    except pa.ArrowException:
        raise InputError(no_day) from None
    ends = pc.min_max(columns["time"].cast(pa.int64())).as_py().values()
    require(all(end is None or _EARLIEST <= end < _LATEST for end in ends), no_day)
    for name in names[1:]:
        columns[name] = table[name].cast(pa.int64() if name == POSITION else pa.large_string())
    for name, column in columns.items():
        empty = pc.sum(pc.equal(column, "")).as_py() or 0 if name in (*TEXTS, BUNDLE) else 0
        lacks = (0 if name == POSITION else column.null_count) + empty
        require(lacks == 0, f"log '{path}': column '{name}' lacks a value in {lacks:,} rows")
    return pa.table(columns)


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
