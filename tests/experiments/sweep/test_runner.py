"""Sweeps: what a trial leaves, what a killed one goes on with, what is refused, and that no test figure is seen."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import yaml

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.errors import InterruptedRun
from recbole_mind.experiments import trial
from recbole_mind.experiments.executor import check_address
from recbole_mind.experiments.sweep import runner
from recbole_mind.experiments.sweep.early_stopping import Halving
from recbole_mind.experiments.sweep.spec import read_spec
from recbole_mind.experiments.sweep.state import Sweep
from recbole_mind.training import run as quick_start
from recbole_mind.training import steps
from tests import ROOT
from tests.support.data import LOAD, SHORT_RUN, write_small
from tests.support.waiting import HANG, until

FIXED = SHORT_RUN | {"protocol": "leave-one-out", "load_col": {"inter": LOAD["inter"]}}
SPACE = {
    "K": {"int": [1, 3]},
    "p": {"choice": [0, 2, float("inf")], "when": {"K": [2, 3]}},
    "learning_rate": {"loguniform": [0.001, 0.02]},
}


def content(data: Path, **more: object) -> dict[str, object]:
    said = {
        "model": "MIND", "dataset": "small", "settings": FIXED | {"data_path": str(data)}, "space": SPACE,
        "algo": "anneal", "max_evals": 4, "final_seeds": [1, 2],
    }  # fmt: skip
    return {key: value for key, value in (said | more).items() if value is not None}


def spec_file(folder: Path, data: Path, **more: object) -> Path:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(content(data, **more)))
    return path


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def what_came(folder: Path) -> dict[str, object]:
    """Every record without what a clock or a place decides."""
    records = {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("records/*.json"))}
    kept = ("drawn", "seed", "valid", "test", "curve", "epochs", "stopped", "error", "number")
    return {name: {key: record[key] for key in kept if key in record} for name, record in records.items()}


@pytest.fixture(scope="module")
def swept(small, tmp_path_factory):
    """A folder with a finished sweep of four trials in ``out``."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        status = main.main(["sweep", str(spec_file(folder, small)), "--output", "out"])
    assert status == 0
    return folder


def test_every_trial_leaves_a_record_without_a_test_figure(swept):
    for number in range(1, 5):
        record = json.loads((swept / f"out/records/{number}.json").read_text())
        assert record["number"] == number
        assert record["test"] == {}
        assert record["hits"] is None
        assert len(record["curve"]) == record["epochs"] == 2
        assert max(record["curve"]) == record["valid"]["ndcg@10"]
        assert record["config"]["K"] == record["drawn"]["K"]
        assert ("p" in record["drawn"]) == (record["drawn"]["K"] > 1)
    assert not (swept / "out/running").exists()


def test_the_table_has_a_line_for_each_trial(swept):
    rows = table(swept / "out")
    assert [row["trial"] for row in rows] == ["1", "2", "3", "4"]
    for row in rows:
        record = json.loads((swept / f"out/records/{row['trial']}.json").read_text())
        assert float(row["valid ndcg@10"]) == record["valid"]["ndcg@10"]
        assert row["K"] == str(record["drawn"]["K"])
        assert float(row["seconds"]) == record["seconds"] >= sum(record["phases"].values()) - 0.02
        assert row["status"] == "done"


def test_the_winner_has_the_best_validation_and_its_file_gives_its_test_again(swept, capsys):
    records = {n: json.loads((swept / f"out/records/{n}.json").read_text()) for n in range(1, 5)}
    best = max(records, key=lambda number: (records[number]["valid"]["ndcg@10"], -number))
    tested = json.loads((swept / "out/records/final@1.json").read_text())
    assert tested["trial"] == best
    assert tested["test"]["ndcg@10"] > 0
    assert main.run_recbole(["--config_files", str(swept / "out/best.yaml"), "--record=best.json"]) == 0
    again = json.loads(Path("best.json").read_text())
    assert again["test"] == tested["test"]
    assert again["seed"] == 1
    capsys.readouterr()
    arguments = ["--model=MIND", "--dataset=small", f"--config_files={swept / 'out/best.yaml'}", "--epochs=1"]
    assert main.run_recbole(arguments) == 0  # as an addition to what the command says


@pytest.mark.parametrize("algo", ["tpe", "random", "exhaustive"])
def test_the_same_seed_gives_the_same_trials_and_winner(small, tmp_path, algo):
    space = {"K": {"int": [1, 3]}, "sigma": {"choice": [0.5, 1], "when": {"K": [2, 3]}}}
    said = content(small, space=space, algo=algo, max_evals=3 if algo == "random" else None, final_seeds=[1])
    if algo == "tpe":
        said |= {"space": SPACE, "max_evals": 3}
    first, second = (runner.run(said, tmp_path / name, overrides={"epochs": 1}) for name in ("a", "b"))
    assert what_came(tmp_path / "a") == what_came(tmp_path / "b")
    assert (first.best, first.value, first.test) == (second.best, second.value, second.test)
    if algo == "exhaustive":
        assert len(first.trials) == 5  # K=1, and two values of sigma for K=2 and for K=3
        assert len({str(row["settings"]) for row in first.trials}) == 5


def test_no_trial_looks_at_the_test_set(small, tmp_path, monkeypatch):
    seen: list[bool] = []
    run = quick_start.run

    def watched(*arguments, **keywords):
        seen.append(keywords.get("test", True))
        return run(*arguments, **keywords)

    monkeypatch.setattr(quick_start, "run", watched)
    monkeypatch.setattr(steps, "describe_interests", _raises_unless_tested(seen))
    result = runner.run(content(small, max_evals=2), tmp_path / "out")
    assert seen == [False, False, True, True]
    assert result.failed == {}
    assert all(row["error"] is None for row in result.trials)


def _raises_unless_tested(seen):
    def describe(model, test_data):
        assert seen[-1], "the test histories were read in a trial"
        return {}

    return describe


def _other_tests(source: Path, target: Path) -> None:
    """Write ``small`` with each user's last item changed for that of a user before, and all else as it was.

    The last behaviours stand at the end of both files, so that items appear in the same order and get the same ids.
    """
    lines = (source / "small/small.inter").read_text().splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    last = {user: max((row for row in rows if row[0] == user), key=lambda row: int(row[2])) for user, _, _ in rows}
    body = [row for row in rows if row not in last.values()]
    users = sorted(last)
    seen = {user: {row[1] for row in rows if row[0] == user} for user in users}
    known = sorted({row[1] for row in body})
    for folder, changes in ((source, False), (target, True)):
        ends = []
        for place, user in enumerate(users):
            unseen = [item for item in known if item not in seen[user]]
            ends.append([user, unseen[(7 * place) % len(unseen)] if changes else last[user][1], last[user][2]])
        if not changes:  # an item that only tests know would get another id
            ends = [[user, item if item in known else known[0], at] for user, item, at in ends]
        (folder / "small").mkdir(parents=True, exist_ok=True)
        text = "\n".join([lines[0], *("\t".join(row) for row in body + ends)])
        (folder / "small/small.inter").write_text(text + "\n")


def test_other_test_targets_change_no_trial_and_no_winner(tmp_path):
    """If a test figure reached the search, its suggestions would differ: everything but the test sets is the same."""
    first = write_small(tmp_path / "first")
    _other_tests(first, tmp_path / "second")
    results = []
    for name in ("first", "second"):
        trial.data_hash.cache_clear()
        results.append(runner.run(content(tmp_path / name, max_evals=7), tmp_path / f"out-{name}"))
    trial.data_hash.cache_clear()
    assert results[0].trials[0]["settings"] != results[0].trials[1]["settings"]
    for key in ("settings", "valid", "curve"):
        assert [row[key] for row in results[0].trials] == [row[key] for row in results[1].trials]
    assert results[0].best == results[1].best
    assert results[0].test != results[1].test


def test_a_record_s_test_figures_tell_the_search_nothing(swept, small, tmp_path):
    made = Sweep(read_spec(content(small)), tmp_path / "out")
    for number in range(1, 5):
        made.next()
        record = json.loads((swept / f"out/records/{number}.json").read_text())
        made.ended(number, record | {"test": {"ndcg@10": 1.0 / number}})
        assert made.search.losses[number] == -record["valid"]["ndcg@10"]
    tested = json.loads((swept / "out/records/final@1.json").read_text())
    assert made.winner()[2] == tested["trial"]


# -- stopped and resumed ------------------------------------------------------------------------------------------


def test_an_interrupted_sweep_goes_on_with_the_same_trials(swept, small, tmp_path, monkeypatch):
    made, real = [], trial.execute

    def counted(task, *arguments):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(task.record.name)
        return real(task, *arguments)

    monkeypatch.setattr(runner, "execute", counted)
    with pytest.raises(InterruptedRun, match="stopped: 2 of 4 trials are done; the same command with --resume goes on"):
        runner.run(content(small), tmp_path / "out")
    assert len(table(tmp_path / "out")) == 2
    monkeypatch.setattr(runner, "execute", lambda task, *a: made.append(task.record.name) or real(task, *a))
    runner.run(content(small), tmp_path / "out", resume=True)
    assert made == ["1.json", "2.json", "3.json", "4.json", "final@1.json", "final@2.json"]
    assert what_came(tmp_path / "out") == what_came(swept / "out")
    runner.run(content(small), tmp_path / "out", resume=True)
    assert len(made) == 6  # nothing is left to do


def test_more_trials_can_be_asked_for_later(swept, small, tmp_path):
    runner.run(content(small, max_evals=2), tmp_path / "out")
    result = runner.run(content(small), tmp_path / "out", resume=True)
    assert len(result.trials) == 4
    assert what_came(tmp_path / "out") == what_came(swept / "out")


def test_a_folder_with_a_sweep_is_not_written_over(swept, small, capsys):
    path = str(spec_file(swept, small))
    before = what_came(swept / "out")
    for arguments, message in (
        ([], "holds a sweep; --resume goes on with it, or choose another folder"),
        (["--resume", "--seed", "2"], "holds another sweep: its space, settings, algorithm or seed are not these"),
        (["--resume", "--epochs=3"], "holds another sweep"),
        (["--resume", "--algo", "tpe"], "holds another sweep"),
    ):
        assert main.main(["sweep", path, "--output", str(swept / "out"), *arguments]) == 2
        assert message in capsys.readouterr().err
    assert what_came(swept / "out") == before


def test_other_data_are_another_sweep(tmp_path):
    data = write_small(tmp_path / "data")
    trial.data_hash.cache_clear()
    runner.run(content(data, max_evals=1, final_seeds=[]), tmp_path / "out")
    with open(data / "small/small.inter", "a") as file:
        file.write("u0\ti1\t999999999\n")
    trial.data_hash.cache_clear()
    with pytest.raises(InputError, match="the data changed since the sweep began"):
        runner.run(content(data, max_evals=1, final_seeds=[]), tmp_path / "out", resume=True)
    trial.data_hash.cache_clear()


def test_a_folder_of_something_else_and_a_broken_state_are_refused(small, tmp_path):
    for name, text, message in (
        ("records/1.json", "{}", "holds records of something else"),
        ("sweep.json", "{", "is corrupt: it is not JSON"),
        ("sweep.json", "[]", "is not the state of a sweep"),
        ("sweep.json", '{"format": "recbole-mind sweep", "version": 9}', "format version 9; this release reads 1"),
        ("sweep.json", '{"format": "recbole-mind sweep", "version": 1}', "is corrupt: it is incomplete"),
    ):
        folder = tmp_path / message[-9:].replace(" ", "")
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
        with pytest.raises(InputError, match=message):
            runner.run(content(small), folder, resume=True)


STARTED = """
import sys
from recbole_mind.cli.main import main
sys.exit(main(["sweep", *sys.argv[1:]]))
"""


def start(*arguments: str | Path, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", STARTED, *map(str, arguments)], cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=stdout, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_sweep_ends_as_one_that_was_not(swept, small, tmp_path, how):
    spec, folder = spec_file(tmp_path, small), tmp_path / "out"
    for count in (1, 3):  # stopped twice
        process = start(spec, "--output", folder, "--resume")
        until(lambda count=count: len(list(folder.glob("records/*.json"))) >= count, process)
        process.send_signal(how)
        error = process.communicate()[1].decode()
        if how == signal.SIGINT:
            assert process.returncode == 2
            assert "the same command with --resume goes on" in error
            assert "Traceback" not in error
    done = {path: path.stat().st_mtime_ns for path in folder.glob("records/*.json")}
    process = start(spec, "--output", folder, "--resume")
    assert process.wait(HANG) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done  # none was made twice
    assert what_came(folder) == what_came(swept / "out")


# -- trials that fail ---------------------------------------------------------------------------------------------


def test_a_failed_trial_is_named_and_the_others_go_on(small, tmp_path, monkeypatch, capsys):
    run = quick_start.run

    def failing(*arguments, **keywords):
        rate = keywords["overrides"]["learning_rate"]
        if rate == 0.5:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: 9 bytes")
        return run(*arguments, **keywords)

    monkeypatch.setattr(quick_start, "run", failing)
    rates = {"learning_rate": {"choice": [0.5, 1.0e30, 0.01]}}
    fixed = FIXED | {"data_path": str(small), "similarity": "dot"}
    path = spec_file(tmp_path, small, space=rates, algo="exhaustive", max_evals=None, settings=fixed)
    assert main.main(["sweep", str(path), "--output", "out"]) == 0
    error = capsys.readouterr().err
    assert "[2/3] trial 2: learning_rate=1e+30: failed: the training loss is" in error
    assert "2 failed" not in error.splitlines()[0]
    rows = table(Path("out"))
    assert [row["status"] for row in rows] == ["failed", "failed", "done"]
    assert rows[0]["error"].startswith("out of memory: ")
    assert rows[1]["error"].startswith("the training loss is ")
    assert yaml.safe_load(Path("out/best.yaml").read_text())["learning_rate"] == 0.01
    before = what_came(Path("out"))
    assert main.main(["sweep", str(path), "--output", "out", "--resume"]) == 0
    assert what_came(Path("out")) == before  # a failed trial is not made again


def test_a_sweep_in_which_all_fail_has_no_winner(small, tmp_path, capsys):
    fixed = FIXED | {"data_path": str(small), "similarity": "dot"}
    path = spec_file(tmp_path, small, space={"learning_rate": {"choice": [1.0e30]}}, algo="exhaustive",
                     max_evals=None, settings=fixed)  # fmt: skip
    assert main.main(["sweep", str(path), "--output", "out"]) == 1
    assert "failed: trial 1" in capsys.readouterr().err
    assert not Path("out/best.yaml").exists()


def test_values_that_do_not_go_together_fail_as_a_trial(small, tmp_path):
    space = {"loss_type": {"choice": ["BPR", "CE"]}, "train_neg_sample_args": {"choice": [None, [1]]}}
    with pytest.raises(InputError, match="space: train_neg_sample_args: "):
        runner.run(content(small, space=space, algo="exhaustive", max_evals=None), tmp_path / "out")
    space = {"sparse_updates": {"choice": [True, False]}, "weight_decay": {"choice": [0.0, 0.1]}}
    fixed = FIXED | {"data_path": str(small), "loss_type": "sampled", "num_negatives": 10, "epochs": 1}
    said = content(small, space=space, algo="exhaustive", max_evals=None, settings=fixed, final_seeds=[1])
    result = runner.run(said, tmp_path / "out")
    assert [row["error"] is None for row in result.trials] == [True, False, True, True]
    assert "weight_decay moves every row" in result.trials[1]["error"]


# -- curves and models --------------------------------------------------------------------------------------------


def test_curves_share_their_common_point_and_are_judged_by_the_mean(small, tmp_path):
    said = content(small, space=None, algo=None, max_evals=None, curves={"sigma": [0.1, 1], "K": [2, 4]}, seeds=[1, 2],
                   final_seeds=[1])  # fmt: skip
    result = runner.run(said, tmp_path / "out")
    points = [(row["settings"], row["seed"]) for row in result.trials]
    once = [{"sigma": 0.1, "K": 4}, {"sigma": 1, "K": 4}, {"sigma": 1, "K": 2}]
    assert points == [(point, seed) for seed in (1, 2) for point in once]
    means = {}
    for row in result.trials:
        means.setdefault(str(row["settings"]), []).append(row["valid"]["ndcg@10"])
    assert result.value == pytest.approx(max(sum(values) / 2 for values in means.values()))
    assert sum(means[str(result.best)]) / 2 == result.value


def test_a_sweep_over_models_gives_each_its_own_settings(small, tmp_path):
    space = {
        "model": {"choice": ["MIND", "YouTubeDNN", "Pop"]},
        "K": {"choice": [2], "when": {"model": ["MIND"]}},
        "dropout": {"choice": [0.1], "when": {"model": ["MIND", "YouTubeDNN"]}},
    }
    said = content(small, model=None, space=space, algo="exhaustive", max_evals=None, final_seeds=[1])
    result = runner.run(said, tmp_path / "out")
    assert [row["settings"] for row in result.trials] == [
        {"model": "MIND", "K": 2, "dropout": 0.1}, {"model": "YouTubeDNN", "dropout": 0.1}, {"model": "Pop"},
    ]  # fmt: skip
    assert result.failed == {}
    assert yaml.safe_load((tmp_path / "out/best.yaml").read_text())["model"] == result.best["model"]


@pytest.mark.parametrize("path", sorted((ROOT / "properties/sweep").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sweep_that_ships_can_begin(path, tmp_path):
    made = Sweep(read_spec(path.name), tmp_path / "out")
    made.open(resume=False)
    number, task = made.next()
    assert number == 1
    assert task.model == made.spec.models[0]
    assert task.test is False
    assert made.plan.total == {"mind-paper": 14 * 3, "mind": 40, "itemknn": 12}.get(path.stem, made.plan.total)


def test_the_paper_s_curves_are_the_paper_s():
    spec = read_spec("mind-paper.yaml")
    assert {name: [float(value) for value in values] for name, values in spec.curves.items()} == {
        "sigma": [0.1, 1, 5], "p": [0, 1, 2, 4, 8, float("inf")], "K": [1, 2, 3, 4, 5, 6, 7],
    }  # fmt: skip
    assert spec.seeds == (1, 2, 3)


# -- early stopping -----------------------------------------------------------------------------------------------


def test_halving_by_hand():
    halving = Halving(epochs=9, grace=1, reduction=3, bigger=True)
    assert not halving.stops("a", [0.3])  # the first has nobody to be compared with
    assert not halving.stops("b", [0.6])
    assert halving.stops("c", [0.2])  # two thirds of the way from .3 to .6 is the bar: .5
    assert not halving.stops("d", [0.7])
    assert not halving.stops("d", [0.7, 0.1])  # no rung at 2
    assert not halving.stops("d", [0.7, 0.1, 0.1])  # the first at 3
    assert halving.stops("b", [0.6, 0.9, 0.05])
    again = Halving(epochs=9, grace=1, reduction=3, bigger=True)
    for name, curve in (("a", [0.3]), ("b", [0.6, 0.9, 0.05]), ("c", [0.2]), ("d", [0.7, 0.1, 0.1])):
        again.stops(name, curve)
    for known in (halving, again):
        assert known.stops("e", [0.2])
        assert not known.stops("f", [0.9])


def test_less_can_be_better():
    halving = Halving(epochs=4, grace=1, reduction=2, bigger=False)
    assert not halving.stops("a", [0.3])
    assert halving.stops("b", [0.4])
    assert not halving.stops("c", [0.1])


def test_bad_trials_end_early_and_a_resumed_sweep_decides_alike(small, tmp_path, monkeypatch):
    more = {"early_stop": {"grace": 1, "reduction": 2}, "algo": "random", "max_evals": 6, "final_seeds": [1]}
    said = content(small, settings=FIXED | {"data_path": str(small), "epochs": 4}, **more)
    result = runner.run(said, tmp_path / "whole")
    stopped = [row for row in result.trials if row["stopped"]]
    assert stopped
    assert len(stopped) < 6
    for row in result.trials:
        assert len(row["curve"]) == row["epochs"]
        assert (row["epochs"] < 4) == row["stopped"]
        assert row["valid"]["ndcg@10"] == max(row["curve"])
    record = json.loads((tmp_path / f"whole/records/{stopped[0]['number']}.json").read_text())
    assert record["stopped"] == record["epochs"] == stopped[0]["epochs"]
    assert json.loads((tmp_path / "whole/records/final@1.json").read_text())["epochs"] == 4
    made, real = [], trial.execute

    def killed(task, *arguments):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(task)
        return real(task, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "execute", killed)
        with pytest.raises(InterruptedRun):
            runner.run(said, tmp_path / "parts")
    runner.run(said, tmp_path / "parts", resume=True)
    assert what_came(tmp_path / "parts") == what_came(tmp_path / "whole")


# -- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spaec": {}}, "unknown key 'spaec'; did you mean 'space'?"),
        ({"space": None}, "one of 'space' (a search) and 'curves' (values to try) is needed"),
        ({"curves": {"K": [1]}}, "one of 'space' (a search) and 'curves'"),
        ({"space": {}}, "space: it is empty"),
        ({"space": {"K": {"choise": [1]}}}, "the distribution 'choise' is unknown; did you mean 'choice'?"),
        ({"space": {"learning_rate": {"uniform": [0.1, 0.01]}}}, "the lower bound is not below the upper one"),
        ({"space": {"learning_rate": {"uniform": [0.1, float("inf")]}}}, "a bound is not finite"),
        ({"space": {"learning_rate": {"uniform": [float("nan"), 1]}}}, "a bound is not finite"),
        ({"space": {"KK": {"choice": [1]}}}, "space: unknown key 'KK' for MIND"),
        ({"space": {"sigmaa": {"choice": [1]}}}, "did you mean 'sigma'?"),
        ({"space": {"K": {"int": [0, 3]}}}, "space: K: K: 0 is not allowed"),
        ({"space": {"sigma": {"uniform": [-1, 1]}}}, "space: sigma: sigma: -1.0 is not allowed"),
        ({"space": {"p": {"choice": ["hard"]}}}, "space: p: p: 'hard' is not a number"),
        ({"space": {"p": {"choice": [1], "when": {"form": ["pow"]}}}}, "space: p: when: unknown key 'form'"),
        ({"space": {"K": {"choice": [1], "when": {"model": ["SASRec"]}}}}, "nothing in it applies to MIND"),
        ({"space": {"seed": {"choice": [1]}}}, "space: 'seed' says how or where trials are judged"),
        ({"space": {"topk": {"choice": [[5]]}}}, "space: 'topk' says how or where trials are judged"),
        ({"space": {"item_pool": {"choice": ["a", "b"]}}}, "space: 'item_pool' says how or where trials are judged"),
        ({"space": {"window_days": {"choice": [1, 2]}}}, "space: 'window_days' says how or where trials are judged"),
        (
            {"space": {"epochs": {"choice": [1]}}, "settings": {}, "early_stop": {"grace": 1, "reduction": 2}},
            "trials that differ in 'epochs' cannot be halved",
        ),
        ({"space": {"embedding_size": {"choice": [8]}}}, "'embedding_size' has a value under 'settings' too"),
        ({"settings": {"seed": 3}}, "settings: 'seed' is a key of the sweep"),
        ({"settings": {"epoch": 3}}, "settings: unknown key 'epoch' for MIND; did you mean 'epochs'?"),
        ({"settings": []}, "settings: [] is not allowed; allowed: settings of all trials"),
        ({"settings": {"K": 0}, "space": {"p": {"choice": [1]}}}, "K: 0 is not allowed"),
        ({"model": "MINDD"}, "did you mean 'MIND'"),
        ({"model": None}, "model: no model is named"),
        ({"dataset": None}, "dataset: no data set is named"),
        ({"dataset": "nowhere"}, "dataset: there is no file '"),
        ({"model": "SASRec"}, "for SASRec"),
        ({"algo": "bayes"}, "algo: 'bayes' is unknown"),
        ({"algo": "exhaustive"}, "exhaustive cannot visit every value of 'learning_rate'"),
        ({"max_evals": 0}, "max_evals: 0 is not allowed"),
        ({"seed": -1}, "seed: -1 is not allowed"),
        ({"threads": 0}, "threads: 0 is not allowed"),
        ({"seeds": [1, 2]}, "seeds: [1, 2] is not allowed: a search has one"),
        ({"final_seeds": [1, 1]}, "final_seeds: [1, 1] names one twice"),
        ({"final_seeds": ["a"]}, "final_seeds: ['a'] is not allowed"),
        ({"metric": "NDCG@7"}, "valid_metric: 'ndcg@7' is not evaluated"),
        ({"metric": 3}, "metric: 3 is not allowed"),
        ({"early_stop": {"grace": 1}}, "early_stop: {'grace': 1} is not allowed"),
        ({"early_stop": {"grace": 9, "reduction": 3}}, "early_stop: grace: 9 is more than a trial's 2 epochs"),
        ({"early_stop": {"grace": 1, "reduction": 1}}, "early_stop: reduction: 1 is not allowed"),
        ({"resources": {"cpus": 1}}, "resources: {'cpus': 1} is not allowed"),
        ({"space": None, "curves": {"K": [1]}}, "algo: curves are no search"),
        ({"space": None, "curves": {"K": []}, "algo": None, "max_evals": None}, "curves: K: [] is not allowed"),
        ({"space": None, "curves": {"K": [1, 1]}, "algo": None, "max_evals": None}, "curves: K: [1, 1] names one"),
        ({"space": None, "curves": {"KK": [1]}, "algo": None, "max_evals": None}, "curves: unknown key 'KK'"),
        ({"space": None, "curves": {"K": [0]}, "algo": None, "max_evals": None}, "curves: K: K: 0 is not allowed"),
    ],
)
def test_bad_files_get_one_line(small, tmp_path, capsys, change, message):
    path = spec_file(tmp_path, small, **change)
    assert main.main(["sweep", str(path), "--output", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not list(tmp_path.glob("out/*"))


def test_bad_arguments_get_one_line(small, tmp_path, capsys):
    path = str(spec_file(tmp_path, small))
    for arguments, message in (
        ([path], "--output"),
        ([path, "--output", "out", "--max-evals", "x"], "--max-evals"),
        ([path, "--output", "out", "--jobs", "0"], "jobs: 0 is not allowed"),
        ([path, "--output", "out", "extra"], "argument 'extra' is not understood"),
        ([path, "--output", "out", "--K=3"], "space: 'K' has a value under 'settings' too"),
        (["nosuch.yaml", "--output", "out"], "there is no such file here, and those that ship are "),
        (["no/such.yaml", "--output", "out"], "cannot be read: No such file"),
        (["no/such.test", "--output", "out"], "cannot be read: No such file"),
    ):
        assert main.main(["sweep", *arguments]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert message in lines[0]


def test_data_without_time_are_refused_before_anything_runs(tmp_path):
    data = write_small(tmp_path / "data")
    lines = (data / "small/small.inter").read_text().splitlines()
    (data / "small/small.inter").write_text("\n".join("\t".join(line.split("\t")[:2]) for line in lines))
    with pytest.raises(InputError, match=r"small.inter' has no field 'timestamp', and protocol 'leave-one-out'"):
        runner.run(content(data), tmp_path / "out")
    assert not (tmp_path / "out/sweep.json").exists()


def test_a_text_file_of_recbole_s(small, tmp_path):
    path = tmp_path / "hyper.test"
    path.write_text("learning_rate loguniform -8,-4\nK choice [1, 2]\n")
    overrides = FIXED | {"data_path": str(small), "epochs": 1}
    result = runner.run(path, tmp_path / "out", model="MIND", dataset="small", max_evals=2, overrides=overrides)
    assert [sorted(row["settings"]) for row in result.trials] == [["K", "learning_rate"]] * 2
    assert all(0.0003 < row["settings"]["learning_rate"] < 0.0184 for row in result.trials)


# -- Ray ----------------------------------------------------------------------------------------------------------


def test_an_address_where_nobody_or_no_ray_answers(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ray.init", lambda **_: pytest.fail("it would try for minutes"))
    path = str(spec_file(tmp_path, small))
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        other = grpc.server(ThreadPoolExecutor(1))  # speaks as Ray does, and is something else
        port = other.add_insecure_port("127.0.0.1:0")
        other.start()
        for address, message in (
            (f"127.0.0.1:{port}", f"what answers at '127.0.0.1:{port}' is no cluster of Ray"),
            ("127.0.0.1:1", "nobody answers at '127.0.0.1:1'"),
            (f"127.0.0.1:{listener.getsockname()[1]}", "is no cluster of Ray"),
            ("nowhere", "'nowhere' is not allowed"),
        ):
            assert main.main(["sweep", path, "--output", "out", "--ray", address]) == 2
            assert message in capsys.readouterr().err
        other.stop(0)
    assert not list(Path("out").glob("*.json"))


def test_a_cluster_that_asks_for_a_token_says_so(monkeypatch):
    """From Ray 2.60 on the head of a cluster may ask for one."""

    class Asks(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(
                lambda _, call: call.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
            )

    head = grpc.server(ThreadPoolExecutor(1), handlers=[Asks()])
    address = f"127.0.0.1:{head.add_insecure_port('127.0.0.1:0')}"
    head.start()
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(InputError, match="asks for its token: set RAY_AUTH_MODE=token, with the token in RAY_AUTH_TOK"):
        check_address(address)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    check_address(address)  # Ray itself sends it
    head.stop(0)


@pytest.mark.ray
@pytest.mark.slow
def test_two_workers_make_the_same_trials(small, tmp_path):
    more = {"algo": "random", "max_evals": 4, "final_seeds": [1]}
    one, two = tmp_path / "one", tmp_path / "two"
    first = runner.run(content(small, **more), one)
    second = runner.run(content(small, **more), two, jobs=2)
    assert what_came(two) == what_came(one)
    assert (first.best, first.test) == (second.best, second.test)
    assert not (two / "running").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_bad_trials_end_early_on_workers_too(small, tmp_path):
    said = content(
        small, settings=FIXED | {"data_path": str(small), "epochs": 4}, algo="random", max_evals=8, final_seeds=[1],
        early_stop={"grace": 1, "reduction": 2},
    )  # fmt: skip
    result = runner.run(said, tmp_path / "out", jobs=2)
    assert len(result.trials) == 8
    assert result.failed == {}
    stopped = [row for row in result.trials if row["stopped"]]
    assert stopped
    assert len(stopped) < 8
    for row in result.trials:
        record = json.loads((tmp_path / f"out/records/{row['number']}.json").read_text())
        assert len(record["curve"]) == record["epochs"] == record.get("stopped", 4)
        assert (record["epochs"] < 4) == row["stopped"]  # though a rung stands at the last epoch
        assert record["valid"]["ndcg@10"] == max(record["curve"])
        assert record["test"] == {}


@pytest.mark.ray
@pytest.mark.slow
def test_trials_of_a_node_that_dies_are_made_by_another(small, tmp_path):
    from ray.cluster_utils import Cluster

    fixed = FIXED | {"data_path": str(small), "epochs": 150, "stopping_step": 150}
    more = {"algo": "random", "max_evals": 3, "final_seeds": [1], "early_stop": {"grace": 140, "reduction": 2}}
    spec, folder = spec_file(tmp_path, small, settings=fixed, **more), tmp_path / "out"
    alike = {"worker_niceness": 0}  # else workers starve beside whatever else this machine does
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": alike})
    try:
        # another address than the sweep's own, which would else attach to either node, also to the one that dies
        node = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.2")
        process = start(spec, "--output", folder, "--jobs", "2", "--ray", cluster.address, stdout=subprocess.PIPE)
        until(lambda: len(list(folder.glob("running/*/*.pth"))) >= 2, process)  # both nodes train
        cluster.remove_node(node, allow_graceful=False)
        said, error = (text.decode() for text in process.communicate(timeout=HANG))
    finally:
        cluster.shutdown()
    assert process.returncode == 0, error
    assert "raylet" not in said + error  # what 2.60 says of its nodes is for its log
    found = what_came(folder)
    assert sorted(found) == ["1.json", "2.json", "3.json", "final@1.json"]
    assert not [record for record in found.values() if "error" in record]
