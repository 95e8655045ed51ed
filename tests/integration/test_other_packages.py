"""A model of another package in sweeps, leaderboards, workers and RecBole's own quick start, as ours are."""

import json
import pickle
import sys

import pytest

from recbole_mind import InputError, register_model
from recbole_mind.cli import main
from recbole_mind.config import model_names
from recbole_mind.experiments import trial
from recbole_mind.models import RetrievalModel
from recbole_mind.training import build, launch, run
from recbole_mind.util.files import sha256
from tests.support.data import LOAD, SHORT_RUN, small_settings
from tests.support.packages import last_items

TARGET = "my_models.last_items"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the package of docs/adding-a-model.md, which a call makes known."""
    last_items(tmp_path / "packages")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setattr(model_names, "_REGISTERED", {})
    register_model("LastItems", TARGET)
    return tmp_path


def test_it_trains_as_ours_do_and_goes_on_where_it_was(place, small):
    given = small_settings(small, K=3, epochs=2)
    whole = run.run("LastItems", "small", overrides=given)
    half = run.run("LastItems", "small", overrides=given | {"epochs": 1})
    on = run.run("LastItems", "small", overrides=given, resume=half.checkpoint)
    assert on.test == whole.test
    assert whole.interests["mean_active_interests"] > 1
    assert len(whole.report["hits_by_interest"]) == 3


def test_its_trainer_is_that_of_our_models(place, small):
    trainers = []
    for name in ("MIND", "LastItems"):
        config = build.build_config(name, "small", overrides=small_settings(small))
        _, train, _, _ = build.build_data(config)
        trainers.append(type(build.build_trainer(config, build.build_model(config, train))))
    assert trainers[0] is trainers[1]


def test_a_class_that_nobody_registered_is_refused_by_name(place, small, monkeypatch):
    from recbole.config import Config

    class Unknown(RetrievalModel):
        pass

    monkeypatch.setattr(sys, "argv", ["script"])
    with pytest.raises(
        InputError, match=r"^model: 'Unknown' is not registered; recbole_mind.register_model\('Unknown', "
    ):
        Config(model=Unknown, dataset="small", config_dict=small_settings(small))


def test_it_stands_in_sweeps_and_leaderboards(place, small):
    short = SHORT_RUN | {"epochs": 1, "load_col": {"inter": LOAD["inter"]}}
    settings = short | {"protocol": "leave-one-out", "data_path": str(small)}
    sweep = {"model": "LastItems", "dataset": "small", "settings": settings, "space": {"K": {"choice": [1, 2]}}}
    (place / "sweep.yaml").write_text(json.dumps(sweep | {"max_evals": 2, "final_seeds": [1]}))
    assert main.main(["sweep", "sweep.yaml", "--output", "swept"]) == 0
    board = {"models": ["YouTubeDNN", "LastItems"], "datasets": ["small"], "seeds": [1], "protocols": ["leave-one-out"]}
    (place / "board.yaml").write_text(json.dumps(board | {"data_path": str(small), "settings": {"all": short}}))
    assert main.main(["leaderboard", "board.yaml", "--output", "board"]) == 0
    rows = (place / "board/leaderboard.csv").read_text()
    assert "LastItems" in rows
    assert "YouTubeDNN" in rows
    record = json.loads((place / "board/records/small@leave-one-out@LastItems@1.json").read_text())
    assert f"LastItems {sha256(place / 'packages/my_models/last_items.py')}" in record["fingerprint"]["code"]


def test_workers_are_told(place, small, monkeypatch):
    made = trial.Trial(
        "LastItems", "small", 1, small_settings(small, epochs=1), place / "out/records/a.json", {"fingerprint": {}}, 1
    )
    copied = pickle.dumps(made)
    monkeypatch.setattr(model_names, "_REGISTERED", {})  # as in a worker, which knows of no call
    record = trial.execute(pickle.loads(copied))
    assert "error" not in record, record["error"]
    assert record["model"] == "LastItems"


def test_processes_are_told(place, small):
    given = {"model": "LastItems", "dataset": "small", "overrides": small_settings(small, epochs=1)}
    result = launch.run(given, nproc=2, world_size=-1, ip="localhost", port=29555, group_offset=0)
    assert result is not None
    assert result.model == "LastItems"


def test_recboles_own_quick_start_finds_it(place, small, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["script"])
    quick_start = pytest.importorskip("recbole.quick_start", reason="RecBole's quick start needs Ray")
    found = quick_start.run_recbole("LastItems", "small", config_dict=small_settings(small, epochs=1), saved=False)
    assert 0 <= found["best_valid_score"] <= 1
