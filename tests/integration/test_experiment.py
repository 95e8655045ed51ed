"""The command that judges an experiment: from a log to what a person sees."""

import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_mind.cli.main import main


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    random, rows = np.random.default_rng(0), []
    for user in range(1200):
        channel = ("mind", "itemcf")[user % 2]
        for request in range(int(random.integers(1, 4))):
            time = datetime(2026, 3, 1 + int(random.integers(0, 2)), tzinfo=timezone.utc)
            for item in range(5):
                event = {"time": time, "request": f"{user}-{request}", "channel": channel, "user": f"u{user}"}
                event |= {"item": f"i{item}", "event": "impression"}
                rows.append(event)
                if random.random() < (0.1 if channel == "mind" else 0.05):
                    rows.append(event | {"event": "click"})
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_a_person_sees_rates_differences_and_days(log, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["experiment", str(log), "--control=itemcf", "--output=out"]) == 0
    said = capsys.readouterr().out
    figures = json.loads(Path("out/experiment.json").read_text())
    for name, rates in figures["channels"].items():
        line = next(line for line in said.splitlines() if line.startswith(name))
        assert f"{rates['pvctr']['value']:.2%}" in line
        assert f"{rates['uvctr']['value']:.2%}" in line
    assert figures["differences"]["mind"]["pvctr"]["p"] < 0.001
    assert "users as assigned: itemcf 50.0%, mind 50.0%" in said
    assert said.count("2026-03-0") == 4
    assert max(map(len, said.splitlines())) <= 80


def test_a_mismatch_is_said_aloud(log, capsys):
    assert main(["experiment", str(log), "--control=itemcf", "--share", "mind=0.6", "itemcf=0.4"]) == 0
    assert "sample-ratio mismatch: users were to be itemcf 40.0%, mind 60.0%" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "control: there are several channels"),
        (["--control=item"], "did you mean 'itemcf'?"),
        (["--control=itemcf", "--share", "mind"], "share: 'mind' is not understood"),
        (["--control=itemcf", "--share", "mind=0"], "share: 'mind=0' is not understood"),
        (["--control=itemcf", "--share", "mind=1", "mind=1"], "share: 'mind' is there twice"),
        (["--control=itemcf", "--since=March"], "since: 'March' is not a day; as 2026-03-01"),
        (["--control=itemcf", "--since=2027-01-01"], "it holds no impression that counts"),
        (["--control=itemcf", "--seed=-1"], "seed: -1 is not allowed"),
        (["--control=itemcf", f"--output={__file__}"], "is not a folder"),
    ],
)
def test_bad_arguments_are_one_line(log, arguments, reason, capsys):
    assert main(["experiment", str(log), *arguments]) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1
