"""The command that makes a data set of a log: what was clicked, as a person asks for it, and killed at any moment."""

import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_mind.cli.main import main
from tests import ROOT

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
CODE = "import sys; from recbole_mind.cli.main import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    rows = []
    for number in range(3000):
        about = {"request": f"r{number}", "channel": "mind", "user": f"u{number % 50}", "item": f"i{number % 70}"}
        for event in ("impression", "click")[: 1 + number % 2]:
            moment = START + timedelta(minutes=number)
            rows.append(about | {"time": moment, "event": event, "position": 1 + number % 5})
    path = tmp_path_factory.mktemp("log") / "events.parquet"
    pq.write_table(pa.Table.from_pylist([*rows, *rows[:100]]), path)
    return path


def test_a_person_makes_a_data_set_and_adds_a_log_to_it(log, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["interactions", str(log), "-o", "dataset/live", "--until=2026-03-01"]) == 0
    said = capsys.readouterr()
    assert said.out == "dataset/live/live.inter: 720 clicks\n"
    assert "left out: 33 repeated events" in said.err
    arguments = ["--data=dataset/live/live.inter", "--USER_ID_FIELD=user_id", "-o", "dataset/live"]
    assert main(["interactions", str(log), *arguments]) == 0
    assert capsys.readouterr().out == (
        "dataset/live/live.inter: 780 clicks, after 720 rows of 'dataset/live/live.inter'\n"
    )
    assert len((tmp_path / "dataset/live/live.inter").read_text().splitlines()) == 1501
    given = ["--impressions", "--with=channel", "--with=position", "--fill", "label=1", "channel=old", "position=0"]
    assert main(["interactions", str(log), *given, "-o", "ranked", "--data=dataset/live/live.inter"]) == 0
    assert "0 clicks and 1,500 impressions without one, after 1,500 rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--since=monday"], "since: 'monday' is not a day"),
        (["--fill", "rating"], "fill: 'rating' is not understood"),
        (["--fill", "rating=1", "rating=2"], "fill: 'rating' is there twice"),
        (["--USER_FIELD=uid"], "'USER_FIELD' is no setting of this command; did you mean 'USER_ID_FIELD'?"),
        (["--data=nowhere.inter"], "'nowhere.inter' cannot be read: No such file"),
        (["--field_separator="], "field_separator: "),
        (["--since=2030-01-01"], "holds no click that counts; left out: "),
    ],
)
def test_what_cannot_be_used_is_one_line(log, tmp_path, capsys, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    assert main(["interactions", str(log), "-o", "live", *arguments]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ")
    assert reason in said
    assert not (tmp_path / "live/live.inter").exists()


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_leaves_the_old_file_or_the_new_one(log, tmp_path, kind):
    """Stopped while it writes, which a pipe in place of the data set makes last."""
    target = tmp_path / "live/live.inter"
    target.parent.mkdir()
    target.write_text("before")
    base = tmp_path / "base.inter"
    row = f"u\ti\t{START.timestamp() - 9:.0f}\n"
    base.write_text("user_id:token\titem_id:token\ttimestamp:float\n" + row * 1_500_000)
    command = [sys.executable, "-c", CODE, "interactions", str(log), "-o", str(target.parent), "--data", str(base)]
    run = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while not any(path.stat().st_size > 2**16 for path in target.parent.glob(".live.inter.*.tmp") if path.is_file()):
        assert run.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    run.send_signal(kind)
    said = run.communicate(timeout=60)[1].decode()
    assert run.returncode != 0
    assert target.read_text() == "before"
    if kind == signal.SIGINT:
        assert said.strip() == "stopped"
        assert [path.name for path in target.parent.iterdir()] == ["live.inter"]
    assert main(["interactions", str(log), "-o", str(target.parent)]) == 0
    assert len(target.read_text().splitlines()) == 1501
