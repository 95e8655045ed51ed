"""The leaderboard's runner: what runs, what is kept, what is made again, what is refused."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.config import loading
from recbole_mind.errors import InterruptedRun
from recbole_mind.evaluation.hits import Hits, per_user
from recbole_mind.experiments import executor, trial
from recbole_mind.experiments.leaderboard.runner import Leaderboard
from recbole_mind.experiments.leaderboard.spec import RunKey, read_spec
from recbole_mind.training import load
from recbole_mind.training import run as quick_start
from recbole_mind.training.trainer import SafeTrainer
from tests import ROOT
from tests.support.data import LOAD, SHORT_RUN, write_small
from tests.support.waiting import HANG, until

SMALL = SHORT_RUN | {"load_col": LOAD}
MODELS = {"MIND-1": {"model": "MIND", "K": 1}, "MIND": {"K": 2}}


def spec_file(folder: Path, data: Path, **more: object) -> Path:
    content = {
        "models": ["Pop", "YouTubeDNN", "MIND-1", "MIND"],
        "datasets": ["small"],
        "data_path": str(data),
        "protocols": ["leave-one-out"],
        "seeds": [1, 2],
        "settings": {"all": SMALL, **MODELS},
    } | more
    path = folder / "board.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return path


def made(path: Path, folder: Path, jobs: int = 1) -> tuple[Leaderboard, dict[RunKey, int]]:
    """Run what is missing; returns the leaderboard, and when each record was written."""
    board = Leaderboard(read_spec(path), folder, jobs)
    board.run(show_progress=False)
    times = {cell: (folder / f"records/{cell.file}").stat().st_mtime_ns for cell in board.done}
    return board, times


def figures(folder: Path) -> list[list[str]]:
    """The table of ``leaderboard.csv`` without what a clock decides."""
    with open(folder / "leaderboard.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [[value for key, value in row.items() if "seconds" not in key] for row in rows]


@pytest.fixture(scope="module")
def run_once(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        status = main.main(["leaderboard", str(spec_file(folder, small)), "--output", str(folder / "out")])
    assert status == 0
    return folder


def test_every_run_leaves_a_record_with_the_figures_of_the_plain_command(run_once, small):
    records = run_once / "out/records"
    assert len(list(records.glob("*.json"))) == 8
    record = json.loads((records / "small@leave-one-out@MIND-1@2.json").read_text())
    assert (record["label"], record["model"], record["config"]["K"], record["seed"]) == ("MIND-1", "MIND", 1, 2)
    assert record["protocol"]["name"] == "leave-one-out"
    overrides = SMALL | {"data_path": str(small), "protocol": "leave-one-out", "K": 1, "show_progress": False}
    result = quick_start.run("MIND", "small", overrides=overrides, seed=2)
    assert record["test"] == result.test
    assert record["epochs"] == result.epochs
    model = load.load(result.checkpoint).model
    assert record["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert not (run_once / "out/running").exists()


@pytest.mark.parametrize("label", ["Pop", "YouTubeDNN", "MIND"])
def test_the_hits_beside_a_record_are_its_figures(run_once, label):
    path = run_once / f"out/records/small@leave-one-out@{label}@1.json"
    record, hits = (
        json.loads(path.read_text()),
        Hits.load(path.with_name(path.name.removesuffix(".json") + ".hits.npz")),
    )
    assert len(hits.found) == 40
    assert (hits.numbers == 1).all()
    for metric, value in record["test"].items():
        assert per_user(hits, metric).mean() == pytest.approx(value, abs=1e-4)


def test_all_models_are_judged_on_the_same_users(run_once):
    files = (run_once / "out/records").glob("*.hits.npz")
    assert len({Hits.load(path).users for path in files}) == 1


def test_a_finished_leaderboard_runs_nothing_again(run_once):
    before = {path: path.stat().st_mtime_ns for path in (run_once / "out/records").iterdir()}
    table = figures(run_once / "out")
    assert main.main(["leaderboard", str(run_once / "board.yaml"), "--output", str(run_once / "out")]) == 0
    assert {path: path.stat().st_mtime_ns for path in (run_once / "out/records").iterdir()} == before
    assert figures(run_once / "out") == table


def test_only_what_changed_is_made_again(tmp_path):
    data = write_small(tmp_path / "data")
    path = spec_file(tmp_path, data, models=["YouTubeDNN", "MIND"], seeds=[1], settings={"all": SMALL})
    _, first = made(path, tmp_path / "out")
    path = spec_file(
        tmp_path, data, models=["YouTubeDNN", "MIND"], seeds=[1, 2], settings={"all": SMALL, "MIND": {"K": 3}}
    )
    board, second = made(path, tmp_path / "out")
    mind, youtube = RunKey("small", "leave-one-out", "MIND", 1), RunKey("small", "leave-one-out", "YouTubeDNN", 1)
    assert board.outdated == [(mind, "settings")]
    assert second[youtube] == first[youtube]
    assert second[mind] > first[mind]
    assert len(second) == 4
    trial.data_hash.cache_clear()
    with open(data / "small/small.inter", "a") as file:
        file.write("u0\ti1\t999999999\n")
    board = Leaderboard(read_spec(path), tmp_path / "out")
    assert {changed for _, changed in board.outdated} == {"data"}
    assert len(board.trials) == 4
    trial.data_hash.cache_clear()


def test_a_record_of_another_version_is_made_again(tmp_path, small):
    path = spec_file(
        tmp_path, small, models=["Pop"], seeds=[1], settings={"all": {"topk": [5], "valid_metric": "NDCG@5"}}
    )
    board, _ = made(path, tmp_path / "out")
    (cell,) = board.done
    record = tmp_path / "out/records/small@leave-one-out@Pop@1.json"
    content = json.loads(record.read_text())
    content["fingerprint"]["code"] = "recbole-mind 0.0.1"
    record.write_text(json.dumps(content))
    assert Leaderboard(read_spec(path), tmp_path / "out").outdated == [(cell, "code")]


def test_hits_of_another_run_are_not_taken_for_a_record_s(tmp_path, small):
    path = spec_file(tmp_path, small, models=["YouTubeDNN"], seeds=[1, 2], settings={"all": SMALL})
    made(path, tmp_path / "out")
    first, second = sorted((tmp_path / "out/records").glob("*.hits.npz"))
    first.write_bytes(second.read_bytes())  # as if killed between the hits and the record
    board = Leaderboard(read_spec(path), tmp_path / "out")
    assert [(cell.seed, changed) for cell, changed in board.outdated] == [(1, "hits")]


def test_metrics_without_hits_are_a_finished_run(tmp_path, small):
    more = SMALL | {"metrics": ["ItemCoverage"], "valid_metric": "ItemCoverage@5"}
    path = spec_file(tmp_path, small, models=["YouTubeDNN"], seeds=[1], settings={"all": more})
    made(path, tmp_path / "out")
    assert len(Leaderboard(read_spec(path), tmp_path / "out").done) == 1


def test_an_unfinished_run_goes_on_only_as_itself(tmp_path, small, monkeypatch):
    """Stopped in its second epoch it goes on from there; with other settings it starts again."""
    taken = []
    run = quick_start.run
    monkeypatch.setattr(quick_start, "run", lambda *a, **more: taken.append(more["resume"]) or run(*a, **more))
    save = SafeTrainer._save_last

    def stop(trainer):
        save(trainer)
        if trainer.epochs_run == 2:
            raise KeyboardInterrupt

    for changed in ({}, {"learning_rate": 0.02}):
        folder = tmp_path / f"out{len(changed)}"
        all_ = {"all": SMALL | {"checkpoint_minutes": 0}}
        path = spec_file(tmp_path, small, models=["YouTubeDNN"], seeds=[1], settings=all_)
        with monkeypatch.context() as patch:
            patch.setattr(SafeTrainer, "_save_last", stop)
            with pytest.raises(InterruptedRun, match="stopped: 0 of 1 runs are done; the same command goes on"):
                Leaderboard(read_spec(path), folder).run(show_progress=False)
        assert list(folder.glob("running/*/*.last.pth"))
        path = spec_file(tmp_path, small, models=["YouTubeDNN"], seeds=[1], settings={"all": all_["all"] | changed})
        board = Leaderboard(read_spec(path), folder)
        board.clear()
        board.run(show_progress=False)
        (record,) = board.done.values()
        assert record["protocol"]["resumed"] == (not changed)
        again, _ = made(path, tmp_path / f"whole{len(changed)}")
        assert record["test"] == next(iter(again.done.values()))["test"]
    assert [bool(resume) for resume in taken] == [False, True, False, False, False, False]


def test_settings_that_ship_are_where_a_model_starts(tmp_path, small, monkeypatch):
    ship = {"small": {"leave-one-out": {"MIND": {"K": 7, "dropout": 0.1}, "MIND-1": {"K": 1, "dropout": 0.4}}}}
    real = loading.defaults
    monkeypatch.setattr(
        loading, "defaults", lambda kind, name: ship[name] if kind == "leaderboard" else real(kind, name)
    )
    path = spec_file(tmp_path, small, models=["MIND", "MIND-1", "MIND-2", "Pop"], baseline="Pop", seeds=[1],
                     settings={"MIND-1": {"model": "MIND"}, "MIND-2": {"model": "MIND", "K": 2}},
                     protocols=["leave-one-out", "comirec"])  # fmt: skip
    spec = read_spec(path)
    chosen = {cell[1:3]: spec.overrides(cell) for cell in spec.cells()}
    found = {key: (more.get("K"), more.get("dropout")) for key, more in chosen.items() if key[1] != "Pop"}
    assert found == {
        ("leave-one-out", "MIND"): (7, 0.1),
        ("leave-one-out", "MIND-1"): (1, 0.4),
        ("leave-one-out", "MIND-2"): (2, 0.1),
        ("comirec", "MIND"): (None, None), ("comirec", "MIND-1"): (None, None), ("comirec", "MIND-2"): (2, None),
    }  # fmt: skip
    path.write_text(path.read_text() + "tuned: false\n")
    assert "dropout" not in read_spec(path).overrides(RunKey("small", "leave-one-out", "MIND", 1))


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["leave-one-out", "mind", "comirec"])
def test_recbole_s_models_stand_in_the_same_table(tmp_path, protocol):
    data = write_small(tmp_path / "data", users=200, items=50, length=20)
    known = SMALL | {"train_batch_size": 128, "hidden_size": 16, "epochs": 1, "user_inter_num_interval": "[5,inf)"}
    drop = () if protocol == "leave-one-out" else ("topk", "valid_metric")
    more = {"all": {key: value for key, value in known.items() if key not in drop} | {"topk": [5, 10]}}
    more["all"]["valid_metric"] = "NDCG@10"
    labels = ["ItemKNN", "BPR", "GRU4Rec", "SASRec", "SINE", "ComiRecSA", "ComiRecDR", "YouTubeDNN"]
    path = spec_file(tmp_path, data, models=labels, protocols=[protocol], seeds=[1], settings=more)
    board, _ = made(path, tmp_path / "out")
    assert {cell: record["error"] for cell, record in board.done.items() if "error" in record} == {}
    ran = [cell.label for cell in board.done]
    assert ran == (labels if protocol == "leave-one-out" else labels[2:])
    hits = [Hits.load(path) for path in (tmp_path / "out/records").glob("*.hits.npz")]
    assert len(hits) == len(ran)
    assert len({entry.users for entry in hits}) == 1
    assert (max(entry.numbers.max() for entry in hits) > 1) == (protocol == "comirec")
    (table,) = board.board().tables
    for cell, record in board.done.items():
        found = Hits.load(tmp_path / f"out/records/{cell.file.removesuffix('.json')}.hits.npz")
        for metric, value in record["test"].items():
            assert per_user(found, metric).mean() == pytest.approx(value, abs=1e-4)
    assert not [note for note in table.every_note if "another protocol" in note]


def test_a_failed_run_is_named_and_the_others_go_on(tmp_path, small, capsys):
    more = {"all": SMALL, "MIND": {"learning_rate": 1e30, "K": 2, "similarity": "dot"}}
    path = spec_file(tmp_path, small, models=["YouTubeDNN", "MIND"], seeds=[1], settings=more)
    assert main.main(["leaderboard", str(path), "--output", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "error: MIND, small, leave-one-out, seed 1: the training loss is" in error
    assert "Traceback" not in error
    assert [row for row in figures(tmp_path / "out") if "YouTubeDNN" in row]
    board = Leaderboard(read_spec(path), tmp_path / "out")
    assert [cell.label for cell in board.trials] == ["MIND"]  # it is tried again, and is not said to have changed
    assert board.outdated == []


KILLED = """
import sys
from recbole_mind.cli.main import main
sys.exit(main(["leaderboard", sys.argv[1], "--output", sys.argv[2]]))
"""


def start(spec: Path, folder: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, str(spec), str(folder)],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_leaderboard_ends_with_the_same_table(run_once, small, tmp_path, how):
    more = {"all": SMALL | {"checkpoint_minutes": 0}, **MODELS}  # kept after each step, so that a run goes on within
    spec, folder = spec_file(tmp_path, small, settings=more), tmp_path / "out"
    for records in (1, 4):  # stopped twice, once between two runs or in one
        process = start(spec, folder)
        until(lambda records=records: len(list(folder.glob("records/*.json"))) >= records, process)
        process.send_signal(how)
        error = process.communicate()[1].decode()
        if how == signal.SIGINT:
            assert process.returncode == 2
            assert "the same command goes on" in error
            assert "Traceback" not in error
    done = {path: path.stat().st_mtime_ns for path in folder.glob("records/*.json")}
    assert records <= len(done) < 8
    process = start(spec, folder)
    assert process.wait(HANG) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert figures(folder) == figures(run_once / "out")


def test_two_leaderboards_cannot_write_one_folder(tmp_path, small, capsys):
    from recbole_mind.util.files import alone_in

    with alone_in(tmp_path / "out"):
        assert main.main(["leaderboard", str(spec_file(tmp_path, small)), "--output", str(tmp_path / "out")]) == 2
    assert "another run is writing to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ["MINDD"]}, "did you mean 'MIND'"),
        ({"models": None}, "models: it is missing"),
        ({"models": []}, "models: [] is not allowed; allowed: a list of names"),
        ({"models": ["MIND", "MIND"]}, "models: ['MIND', 'MIND'] names one twice"),
        ({"models": ["MIND"], "settings": {"MIND": {"KK": 2}}}, "settings: MIND: unknown key 'KK'"),
        ({"models": ["MIND"], "settings": {"all": {"epoch": 2}}}, "no model has a key 'epoch'; did you mean 'epochs'?"),
        ({"settings": {"MIDN": {"K": 2}}}, "settings: 'MIDN' is unknown; did you mean 'MIND'?"),
        ({"settings": {"all": {"seed": 2}}, "models": ["MIND"]}, "'seed' is a key of the leaderboard"),
        ({"settings": {"all": {"dataset": "x"}}, "models": ["MIND"]}, "'dataset' is a key of the leaderboard"),
        ({"settings": {"all": {"model": "MIND"}}, "models": ["Pop"]}, "settings: all: 'model' is not allowed here"),
        ({"settings": []}, "settings: [] is not allowed"),
        ({"protocols": ["leave-two-out"]}, "protocols: 'leave-two-out' is unknown; did you mean 'leave-one-out'?"),
        ({"seeds": [1.5]}, "seeds: [1.5] is not allowed; allowed: a list of whole numbers"),
        ({"seeds": [-1]}, "seeds: [-1] is not allowed; allowed: a list of whole numbers, each at least 0"),
        ({"baseline": "SASRec"}, "baseline: 'SASRec' is not among the models"),
        ({"datasets": ["nowhere"]}, "nowhere.inter'"),
        ({"datasets": ["../small"]}, "'../small' is not allowed as a name"),
        ({"models": ["x" * 300], "settings": {"x" * 300: {"model": "MIND"}}}, "allowed: up to 80 letters"),
        ({"models": ["a@b"], "settings": {"a@b": {"model": "MIND"}}}, "'a@b' is not allowed as a name"),
        ({"models": ["small"], "settings": {"small": {"model": "MIND"}}}, "'small' is both a model and a data set"),
        ({"models": ["MIND"], "settings": {"MIND": {3: 4}}}, "settings: MIND: 3 is not allowed"),
        ({"models": ["MIND"], "settings": {1: {"K": 2}}}, "settings: 1 is not allowed; allowed: a name"),
        ({"models": ["MIND"], "settings": {"MIND": {"mask_history": False}}}, "'mask_history' is the same for all"),
        ({"models": ["MIND"], "settings": {"MIND": {"val_interval": {}}}}, "'val_interval' is the same for all"),
        ({"threads": 0}, "threads: 0 is not allowed"),
        ({"data_path": 3}, "data_path: 3 is not allowed"),
        ({"tuned": "no"}, "tuned: 'no' is not allowed"),
        ({"model": ["MIND"]}, "unknown key 'model'; did you mean 'models'?"),
        ({"settings": {"all": SMALL | {"metrics": ["Recal"]}, **MODELS}}, "Recal"),
        ({"settings": {"all": SMALL, **MODELS, "MIND": {"K": 0}}}, "MIND, small, leave-one-out: K: 0 is not allowed"),
        ({"not_run": {"SASRec": "slow"}}, "not_run: 'SASRec' is not among the models"),
        ({"not_run": {"MIND": 3}}, "not_run: MIND: 3 is not allowed"),
    ],
)
def test_bad_files_get_one_line(tmp_path, small, capsys, change, message):
    if "settings" not in change and "models" in change:
        change = change | {"settings": None}
    if "settings" in change and change["settings"] and "MIND-1" not in change["settings"] and "models" not in change:
        change = change | {"settings": change["settings"] | MODELS}
    path = spec_file(tmp_path, small, **change)
    assert main.main(["leaderboard", str(path), "--output", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not list(tmp_path.glob("out/records/*"))


def test_data_without_time_is_refused_before_anything_runs(tmp_path):
    data = write_small(tmp_path / "data")
    lines = (data / "small/small.inter").read_text().splitlines()
    (data / "small/small.inter").write_text("\n".join("\t".join(line.split("\t")[:2]) for line in lines))
    with pytest.raises(
        InputError, match=r"small.inter' has no field 'timestamp', and protocol 'leave-one-out' orders by"
    ):
        Leaderboard(read_spec(spec_file(tmp_path, data)), tmp_path / "out")


def test_a_protocol_that_leaves_no_test_user_fails_in_one_line(tmp_path, capsys):
    data = write_small(tmp_path / "data", users=4)
    settings = {"YouTubeDNN": {key: value for key, value in SMALL.items() if key not in ("topk", "valid_metric")}}
    path = spec_file(tmp_path, data, models=["YouTubeDNN"], protocols=["comirec"], seeds=[1], settings=settings)
    assert main.main(["leaderboard", str(path), "--output", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "error: YouTubeDNN, small, comirec, seed 1: " in error
    assert "leaves no user for" in error
    assert "Traceback" not in error


def test_a_file_that_is_no_record_is_refused(tmp_path, small):
    path = spec_file(
        tmp_path, small, models=["Pop"], seeds=[1], settings={"all": {"topk": [5], "valid_metric": "NDCG@5"}}
    )
    record = tmp_path / "out/records/small@leave-one-out@Pop@1.json"
    record.parent.mkdir(parents=True)
    for text, message in (
        ("{", "is corrupt: it is not JSON"),
        ("[]", "is not a record"),
        ('{"a": 1}', "is not a record"),
    ):
        record.write_text(text)
        with pytest.raises(InputError, match=message):
            Leaderboard(read_spec(path), tmp_path / "out")


def test_what_is_left_out_is_named(tmp_path, small):
    path = spec_file(
        tmp_path, small, models=["YouTubeDNN", "MIND", "Pop"], seeds=[1], protocols=["leave-one-out", "comirec"],
        settings={"all": {key: value for key, value in SMALL.items() if key not in ("topk", "valid_metric")}},
        not_run={"MIND": {"small": "an hour an epoch"}},
    )  # fmt: skip
    board = Leaderboard(read_spec(path), tmp_path / "out")
    assert board.absent[("small", "leave-one-out", "MIND")] == "an hour an epoch"
    assert "test users are not in training" in board.absent[("small", "comirec", "Pop")]
    assert {cell[:3] for cell in board.trials} == {
        ("small", "leave-one-out", "YouTubeDNN"), ("small", "leave-one-out", "Pop"), ("small", "comirec", "YouTubeDNN"),
    }  # fmt: skip


# -- spread -------------------------------------------------------------------------------------------------------


def test_spread_here_keeps_the_order():
    started = []
    assert list(executor.spread(str, [3, 1, 2], started=started.append)) == [(0, "3"), (1, "1"), (2, "2")]
    assert started == [0, 1, 2]


@pytest.mark.ray
@pytest.mark.slow
def test_two_jobs_by_ray_give_the_same_table(run_once, small, tmp_path):
    spec = spec_file(tmp_path, small)
    assert main.main(["leaderboard", str(spec), "--output", str(tmp_path / "out"), "--jobs", "2"]) == 0
    assert figures(tmp_path / "out") == figures(run_once / "out")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "nobody answers at '127.0.0.1:1'"),
        ("nowhere", "'nowhere' is not allowed"),
        ("h:99999", "h:99999"),
    ],
)
def test_a_cluster_that_is_not_there(address, message):
    with pytest.raises(InputError, match=message):
        list(executor.spread(str, [1], ray=address))


def test_jobs_below_one():
    with pytest.raises(InputError, match="jobs: 0 is not allowed"):
        list(executor.spread(str, [1], jobs=0))
