"""Every format on disk as earlier versions wrote it: this one reads it and comes to the same."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from recbole_mind.config import in_force
from recbole_mind.data.packed_dataset import PackedDataset
from recbole_mind.data.packed_file import Pack
from recbole_mind.evaluation.hits import Hits, mean_per_user, per_user
from recbole_mind.experiments.leaderboard.csv import to_csv
from recbole_mind.experiments.leaderboard.spec import read_spec
from recbole_mind.experiments.leaderboard.table import build as build_board
from recbole_mind.experiments.sweep import spec as sweep_spec
from recbole_mind.experiments.sweep.result import result_of
from recbole_mind.experiments.sweep.state import Sweep
from recbole_mind.experiments.trial import hits_beside, read_record
from recbole_mind.ranking.run import load_ranker
from recbole_mind.serving.bundle.bundle import verify
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.store.store import Store
from recbole_mind.training import build, run
from recbole_mind.util.files import sha256
from tests.golden import make

KEPT = sorted(path.parent.name for path in make.HERE.glob("*/checkpoint"))
NEAR = {"abs": 1e-6, "rel": 1e-6}  # of scores: another processor adds in another order


@pytest.fixture(scope="module", params=[*KEPT, pytest.param("now", marks=pytest.mark.slow)])
def generation(request, tmp_path_factory):
    """A copy of the files of a version; ``now`` are those that this one writes."""
    folder = tmp_path_factory.mktemp("golden")
    if request.param != "now":
        return Path(shutil.copytree(make.HERE / request.param, folder / request.param))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make, "HERE", folder)
        return make.make("now")


def expected(folder):
    return json.loads((folder / "expected.json").read_text())


def test_a_checkpoint_gives_its_figures(generation):
    folder = generation / "checkpoint"
    known = expected(folder)
    found = run.evaluate(folder / "model.pth", overrides={"data_path": str(make.DATA)})
    assert (found.valid, found.test) == (known["valid"], known["test"])
    assert found.interests == pytest.approx(known["interests"], **NEAR)


def test_a_checkpoint_is_trained_on(generation):
    folder = generation / "checkpoint"
    trained = json.loads((folder / "record.json").read_text())["config"]
    # before there were presets, the defaults were those of 'plain'
    more = make.FEATURES | {"K": 2, "epochs": 3, "checkpoint_dir": "saved", "preset": trained.get("preset", "plain")}
    given = make.settings(make.DATA, eval_args=make.SPLIT, **more)
    result = run.run("MIND", "small", overrides=given, resume=folder / "model.pth")
    assert result.epochs == 3
    assert result.curve[:2] == expected(folder)["curve"]


def test_the_settings_of_a_record_are_used_again(generation):
    path = generation / "checkpoint/record.json"
    record = json.loads(path.read_text())
    config = build.build_config(None, None, [path], overrides={"data_path": str(make.DATA)})
    assert (config["model"], config["dataset"], config["seed"]) == ("MIND", "small", record["seed"])
    settings = json.loads(json.dumps(in_force.settings_of(config), default=str))
    for key in set(make.SHORT) | set(make.FEATURES) | {"K", "eval_args"}:
        assert settings[key] == record["config"][key], key


def test_checkpoints_of_recboles_trainer_give_their_figures(generation):
    folder = generation / "recbole_checkpoint"
    known = expected(folder)["test"]
    more = {"data_path": str(make.DATA), "checkpoint_dir": "saved"}
    assert {name: run.evaluate(folder / f"{name}.pth", overrides=more).test for name in known} == known
    assert set(known) == {"BPR", "GRU4RecF", "MIND"}


@pytest.mark.parametrize("model", ["MIND", "YouTubeDNN"])
def test_a_bundle_recalls_what_it_did(generation, model):
    recalls_what_it_did(generation / "bundle", model)


@pytest.mark.parametrize("model", ["ItemKNN", "Pop"])
@pytest.mark.parametrize("name", [*sorted(path.parent.name for path in make.HERE.glob("*/classic_bundle")), "now"])
def test_a_classic_bundle_recalls_what_it_did(name, model, tmp_path, monkeypatch):
    folder = make.HERE / name
    if name == "now":
        monkeypatch.setattr(make, "HERE", tmp_path)
        folder = make.make("now", "classic_bundle")
    recalls_what_it_did(folder / "classic_bundle", model)


@pytest.mark.parametrize("name", [*sorted(path.parent.name for path in make.HERE.glob("*/ranked_bundle")), "now"])
def test_a_ranked_bundle_recommends_what_it_did(name, tmp_path, monkeypatch):
    folder = make.HERE / name / "ranked_bundle"
    if name == "now":
        monkeypatch.setattr(make, "HERE", tmp_path)
        folder = make.make("now", "ranked_bundle") / "ranked_bundle"
    known = expected(folder)
    assert verify(folder / "MIND")["ranker"]["history"] == 5
    recaller = Recaller.load(folder / "MIND", threads=1)
    for question, answer in zip(known["questions"], known["answers"], strict=True):
        found = json.loads(json.dumps(recaller.recommend(**question)._asdict()))
        for scores in ("scores", "recall_scores"):
            assert found.pop(scores) == pytest.approx(answer.pop(scores), **NEAR)
        assert found == answer
    opened = load_ranker(folder / "ranker.pth", folder / "recall.pth", data={"data_path": str(make.DATA)})
    assert opened.judged(opened.test_lists()).figures() == pytest.approx(known["test"])


def recalls_what_it_did(folder, model):
    known = expected(folder)
    assert verify(folder / model)["model"]["name"] == model
    recaller = Recaller.load(folder / model, threads=1)
    for question, answer in zip(known["questions"], known["answers"][model], strict=True):
        found = json.loads(json.dumps(recaller.recall(**question)._asdict()))
        scores, wanted = found.pop("scores"), answer.pop("scores")
        assert found == answer
        assert scores == pytest.approx(wanted, **NEAR)
        assert scores or not answer["items"]


def test_a_store_has_its_history_and_goes_on(generation):
    folder = generation / "store"
    known, store = expected(folder), Store(folder / "store")
    events = [json.loads(json.dumps(vars(event))) for event in store.history()]
    assert events == known["events"]
    assert [event["event"] for event in events] == ["forced", "forced", "blocked", "rolled back"] or (
        [event["event"] for event in events] == ["published", "published", "blocked", "rolled back"]
    )
    assert (store.current().name, store.versions()) == (known["current"], known["versions"])
    assert verify(store.current())["id"] == known["current"]
    (other,) = set(known["versions"]) - {known["current"]}
    assert store.rollback(to=other, who="zoe").number == len(events) + 1
    assert Store(folder / "store").current().name == other


def test_the_records_of_a_leaderboard_make_its_board(generation):
    folder = generation / "leaderboard"
    spec = read_spec(folder / "board.yaml")
    paths = {cell: folder / "records" / cell.file for cell in spec.cells()}
    records = {cell: read_record(path) for cell, path in paths.items()}
    hits = {cell: Hits.load(hits_beside(path)) for cell, path in paths.items()}
    for cell, record in records.items():
        assert sha256(hits_beside(paths[cell])) == record["hits"]
        found = {metric: float(mean_per_user([hits[cell]], metric).mean()) for metric in record["test"]}
        assert found == pytest.approx(record["test"], abs=1e-12)
    names = (spec.models, spec.datasets, spec.protocols, spec.seeds, spec.baseline)
    board = build_board(*names, records, hits.__getitem__, {})
    assert to_csv(board) == (folder / "leaderboard.csv").read_text()


def test_a_sweep_goes_on_from_its_state(generation):
    folder = generation / "sweep"
    known = expected(folder)
    spec = sweep_spec.read_spec(folder / "space.yaml", overrides={"data_path": str(make.DATA)})
    sweep = Sweep(spec, folder)
    sweep.plan.mark.update(
        json.loads((folder / "sweep.json").read_text())["fingerprint"]
    )  # as if no code had changed since
    sweep.open(resume=True)
    sweep.tested = {seed: read_record(folder / f"records/final@{seed}.json") for seed in spec.final_seeds}
    found = result_of(sweep)
    assert (found.best, found.value, found.metric) == (known["best"], known["value"], known["metric"])
    assert {metric: list(figures) for metric, figures in found.test.items()} == known["test"]
    assert json.loads(json.dumps(found.trials)) == known["trials"]
    assert sweep.next() is None  # nothing is left to try


def test_hits_give_the_figures_of_each_user(generation):
    folder = generation / "hits"
    known, found = expected(folder), Hits.load(folder / "hits.npz")
    assert (found.users, found.numbers.tolist()) == (known["users"], known["numbers"])
    for metric, figures in known["per_user"].items():
        np.testing.assert_allclose(per_user(found, metric), figures, rtol=0, atol=1e-15, err_msg=metric)


def test_a_pack_holds_what_the_text_does(generation):
    folder = generation / "packed"
    assert make.histories(Pack.open(folder / "small.packed")) == expected(folder)["histories"]
    samples = []
    for packed in (str(folder / "small.packed"), False):
        given = make.settings(make.DATA, eval_args=make.SPLIT, packed=packed)
        dataset, train, *_ = build.build_data(build.build_config("MIND", "small", overrides=given))
        assert isinstance(dataset, PackedDataset) is bool(packed)
        samples.append({field: train.dataset.inter_feat[field].tolist() for field in ("item_id", "item_id_list")})
    assert samples[0] == samples[1]


# -- the generations ----------------------------------------------------------------------------------------------


def test_every_generation_is_whole_small_and_told_of():
    told = (make.HERE / "README.md").read_text()
    newest = {write.__name__ for write in make.FORMATS}
    held = {path.parent.parent.name: {one.name for one in path.parent.parent.iterdir()}
            for path in make.HERE.glob("*/*/expected.json")}  # fmt: skip
    assert set(KEPT) < set(held)
    for name, formats in held.items():
        assert formats <= newest
        assert f"`{name}`" in told
        assert sum(path.stat().st_size for path in (make.HERE / name).rglob("*") if path.is_file()) < 400_000
    assert newest == set().union(*held.values())
    assert all(f"`{name}/`" in told for name in newest)


def told_alike(old, new):
    """Whether two contents of JSON say the same: numbers to rounding, and whatever seconds they took."""
    if isinstance(old, dict):
        keys = old.keys() - {"seconds"}
        return old.keys() == new.keys() and all(told_alike(old[key], new[key]) for key in keys)
    if isinstance(old, list):
        return len(old) == len(new) and all(map(told_alike, old, new))
    return new == (pytest.approx(old, **NEAR) if isinstance(old, float) else old)


@pytest.mark.parametrize("name", ["checkpoint", "recbole_checkpoint", "bundle", "sweep", "hits", "packed"])
def test_numpy_2_and_pandas_3_come_to_the_figures_of_1_and_2(name):
    """Two generations of the same code, each written on other libraries and another processor."""
    assert told_alike(*(expected(make.HERE / generation / name) for generation in ("rooms", "numpy2")))


def test_a_leaderboard_of_numpy_2_is_that_of_1():
    def rows(generation):
        with (make.HERE / generation / "leaderboard/leaderboard.csv").open() as file:
            return [row | {"training_seconds": ""} for row in csv.DictReader(file)]

    assert rows("rooms") == rows("numpy2")


def test_a_generation_is_never_written_over():
    with pytest.raises(FileExistsError):
        make.make(KEPT[0])
