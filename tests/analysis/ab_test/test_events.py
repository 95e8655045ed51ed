"""Logs of events: counted once, joined, and refused where they cannot be read."""

from datetime import date, datetime, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_mind.analysis.ab_test import events
from recbole_mind.errors import InputError


def row(request, item, event="impression", channel="a", user="u", day=1, **more):
    time = datetime(2026, 3, day, 12, tzinfo=timezone.utc)
    return {"time": time, "request": request, "item": item, "event": event, "channel": channel, "user": user} | more


def written(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_a_log_is_counted_as_a_loop_counts_it(tmp_path):
    random, rows, shown, clicked = np.random.default_rng(0), [], {}, set()
    for request in range(200):
        user = int(random.integers(0, 30))
        channel, day = "ab"[user % 2], int(random.integers(1, 4))
        for item in random.choice(50, int(random.integers(1, 6)), replace=False):
            key = f"r{request}", f"i{item}"
            rows += [row(*key, channel=channel, user=f"u{user}", day=day)] * int(random.integers(1, 3))
            shown[key] = user, channel, day
            if random.random() < 0.3:
                rows += [row(*key, "click", channel, f"u{user}", day)] * int(random.integers(1, 3))
                clicked.add(key)
    random.shuffle(rows)
    half = len(rows) // 2
    written(tmp_path / "1.parquet", rows[:half])
    written(tmp_path / "2.parquet", rows[half:])
    found = events.read(tmp_path)
    assert found.channels == ["a", "b"]
    assert found.days == [date(2026, 3, day) for day in (1, 2, 3)]
    assert found.left_out == {"repeated events": len(rows) - len(shown) - len(clicked)}
    for channel in range(2):
        for day in (None, 0, 1, 2):
            expected = {}
            for key, (user, name, own) in shown.items():
                if name == "ab"[channel] and day in (None, own - 1):
                    seen = expected.setdefault(user, [0, 0])
                    seen[0] += 1
                    seen[1] += key in clicked
            impressions, clicks = found.by_user(channel, day)
            assert sorted(zip(impressions, clicks, strict=True)) == sorted(map(tuple, expected.values()))


def test_what_does_not_count_is_said(tmp_path):
    rows = [
        row("r1", "i1"),
        row("r1", "i1"),  # again
        row("r1", "i2", "click"),  # never shown
        row("r2", "i1", "seen"),
        row("r3", "i1", user="v"),
        row("r3", "i1", user="w"),  # two users say the same
        row("r4", "i1", user="x"),
        row("r5", "i1", user="x", channel="b"),  # a user of two channels
        row("r6", "i1", user="y", day=9),
    ]
    found = events.read(written(tmp_path / "log.parquet", rows), until=date(2026, 3, 8))
    assert found.left_out == {
        "other events": 1,
        "repeated events": 2,
        "clicks without their impression": 1,
        "impressions on other days": 1,
        "impressions of two users or channels": 1,
        "impressions of users who changed channel": 2,
    }
    assert len(found.user) == 1


def test_days_are_utc_and_limits_count(tmp_path):
    rows = [row(f"r{day}", "i", day=day) for day in (1, 2, 3, 4)]
    path = written(tmp_path / "log.parquet", rows)
    found = events.read(path, since=date(2026, 3, 2), until=date(2026, 3, 3))
    assert found.days == [date(2026, 3, 2), date(2026, 3, 3)]
    table = pq.read_table(path)
    late = pa.array([datetime(2026, 3, 1, 23, 30)] * 4, pa.timestamp("s", "America/New_York"))
    pq.write_table(table.set_column(0, "time", late), path)
    assert events.read(path).days == [date(2026, 3, 1)]  # an instant is one, whatever zone it is shown in


def test_dictionaries_and_other_columns_are_read(tmp_path):
    table = pa.Table.from_pylist([row("r1", "i1", position=3), row("r1", "i1", "click", position=3)])
    for name in ("channel", "user"):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table[name].dictionary_encode())
    pq.write_table(table, tmp_path / "log.parquet")
    assert events.read(tmp_path / "log.parquet").clicked.tolist() == [True]


def test_several_logs_are_one_and_names_of_folders_say_nothing(tmp_path):
    one, two = (tmp_path / name for name in ("channel=x", "user=y"))
    one.mkdir()
    two.mkdir()
    written(one / "log.parquet", [row("r1", "i")])
    written(two / "log.parquet", [row("r2", "i", user="w", channel="b"), row("r1", "i")])
    found = events.read(one, two / "log.parquet")
    assert found.channels == ["a", "b"]
    assert len(found.user) == 2
    assert found.left_out == {"repeated events": 1}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [([row("r", "i", "click")], "holds no impression"), ([row("r", "i") | {"user": 5}], "'user' is int64")],
)
def test_a_log_that_does_not_count_is_one_line(tmp_path, rows, reason):
    with pytest.raises(InputError, match=f"log.parquet.*{reason}"):
        events.read(written(tmp_path / "log.parquet", rows))


def test_a_log_without_rows_holds_nothing(tmp_path):
    path = written(tmp_path / "log.parquet", [row("r", "i")])
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(InputError, match="holds no impression"):
        events.read(path)
