"""A log of events as a data set to train on: an ``.inter`` file of clicks, alone or after a data set's own rows.

The log is shared out to files by item, so that memory does not grow with it; each part is counted, sorted and written,
and the parts are merged by time. The same log gives the same file, byte for byte. A click that the data set holds
already, of the same user, item and time, is left out, so that a log may be added again.
"""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbole_mind.data import atomic_file, event_log
from recbole_mind.data.atomic_file import MISSING
from recbole_mind.data.event_log import CLICK, IMPRESSION, POSITION
from recbole_mind.data.log_columns import Columns, Wanted, unsafe
from recbole_mind.data.log_parts import Parts
from recbole_mind.errors import InputError, require
from recbole_mind.util.files import write_atomic

UNITS = {"seconds": 0, "milliseconds": 3, "microseconds": 6, "nanoseconds": 9}  # a time's, by powers of ten
_SINCE_1980, _BEFORE_2100 = 315_532_800, 4_102_444_800  # seconds since 1970: by them a time's unit is told
_KEY = ("time", "user", "item", "request")  # by which the rows stand

Watch = Callable[[str, int, int], None]
"""Told of progress: what is done, so many rows of so many."""


@dataclass
class Summary:
    """What came of it.

    Attributes:
        path: of the file.
        held: rows of the data set that it was added to.
        clicks, impressions: rows that are new.
        left_out: events that do not count, by reason.
    """

    path: Path
    held: int = 0
    clicks: int = 0
    impressions: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def write(
    log: Sequence[str | Path],
    folder: str | Path,
    wanted: Wanted = Wanted(),  # noqa: B008 - frozen
    *,
    data: str | Path | None = None,
    watch: Watch = lambda *_: None,
) -> Summary:
    """Write the data set ``folder``: ``NAME/NAME.inter`` with a row a click.

    Args:
        log: Parquet files of events, or folders of them (:mod:`recbole_mind.data.event_log`).
        folder: its name is the data set's; files that are there are replaced, each at one stroke.
        wanted: which events, and how.
        data: an ``.inter`` file whose rows come first and whose columns are kept; the ``.item`` and ``.user`` files
            beside it come along.
        watch: is told of progress.

    Raises:
        InputError: a file cannot be read or written, columns do not go together, or no event counts.
    """
    target = Path(folder) / f"{Path(folder).absolute().name}.inter"
    base = None if data is None else Path(data)
    columns = Columns.of(wanted, base)
    files, summary = event_log.files(*log), Summary(target)
    rows = event_log.count(files)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent) as name:
            parts = Parts(Path(name), rows, (POSITION,) if columns.positions else ())
            first = parts.share_out(files, columns.kinds, summary.left_out, lambda done: watch("reading", done, rows))
            if base is not None and base.with_suffix("").absolute() != target.with_suffix("").absolute():
                for beside in (".item", ".user"):
                    if base.with_suffix(beside).is_file():
                        write_atomic(target.with_suffix(beside), _copy_of(base.with_suffix(beside)))

            def fill(file: BinaryIO) -> None:
                text = io.TextIOWrapper(file, wanted.form.encoding, newline="\n")
                text.write(wanted.form.separator.join(columns.heading) + "\n")
                power = 0
                if base is not None:
                    power = _copy_rows(base, text, columns, parts, first, summary)
                _write_events(text, columns, parts, power, summary, watch)
                text.flush()
                text.detach()

            write_atomic(target, fill)
    except UnicodeEncodeError:
        raise InputError(f"'{target}' cannot be written in {wanted.form.encoding}: a token has other letters") from None
    except OSError as error:
        raise InputError(f"'{target}' cannot be written: {error.strerror or error}") from None
    return summary


def _copy_of(path: Path) -> Callable[[BinaryIO], None]:
    def copy(file: BinaryIO) -> None:
        with open(path, "rb") as source:
            while block := source.read(2**20):
                file.write(block)

    return copy


# -- rows ----------------------------------------------------------------------------------------------------------


def _copy_rows(base: Path, text: Any, columns: Columns, parts: Parts, first: int, summary: Summary) -> int:
    """Write the rows of ``base``, and keep those of the log's time; the unit of its times, as a power of ten.

    Raises:
        InputError: it cannot be read, or its times are none since 1970.
    """
    form, power, newest = columns.wanted.form, None, -np.inf
    added = "".join(form.separator + value for value in columns.added)
    name = columns.wanted.fields.time
    rows: list[tuple[str, str, int]] = []
    with ExitStack() as stack:
        writers: dict[int, Any] = {}
        for number, cells in atomic_file.rows(base, form):
            text.write(form.separator.join(cells) + added + "\n")
            summary.held += 1
            cell = cells[columns.time]
            try:
                time = float(cell)
            except ValueError:
                raise InputError(f"'{base}', line {number}: {cell[:40]!r} in '{name}' is no number; events' times are "
                                 "numbers") from None  # fmt: skip
            newest = max(newest, time)
            power = _unit(time) if power is None else power
            if power is not None and time * 10.0 ** (6 - power) >= first - 1:
                exact = int(Decimal(cell).scaleb(6 - power).to_integral_value())
                rows.append((cells[columns.user], cells[columns.item], exact))
                if len(rows) == event_log.ROWS:
                    parts.hold(rows, writers, stack)
                    rows = []
        if rows:
            parts.hold(rows, writers, stack)
    if not summary.held:
        return 0
    good = power is not None and _unit(newest) == power
    known = ", ".join(UNITS)
    require(good, f"'{base}': the times in '{name}' end at {newest:g}, which is no time since 1970 in {known}")
    return int(power or 0)


def _unit(time: float) -> int | None:
    """The power of ten of a second's part in which a number is a time between 1980 and 2100."""
    return next((power for power in UNITS.values() if _SINCE_1980 <= time / 10.0**power < _BEFORE_2100), None)


def _write_events(text: Any, columns: Columns, parts: Parts, power: int, summary: Summary, watch: Watch) -> None:
    """Count each part, and write the rows of all."""
    total = 0
    for part in range(parts.number):
        events = parts.read("events", part)
        if events is not None:
            rows = _counted(events, columns, parts.read("held", part), summary)
            total += len(rows)
            parts.save(part, rows)
        watch("counting", part + 1, parts.number)
    said = "; left out: " + ", ".join(f"{number:,} {why}" for why, number in summary.left_out.items() if number)
    counts = total > 0 or summary.held > 0
    require(counts, f"log: it holds no {CLICK} that counts{said if any(summary.left_out.values()) else ''}")
    separator = columns.wanted.form.separator
    for done, (time, user, item, _, channel, label, position) in enumerate(parts.merged(), 1):
        brought = {"time": _time(time, power), "user": user, "item": item, "label": str(label), "channel": channel}
        brought[POSITION] = str(position or 0)
        cells = [brought[what] if source == "event" else what for source, what in columns.sources]
        text.write(separator.join(cells) + "\n")
        summary.clicks += label
        summary.impressions += 1 - label
        if done % event_log.ROWS == 0 or done == total:
            watch("writing", done, total)


def _counted(events: Any, columns: Columns, held: Any | None, summary: Summary) -> Any:
    """The rows of a part's events, sorted."""
    wanted, left_out = columns.wanted, summary.left_out
    clicks, again = event_log.once(events.filter(pc.equal(events["event"], CLICK)))
    left_out["repeated events"] += again
    rows = clicks.append_column("label", pa.array(np.ones(len(clicks), np.int8)))
    if IMPRESSION in columns.kinds:
        shown, again = event_log.once(events.filter(pc.equal(events["event"], IMPRESSION)))
        left_out["repeated events"] += again if wanted.impressions else 0
        pair = ["request", "item"]
        if columns.positions:
            places = shown.select([*pair, POSITION]).rename_columns([*pair, "shown"])
            rows = rows.join(places, pair, join_type="left outer")
            known = pc.coalesce(rows[POSITION], rows["shown"])
            rows = rows.drop_columns([POSITION, "shown"]).append_column(POSITION, known)
        if wanted.impressions:
            alone = shown.join(clicks.select(pair), pair, join_type="left anti")
            alone = alone.append_column("label", pa.array(np.zeros(len(alone), np.int8)))
            rows = pa.concat_tables([rows, alone.select(rows.column_names)])
    for reason, leaves in _reasons(wanted):
        gone = leaves(rows)
        left_out[reason] += pc.sum(gone).as_py() or 0
        rows = rows.filter(pc.invert(gone))
    rows = rows.set_column(rows.column_names.index("time"), "time", rows["time"].cast(pa.int64()))
    if held is not None:
        before, same = len(rows), ["user", "item", "time"]
        rows = rows.join(held.group_by(same).aggregate([]), same, join_type="left anti")
        left_out["rows that the data set has already"] += before - len(rows)
    if POSITION not in rows.column_names:
        rows = rows.append_column(POSITION, pa.nulls(len(rows), pa.int64()))
    rows = rows.select([*_KEY, "channel", "label", POSITION])
    return rows.sort_by([(name, "ascending") for name in _KEY])


def _reasons(wanted: Wanted) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Why rows may be left out, each with a function that says which ones."""
    yield "of two users or channels", lambda rows: rows["torn"]
    for day, outside in ((wanted.since, pc.less), (wanted.until, pc.greater)):
        if day is not None:
            end = pa.scalar(day, pa.date32())
            yield "on other days", partial(_on_days, outside, end)
    if not wanted.anonymous:
        yield "of users without a name", lambda rows: pc.equal(rows["user"], rows["request"])
    missing = pa.array(sorted(MISSING), pa.large_string())

    def unwritable(rows: Any) -> Any:
        found = [pc.match_substring_regex(rows[name], unsafe(wanted.form)) for name in ("user", "item", "channel")]
        found += [pc.is_in(rows[name], missing) for name in ("user", "item")]
        gone = found[0]
        for one in found[1:]:
            gone = pc.or_(gone, one)
        return gone

    yield "whose user, item or channel no cell can hold", unwritable


def _on_days(outside: Any, end: Any, rows: Any) -> Any:
    return outside(rows["time"].cast(pa.date32()), end)


def _time(microseconds: int, power: int) -> str:
    """A time in the unit of the data set, exactly."""
    if power >= 6:
        return str(microseconds * 10 ** (power - 6))
    whole, rest = divmod(microseconds, 10 ** (6 - power))
    return f"{whole}.{rest:0{6 - power}}".rstrip("0").rstrip(".") if rest else str(whole)
