"""Times: in any unit, as ISO 8601, and refused by line."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pytest

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.data import times
from recbole_mind.training import build
from tests.support.rows import HEAD, overrides, rows, targets, write_rows


def last_of(found):
    """Each user's last item by the ten lines that anybody would write."""
    return {user: max((float(t), item) for u, item, t in found if u == user)[1] for user, _, _ in found}


# -- times ---------------------------------------------------------------------------------------------------------


def iso(seconds, zone=""):
    moment = dt.datetime.fromtimestamp(float(seconds), dt.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + zone


@pytest.mark.parametrize("kind", ["float", "token"])
@pytest.mark.parametrize(
    "written",
    [
        lambda t: t,
        lambda t: f"{t}000",
        lambda t: f"{t}000000",
        lambda t: f"{t}123456789",
        lambda t: str(int(t) - 1_800_000_000),
        lambda t: f"{int(t) / 7:.9e}",
        iso,
        lambda t: iso(t, "Z"),
        lambda t: iso(t).replace("T", " "),
        lambda t: iso(t, ".250000"),
        lambda t: iso(int(t) + 7200, "+02:00"),
    ],
    ids=["s", "ms", "us", "ns", "negative", "exponent", "iso", "Z", "space", "fraction", "zone"],
)
def test_times_order_the_behaviours_in_any_unit_and_as_iso(tmp_path, kind, written):
    found = rows()
    path = write_rows(
        tmp_path, [[u, i, written(t)] for u, i, t in found], HEAD.replace("timestamp:float", f"timestamp:{kind}")
    )
    want = last_of(found)
    for more in ({}, {"lazy_sequences": False}, {"model": "SASRec"}):
        assert targets(tmp_path, **more) == want
    assert main.main(["pack", "a", f"--data_path={tmp_path}"]) == 0
    assert targets(tmp_path, packed=str(path.with_suffix(".packed"))) == want


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("", "no time in 'timestamp'"),
        ("nan", "no time in 'timestamp'"),
        ("NA", "no time in 'timestamp'"),
        ("inf", "'inf' is no time"),
        ("-Infinity", "'-Infinity' is no time"),
        ("1e999", "'1e999' is no time"),
        ("yesterday", "'yesterday' is no time"),
        ("31/12/2024", "'31/12/2024' is no time"),
        ("2024-02-30", "'2024-02-30'"),
        ("2024-05-31", "'2024-05-31' stands in 'timestamp' among times of the other kind"),
    ],
)
@pytest.mark.parametrize("kind", ["float", "token"])
def test_what_is_no_time_is_refused_by_line(tmp_path, capsys, kind, cell, words):
    found = rows()
    found[40][2] = cell
    path = write_rows(tmp_path, found, HEAD.replace("timestamp:float", f"timestamp:{kind}"))
    said = []
    for more in ({}, {"lazy_sequences": False}, {"model": "SASRec"}):
        with pytest.raises(InputError) as error:
            targets(tmp_path, **more)
        said.append(str(error.value))
    assert main.main(["pack", "a", f"--data_path={tmp_path}"]) == 2
    said.append(capsys.readouterr().err.strip().removeprefix("error: "))
    assert len(set(said)) == 1
    assert said[0].startswith(f"'{path}', line 42: ")
    assert words in said[0]


def test_a_row_that_is_left_out_needs_no_time(tmp_path):
    found = rows()
    write_rows(tmp_path, [*found, ["", "i1", ""], ["u1", "NA", "never"]])
    assert targets(tmp_path) == targets(tmp_path, lazy_sequences=False) == last_of(found)


def test_times_that_float64_cannot_tell_apart_are_refused():
    reader = times.Reader()
    near = ["1700000000123456789", "1700000000123456790", "5"]
    with pytest.raises(times.WrongCellError) as error:
        reader.read(near, np.ones(3, bool))
    assert (error.value.place, error.value.reason) == (1, "fine")
    assert times.Reader().read(["1700000000123456000"] * 2, np.ones(2, bool))[0] == 1700000000123456000


def test_iso_times_are_seconds_since_1970():
    cells = ["1970-01-01", "1970-01-01T00:00:01", "1969-12-31T23:59:59.5Z", "1970-01-01 02:00:00+02:00", "x"]
    needed = np.array([True, True, True, True, False])
    got = times.Reader().read(cells, needed)
    assert got[:4].tolist() == [0.0, 1.0, -0.5, 0.0]
    assert math.isnan(got[4])


@pytest.mark.parametrize("cell", ["2024-02-30", "1600-01-01", "3000-01-01T00:00:00", "9999-12-31"])
def test_iso_times_of_no_day_or_beyond_64_bit_nanoseconds_are_refused(cell):
    with pytest.raises(times.WrongCellError) as error:
        times.Reader().read(["2024-01-01", cell], np.ones(2, bool))
    assert (error.value.place, error.value.reason) == (1, "time")


def test_a_time_that_orders_nothing_stays_what_its_type_says(tmp_path):
    """A context model may embed the hour of the day, typed as a token."""
    write_rows(
        tmp_path, [[u, i, f"hour {t[-1]}"] for u, i, t in rows()], HEAD.replace("timestamp:float", "timestamp:token")
    )
    config = build.build_config("BPR", "a", overrides=overrides(tmp_path, "BPR", load_col=None))
    assert len(build.build_data(config)[0].field2id_token["timestamp"]) == 9
