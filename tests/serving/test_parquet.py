"""Histories and lists of items in Parquet and in text."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving.parquet import Asked, Histories, read_tokens

LISTS = pa.list_(pa.string())


def write(path, groups=3, **columns):
    pq.write_table(pa.table(columns), path, row_group_size=groups)
    return path


@pytest.fixture
def path(tmp_path):
    history = pa.array([[f"i{n}"] * (n % 3) for n in range(8)], LISTS)
    columns = {
        "user": [f"u{n}" for n in range(8)],
        "history": history,
        "n": [None, *range(1, 8)],
        "job": ["j", None] * 4,
    }
    return write(tmp_path / "a.parquet", **columns, other=[0.5] * 8)


@pytest.mark.parametrize(("start", "size"), [(0, 1), (0, 5), (3, 2), (4, 100), (7, 3)])
def test_rows_come_in_order_whatever_the_batches_are(path, start, size):
    found = Histories(path, "user_id", {"job": False, "age": False})
    assert (found.rows, found.ignored) == (8, ["other"])
    tables = list(found.batches(start, size))
    assert [len(table) for table in tables[:-1]] == [size] * (len(tables) - 1)
    asked = [each for table in tables for each in found.asked(table)]
    assert asked == [
        Asked(f"u{n}", [f"i{n}"] * (n % 3), {"user_id": f"u{n}"} | ({} if n % 2 else {"job": "j"}), n or None)
        for n in range(start, 8)
    ]


def test_what_is_wrong_in_the_last_row_is_said_before_the_first_is_used(tmp_path):
    columns = {"user": ["a"] * 9, "history": pa.array([["i1"]] * 8 + [["i1", None]], LISTS)}
    found = Histories(write(tmp_path / "a.parquet", **columns), "user_id", {})
    watched = []
    with pytest.raises(InputError, match=r"row 9: history holds a missing item; allowed: a list of text"):
        found.check(2, watched.append)
    assert watched == [2, 4, 6, 8]


def test_tokens_come_from_text_and_from_parquet_alike(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffi1\r\n\ni2\n")
    write(tmp_path / "a.parquet", item=["i1", None, "i2"], more=[1, 2, 3])
    write(tmp_path / "b.parquet", item_id=[1, 2])
    write(tmp_path / "c.parquet", anything=["i1", "i2"])
    found = [read_tokens(tmp_path / name, "item_id") for name in ("a.txt", "a.parquet", "b.parquet", "c.parquet")]
    assert found == [["i1", "i2"], ["i1", "i2"], ["1", "2"], ["i1", "i2"]]
    write(tmp_path / "d.parquet", a=["i1"], b=["i2"])
    with pytest.raises(InputError, match=r"denied '.*' has no column 'item' or 'item_id'; columns: a, b"):
        read_tokens(tmp_path / "d.parquet", "item_id", "denied")
    write(tmp_path / "e.parquet", item=[0.5])
    with pytest.raises(InputError, match="column 'item' is double; allowed: text or whole numbers"):
        read_tokens(tmp_path / "e.parquet", "item_id")
