"""The classes of trainers, and what a step and a resumed run do once."""

from __future__ import annotations

from pathlib import Path

import pytest
from recbole import trainer as recbole
from recbole.config import Config  # noqa: F401 - after which recbole.trainer knows our models

from benchmarks import trace
from recbole_mind.errors import InputError
from recbole_mind.training import build, checkpoint, run
from recbole_mind.training.trainer import RetrievalTrainer, SafeTrainer, safe_trainer
from tests.support.data import small_settings


@pytest.fixture(scope="module")
def step(small, tmp_path_factory):
    """The files that a step of MIND passes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("step"))
        return trace.step("small", small_settings(small, epochs=1, train_batch_size=32, checkpoint_dir="saved"))[0]


def test_our_models_have_one_trainer(small):
    for name in ("MIND", "ComiRecSA", "ComiRecDR", "YouTubeDNN"):
        assert getattr(recbole, f"{name}Trainer") is RetrievalTrainer
    config = build.build_config("MIND", "small", overrides=small_settings(small))
    _, train, _, _ = build.build_data(config)
    assert type(build.build_trainer(config, build.build_model(config, train))) is RetrievalTrainer


def test_recboles_trainers_are_made_safe_once():
    for base in (recbole.Trainer, recbole.KGTrainer):
        made = safe_trainer(base)
        assert made is safe_trainer(base)
        assert issubclass(made, SafeTrainer)
        assert issubclass(made, base)
        assert made.__mro__.index(SafeTrainer) < made.__mro__.index(base)
    assert safe_trainer(RetrievalTrainer) is RetrievalTrainer


def test_a_step_does_not_climb_into_the_plugin(step):
    assert {"models/mind.py", "layers/routing.py", "training/trainer.py", "data/history_store.py"} <= set(
        step["by_file"]
    )
    assert not [name for name in step["by_file"] if name.startswith("plugin/")]


def test_a_step_passes_fewer_files_than_before_the_package_had_rooms(step):
    assert step["files"] < 16


def test_a_resumed_run_hashes_its_samples_once(small, monkeypatch):
    first = run.run("MIND", "small", overrides=small_settings(small, epochs=1))
    hashed, rows = [], checkpoint._rows
    monkeypatch.setattr(checkpoint, "_rows", lambda dataset: hashed.append(1) or rows(dataset))
    resumed = run.run("MIND", "small", overrides=small_settings(small, epochs=2), resume=first.checkpoint)
    assert resumed.epochs == 2
    assert len(hashed) == 1
    assert checkpoint.load(resumed.checkpoint)["data"] == checkpoint.load(first.checkpoint)["data"]


def test_a_run_that_is_not_tested_says_what_ranked_its_validation_set(small):
    """The test set is not looked at; an observer gets no figures."""
    seen = []
    result = run.run("MIND", "small", overrides=small_settings(small), test=False, observe=seen.append)
    assert result.protocol["search"] == {"factory": "exact", "parameters": {}}
    assert (result.test, result.report, result.interests) == ({}, {}, {})
    assert "test" not in result.phases
    (observed,) = seen
    assert (observed.result.figures, observed.result.outcome, observed.result.topk) == ({}, None, None)
    assert type(observed.trainer) is RetrievalTrainer


def test_an_observer_gets_the_hits_of_the_test(small):
    seen = []
    result = run.run("MIND", "small", overrides=small_settings(small, metrics=["Recall", "NDCG"]), observe=seen.append)
    (observed,) = seen
    topk = observed.result.topk
    assert topk.shape == (len(observed.eval_data.dataset), 11)
    assert result.test["recall@10"] == pytest.approx(float((topk[:, :-1].sum(1) / topk[:, -1]).mean()))
    assert observed.result.outcome.hits().sum() == topk[:, :-1].sum()


def test_an_interrupted_epoch_that_diverges_is_named(small):
    with pytest.raises(InputError, match=r"the training loss is nan in epoch 1: learning_rate 1e\+30 is too high"):
        run.run("MIND", "small", overrides=small_settings(small, learning_rate=1e30))


def test_files_go_where_the_settings_say(small, tmp_path):
    result = run.run("YouTubeDNN", "small", overrides=small_settings(small, epochs=1, checkpoint_dir=str(tmp_path)))
    assert Path(result.checkpoint).parent == tmp_path
    assert Path(result.checkpoint).name.startswith("YouTubeDNN-small-seed2020-")
