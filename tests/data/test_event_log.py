"""The files of a log of events: read some rows at a time, and refused where they cannot be."""

from datetime import datetime, timezone

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_mind.data import event_log
from recbole_mind.errors import InputError


def row(request, item, event="impression", channel="a", user="u", **more):
    time = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    return {"time": time, "request": request, "item": item, "event": event, "channel": channel, "user": user} | more


def written(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_rows_come_some_at_a_time_in_one_type(tmp_path, monkeypatch):
    for name in ("1", "2"):
        table = pa.Table.from_pylist([row(f"r{name}{n}", "i", position=n or None) for n in range(5)])
        place = table.schema.get_field_index("user")
        table = table.set_column(place, "user", table["user"].dictionary_encode())
        pq.write_table(table, tmp_path / f"{name}.parquet")
    (tmp_path / ".hidden.parquet").write_bytes(b"no")
    monkeypatch.setattr(event_log, "ROWS", 2)
    log = event_log.files(tmp_path)
    assert [path.name for path in log] == ["1.parquet", "2.parquet"]
    assert event_log.count(log) == 10
    tables = list(event_log.tables(log, ("position",)))
    assert max(map(len, tables)) == 2
    whole = pa.concat_tables(tables)
    assert whole["request"].to_pylist() == [f"r{name}{n}" for name in "12" for n in range(5)]
    assert whole["position"].to_pylist() == [None, 1, 2, 3, 4] * 2
    assert {str(whole[name].type) for name in event_log.TEXTS} == {"large_string"}


def test_an_item_of_a_request_is_there_once(tmp_path):
    early = datetime(2026, 2, 1, tzinfo=timezone.utc)
    rows = [row("r1", "i1", position=3), row("r1", "i1", time=early, position=None), row("r1", "i2", position=None)]
    rows += [row("r2", "i1", position=1), row("r2", "i1", user="v", position=1)]
    table = pa.concat_tables(event_log.tables([written(tmp_path / "log.parquet", rows)], ("position",)))
    found, again = event_log.once(table)
    assert again == 2
    found = {(one["request"], one["item"]): one for one in found.to_pylist()}
    assert found["r1", "i1"]["time"] == early
    assert [one["position"] for one in found.values()] == [3, None, 1]
    assert [one["torn"] for one in found.values()] == [False, False, True]


def times(path, kind, value):
    table = pa.Table.from_pylist([row("r", "i", position=1)])
    pq.write_table(table.set_column(0, "time", pa.array([value], kind)), path)


def not_text(path):
    table = pa.Table.from_pylist([row("r", "i", position=1)])
    wrong = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff"))
    pq.write_table(table.set_column(table.schema.get_field_index("user"), "user", wrong), path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b"PAR1 no"), "is not a Parquet file"),
        (lambda path: written(path, [{"time": datetime(2026, 1, 1), "item": "i"}]), "has no column 'request'"),
        (lambda path: written(path, [row("r", "i", position=1, time=5)]), "'time' is int64; allowed: timestamps"),
        (lambda path: written(path, [row("r", "i", position=1, user=5)]), "'user' is int64; allowed: text"),
        (
            lambda path: written(path, [row("r", "i", position=1), row("r", None, position=1)]),
            "'item' lacks a value in 1 rows",
        ),
        (
            lambda path: written(path, [row("r", "i", position=1), row("r", "j", position=1, user="")]),
            "'user' lacks a value in 1 rows",
        ),
        (lambda path: written(path, [row("r", "i")]), "has no column 'position'"),
        (lambda path: written(path, [row("r", "i", position="1")]), "'position' is string; allowed: whole numbers"),
        (lambda path: times(path, pa.timestamp("s"), 1_770_000_000_000), "'time' has values that are no day"),
        (lambda path: times(path, pa.timestamp("us"), -(10**17)), "'time' has values that are no day"),
        (lambda path: times(path, pa.timestamp("ms"), 2**62), "'time' has values that are no day"),
        (lambda path: not_text(path), "is not a Parquet file that can be read"),
        (lambda path: path.mkdir(), "has no .parquet file"),
        (lambda path: None, "cannot be read"),
    ],
)
def test_a_log_that_cannot_be_read_is_one_line(tmp_path, make, reason):
    make(tmp_path / "log.parquet")
    with pytest.raises(InputError, match=reason) as caught:
        list(event_log.tables(event_log.files(tmp_path / "log.parquet"), ("position",)))
    assert "\n" not in str(caught.value)
    assert "log.parquet" in str(caught.value)
