"""A log of events as a data set: each click once, in the order of time, whatever a token holds."""

from datetime import date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_mind.data import log_parts
from recbole_mind.data.atomic_file import Format
from recbole_mind.data.log_columns import Fields, Wanted
from recbole_mind.data.logged_interactions import write
from recbole_mind.errors import InputError
from recbole_mind.training import build
from tests.support.data import SHORT_RUN

START = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SECONDS = int(START.timestamp())


def row(request, item, event="click", second=0.0, user="u", **more):
    time = START + timedelta(seconds=second)
    event = {"time": time, "request": request, "item": item, "event": event, "channel": "mind", "user": user}
    return event | {"position": None} | more


def written(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def lines(folder):
    return (folder / f"{folder.name}.inter").read_text().splitlines()


def test_each_click_is_a_row_once_in_the_order_of_time(tmp_path):
    rows = [
        row("r2", "i1", second=5.25),
        row("r1", "i1", "impression", -9),
        row("r1", "i1", second=2),
        row("r1", "i1", second=3),  # sent again
        row("r1", "i2", second=1.000001, user="v"),
        row("r1", "i1", "seen"),
    ]
    log = tmp_path / "log"
    log.mkdir()
    written(log / "1.parquet", rows[:3])
    written(log / "2.parquet", rows[3:])
    summary = write([log], tmp_path / "live", Wanted(anonymous=True))
    assert lines(tmp_path / "live") == [
        "user_id:token\titem_id:token\ttimestamp:float",
        f"v\ti2\t{SECONDS + 1}.000001",
        f"u\ti1\t{SECONDS + 2}",
        f"u\ti1\t{SECONDS + 5}.25",
    ]
    assert (summary.clicks, summary.impressions, summary.held) == (3, 0, 0)
    assert {why: n for why, n in summary.left_out.items() if n} == {"other events": 1, "repeated events": 1}


def test_impressions_without_a_click_are_rows_of_label_0(tmp_path):
    rows = [
        row("r1", "i1", "impression", 0, position=1),
        row("r1", "i2", "impression", 0, position=2),
        row("r1", "i2", second=4),  # whose place the impression knows
        row("r1", "i3", second=5, position=7),
        row("r1", "i4", second=6),  # nobody knows its
    ]
    path = written(tmp_path / "log.parquet", rows)
    summary = write([path], tmp_path / "live", Wanted(impressions=True, more=("position", "channel")))
    assert lines(tmp_path / "live") == [
        "user_id:token\titem_id:token\ttimestamp:float\tlabel:float\tposition:float\tchannel:token",
        f"u\ti1\t{SECONDS}\t0\t1\tmind",
        f"u\ti2\t{SECONDS + 4}\t1\t2\tmind",
        f"u\ti3\t{SECONDS + 5}\t1\t7\tmind",
        f"u\ti4\t{SECONDS + 6}\t1\t0\tmind",
    ]
    assert (summary.clicks, summary.impressions) == (3, 1)


def test_what_does_not_count_is_said(tmp_path):
    rows = [
        row("r1", "i1"),
        row("r2", "i1", user="r2"),  # whom no request named
        row("r3", "i1", user="a\tb"),
        row("r4", "i1", user="a\nb"),
        row("r5", "i\r", user="c"),
        row("r6", "i1", user="null"),  # what RecBole takes for a missing value
        row("r7", "i1", user="x"),
        row("r7", "i1", user="y"),
        row("r8", "i1", second=86_400),
        row("r9", "i1", second=-86_400),
        row("r0", "i1", "impression"),
    ]
    path, day = written(tmp_path / "log.parquet", rows), date(2026, 3, 1)
    summary = write([path], tmp_path / "live", Wanted(since=day, until=day))
    assert lines(tmp_path / "live")[1:] == [f"u\ti1\t{SECONDS}"]
    assert {why: n for why, n in summary.left_out.items() if n} == {
        "repeated events": 1,
        "of two users or channels": 1,
        "on other days": 2,
        "of users without a name": 1,
        "whose user, item or channel no cell can hold": 4,
    }
    write([path], tmp_path / "live", Wanted(since=day, until=day, anonymous=True))
    assert f"r2\ti1\t{SECONDS}" in lines(tmp_path / "live")


def test_a_log_of_many_parts_gives_the_bytes_of_one(tmp_path, monkeypatch):
    random, rows = np.random.default_rng(0), []
    for number in range(3000):
        one = row(f"r{number % 1500}", f"i{random.integers(0, 40)}", second=float(random.integers(0, 500)),
                  event=("impression", "click")[number % 2], user=f"u{number % 1500 % 30}")  # fmt: skip
        rows += [one] * int(random.integers(1, 3))
    path = written(tmp_path / "log.parquet", rows)
    wanted = Wanted(impressions=True, more=("position",))
    one = write([path], tmp_path / "live", wanted)
    whole = lines(tmp_path / "live")
    monkeypatch.setattr(log_parts, "PART", 500)
    monkeypatch.setattr("recbole_mind.data.event_log.ROWS", 700)
    told = []
    many = write([path], tmp_path / "live", wanted, watch=lambda *step: told.append(step))
    assert lines(tmp_path / "live") == whole
    assert (many.clicks, many.impressions, many.left_out) == (one.clicks, one.impressions, one.left_out)
    times = [float(line.split("\t")[2]) for line in whole[1:]]
    assert times == sorted(times)
    assert len(whole) - 1 == len({(one["request"], one["item"]) for one in rows})
    assert told[0][1] == 0
    assert told[-1] == ("writing", len(whole) - 1, len(whole) - 1)
    assert sum(what == "counting" for what, *_ in told) > 5
    assert [path.name for path in (tmp_path / "live").iterdir()] == ["live.inter"]


# -- after a data set's own rows ------------------------------------------------------------------------------------


def data_set(tmp_path, text, name="old"):
    (tmp_path / name).mkdir(exist_ok=True)
    path = tmp_path / name / f"{name}.inter"
    path.write_text(text)
    return path


def test_a_data_set_keeps_its_rows_and_columns_and_takes_a_log_once(tmp_path):
    old = f"item_id:token\tuser_id:token\trating:float\ttimestamp:float\ni9\tu\t3\t{SECONDS - 50}\n"
    base = data_set(tmp_path, old)
    (tmp_path / "old/old.item").write_text("item_id:token\tkind:token\ni9\tk\n")
    path = written(tmp_path / "log.parquet", [row("r1", "i1", second=0.125), row("r2", "i2", second=9)])
    wanted = Wanted(fill={"rating": "5"})
    summary = write([path], tmp_path / "new", wanted, data=base)
    new = [*old.splitlines(), f"i1\tu\t5\t{SECONDS}.125", f"i2\tu\t5\t{SECONDS + 9}"]
    assert lines(tmp_path / "new") == new
    assert (summary.held, summary.clicks) == (1, 2)
    assert (tmp_path / "new/new.item").read_text() == "item_id:token\tkind:token\ni9\tk\n"
    written(path, [row("r1", "i1", second=0.125), row("r2", "i2", second=9), row("r3", "i1", second=10)])
    summary = write([path], tmp_path / "new", wanted, data=tmp_path / "new/new.inter")  # the log of more days, in place
    assert lines(tmp_path / "new") == [*new, f"i1\tu\t5\t{SECONDS + 10}"]
    assert (summary.held, summary.clicks) == (3, 1)
    assert summary.left_out["rows that the data set has already"] == 2
    assert base.read_text() == old


@pytest.mark.parametrize(("power", "cell"), [(0, "{}.125"), (3, "{}125"), (6, "{}125000"), (9, "{}125000000")])
def test_times_are_written_in_the_unit_of_the_data_set(tmp_path, power, cell):
    text = "user_id:token\titem_id:token\ttimestamp:float\nu\ti\t{}\n"
    base = data_set(tmp_path, text.format((SECONDS - 5) * 10**power))
    path = written(tmp_path / "log.parquet", [row("r1", "i1", second=0.125)])
    write([path], tmp_path / "new", data=base)
    assert lines(tmp_path / "new")[-1] == f"u\ti1\t{cell.format(SECONDS)}"
    again = write([path], tmp_path / "new", data=tmp_path / "new/new.inter")
    assert (again.held, again.clicks) == (2, 0)


def test_columns_that_the_data_set_lacks_are_filled_in_its_rows(tmp_path):
    base = data_set(tmp_path, f"uid:token,item_id:token,timestamp:float\nu,i,{SECONDS - 5}\n")
    rows = [row("r1", "i1", "impression"), row("r1", "i2"), row("r2", "i3", user="a,b")]
    path = written(tmp_path / "log.parquet", rows)
    fill = {"label": "1", "channel": "before"}
    wanted = Wanted(Fields(user="uid"), Format(","), impressions=True, more=("channel",), fill=fill)
    summary = write([path], tmp_path / "new", wanted, data=base)
    assert lines(tmp_path / "new") == [
        "uid:token,item_id:token,timestamp:float,label:float,channel:token",
        f"u,i,{SECONDS - 5},1,before",
        f"u,i1,{SECONDS},0,mind",
        f"u,i2,{SECONDS},1,mind",
    ]
    assert summary.left_out["whose user, item or channel no cell can hold"] == 1


@pytest.mark.parametrize(
    ("text", "wanted", "reason"),
    [
        ("user_id:token\titem:token\ttimestamp:float\n", {}, r"no column 'item_id:token'.*'item'.*ITEM_ID_FIELD"),
        ("user_id:token\titem_id:token\ttimestamp:token\n", {}, "'timestamp' is of type token, and .* float"),
        ("HEAD\trating:float\n", {}, "'rating:float', .* --fill rating=VALUE"),
        ("HEAD\n", {"impressions": True}, "no column 'label:float'; --fill"),
        ("HEAD\n", {"fill": {"ratin": "5"}}, "fill: there is no column 'ratin'"),
        ("HEAD\trating:float\n", {"fill": {"rating": "x"}}, "holds numbers"),
        ("HEAD\tkind:token\n", {"fill": {"kind": "a\tb"}}, "separates columns"),
        ("HEAD\nu\ti\t7\n", {}, "end at 7, which is no time since 1970"),
        ("HEAD\nu\ti\t2026-03-01\n", {}, "line 2: '2026-03-01' .* no number"),
        ("HEAD\nu\ti\n", {}, "line 2: it has 2 fields"),
    ],
)  # fmt: skip
def test_a_data_set_that_does_not_go_with_a_log_is_one_line(tmp_path, text, wanted, reason):
    text = text.replace("HEAD", "user_id:token\titem_id:token\ttimestamp:float")
    base = data_set(tmp_path, text)
    path = written(tmp_path / "log.parquet", [row("r1", "i1")])
    with pytest.raises(InputError, match=reason) as caught:
        write([path], tmp_path / "new", Wanted(**wanted), data=base)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists() or list((tmp_path / "new").iterdir()) == []


def test_a_log_without_a_click_leaves_what_was_there(tmp_path):
    path = written(tmp_path / "log.parquet", [row("r1", "i1", "impression"), row("r1", "i1", user="r1")])
    (tmp_path / "new").mkdir()
    (tmp_path / "new/new.inter").write_text("before")
    with pytest.raises(InputError, match="holds no click that counts; left out: 1 of users without a name"):
        write([path], tmp_path / "new")
    assert [found.name for found in (tmp_path / "new").iterdir()] == ["new.inter"]
    assert (tmp_path / "new/new.inter").read_text() == "before"
    with pytest.raises(InputError, match="has no column 'position'"):
        write([pq_without(path, "position")], tmp_path / "new", Wanted(more=("position",)))


def pq_without(path, column):
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    return path


def test_a_token_that_the_encoding_lacks_is_one_line(tmp_path):
    path = written(tmp_path / "log.parquet", [row("r1", "i1", user="ж")])
    with pytest.raises(InputError, match=r"cannot be written in iso8859-1: a token has other letters"):
        write([path], tmp_path / "new", Wanted(form=Format(encoding="iso8859-1")))


def test_the_data_set_trains(small, tmp_path):
    random = np.random.default_rng(0)
    rows = [row(f"r{n}", f"{1 + random.integers(0, 20)}", second=60.0 * n, user=f"{1 + n % 8}") for n in range(160)]
    rows.append(row("stranger", "i1", user='tab\t"quote', second=1))
    path = written(tmp_path / "log.parquet", rows)
    summary = write([path], tmp_path / "live")
    given = SHORT_RUN | {"data_path": str(tmp_path), "show_progress": False, "checkpoint_dir": str(tmp_path / "saved")}
    config = build.build_config("YouTubeDNN", "live", overrides=given)
    data, *_ = build.build_data(config)
    assert summary.clicks == len(rows) - 1
    assert (data.user_num - 1, data.counts.kept["interactions"]) == (8, 160)
    from recbole_mind.quick_start import run

    found = run("YouTubeDNN", "live", overrides=given)
    assert found is not None
