"""RecBole's trainer, without each patch and with it."""

from __future__ import annotations

import logging
import pickle
import sys

import pytest
import torch
from recbole.config import Config  # noqa: F401 - after which the patches are applied
from recbole.trainer import Trainer
from recbole.utils import ModelType, get_model, get_trainer

from recbole_mind import InputError
from recbole_mind.plugin.patches import trainer as patched
from recbole_mind.training import build
from recbole_mind.training.trainer import RetrievalTrainer


@pytest.fixture
def ready(made):
    """RecBole's own trainer of a model of ours, and the loaders for training and test."""
    config = made("MIND")
    _, train, _, test = build.build_data(config)
    trainer = Trainer(config, build.build_model(config, train))
    trainer.eval_collector.data_collect(train)
    return trainer, train, test


def test_search(ready, monkeypatch):
    trainer, _, test = ready
    scored = []
    predict = trainer.model.full_sort_predict
    monkeypatch.setattr(trainer.model, "full_sort_predict", lambda batch: scored.append(len(batch)) or predict(batch))
    with patched.SEARCH.off():
        dense = trainer.evaluate(test, load_best_model=False)
    assert sum(scored) == len(test.dataset)
    scored.clear()
    assert trainer.evaluate(test, load_best_model=False) == pytest.approx(dense)
    assert scored == []


def test_checkpoints(ready):
    trainer, train, test = ready
    trainer.fit(train, saved=True)
    with patched.CHECKPOINTS.off():
        with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
            trainer.evaluate(test)
        with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
            trainer.resume_checkpoint(trainer.saved_model_file)
    assert trainer.evaluate(test)["recall@10"] > 0
    trainer.resume_checkpoint(trainer.saved_model_file)
    assert trainer.start_epoch == 1


def test_a_checkpoint_of_other_settings_is_not_gone_on_from(ready, made):
    trainer, train, _ = ready
    trainer.fit(train, saved=True)
    other = Trainer(made("MIND", learning_rate=0.5), trainer.model)
    with pytest.raises(InputError, match=r"learning_rate: .* was trained with"):
        other.resume_checkpoint(trainer.saved_model_file)


def test_pretrained_models(made, caplog):
    """A stage that RecBole's own trainer has written is one that the next one opens."""
    drawn = {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False, "candidate_num": 0}
    stage = {"train_stage": "actor_pretrain", "pretrain_epochs": 1, "save_step": 1, "train_neg_sample_args": drawn}
    config = made("RaCT", **stage)
    _, train, *_ = build.build_data(config)

    def next_stage():
        trainer = get_trainer(config["MODEL_TYPE"], "RaCT")(config, build.build_model(config, train))
        trainer.fit(train)
        later = made("RaCT", **stage | {"train_stage": "critic_pretrain", "pre_model_path": trainer.saved_model_file})
        return trainer.model, get_model("RaCT")(later, train._dataset)

    caplog.set_level(logging.WARNING)  # RaCT logs what cannot be formatted

    with patched.PRETRAINED_MODELS.off(), pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        next_stage()
    before, after = next_stage()
    assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())


def test_parallel_models(process_group):
    module, layer = sys.modules["recbole.trainer.trainer"], torch.nn.Linear(2, 1)
    with patched.PARALLEL_MODELS.off(), pytest.raises(ValueError, match="only work with single-device"):
        module.DistributedDataParallel(layer, device_ids=[0])
    model = module.DistributedDataParallel(layer, device_ids=[0])
    assert isinstance(model, torch.nn.parallel.DistributedDataParallel)
    assert model(torch.ones(1, 2)).shape == (1, 1)


def test_parallel_models_of_ours_start_alike_and_stay_as_they_are(process_group, ready):
    model = ready[0].model
    assert sys.modules["recbole.trainer.trainer"].DistributedDataParallel(model, device_ids=[0]) is model


def test_trainers():
    with patched.TRAINERS.off():
        assert get_trainer(ModelType.SEQUENTIAL, "MIND") is Trainer
    for name in ("MIND", "ComiRecSA", "ComiRecDR", "YouTubeDNN"):
        kind = get_trainer(ModelType.SEQUENTIAL, name)
        assert issubclass(kind, Trainer)
        assert kind is RetrievalTrainer
    assert get_trainer(ModelType.SEQUENTIAL, "SASRec") is Trainer
