"""Values out of range are refused by the setting's name."""

from __future__ import annotations

import pytest

from recbole_mind import InputError
from recbole_mind.training import build, run
from tests.support.data import small_settings


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"K": 0}, ["K: 0", "at least 1"]),
        ({"K": 2.5}, ["K: 2.5", "whole number"]),
        ({"sigma": 0}, ["sigma: 0", "above 0"]),
        ({"negative_interest": "best"}, ["negative_interest: 'best'", "label, nearest"]),
        ({"capsule_length": 1}, ["capsule_length: 1", "True, False"]),
        ({"recency": 0}, ["recency: 0", "above 0, at most 1"]),
        ({"recency": 1.5}, ["recency: 1.5", "above 0, at most 1"]),
        ({"sigma": -1}, ["sigma: -1", "above 0"]),
        ({"sigma": "inf"}, ["sigma", "finite"]),
        ({"p": -1}, ["p: -1", "from 0 to inf"]),
        ({"p": "high"}, ["p: 'high'", "not a number", "from 0 to inf"]),
        ({"p": float("nan")}, ["p: nan", "from 0 to inf"]),
        ({"p": True}, ["p: True"]),
        ({"loss_type": "hinge"}, ["loss_type: 'hinge'", "CE, sampled, BPR"]),
        ({"similarity": "cosin"}, ["similarity: 'cosin'", "did you mean 'cosine'", "cosine, dot"]),
        ({"negatives": "hard"}, ["negatives: 'hard'", "log_uniform"]),
        ({"routing_softmax": "users"}, ["routing_softmax: 'users'", "interests, behaviors"]),
        ({"routing_init": "zeros"}, ["routing_init: 'zeros'", "random, kmeans++"]),
        ({"routing_scale": 0}, ["routing_scale: 0", "above 0"]),
        ({"routing_iterations": 0}, ["routing_iterations: 0", "at least 1"]),
        ({"attention_form": "exp"}, ["attention_form: 'exp'", "pow, scale"]),
        ({"adaptive_K": "maybe"}, ["adaptive_K: 'maybe'", "True, False"]),
        ({"dropout": 1}, ["dropout: 1", "below 1"]),
        ({"temperature": 0}, ["temperature: 0", "above 0"]),
        ({"relu_layers": "wide"}, ["relu_layers: 'wide'", "list of whole numbers"]),
        ({"item_features": 3}, ["item_features: 3", "list of field names"]),
        ({"mask_history": "maybe"}, ["mask_history: 'maybe'", "True, False"]),
        ({"timestamp_order": "file"}, ["timestamp_order: 'file'", "data, recbole"]),
        ({"loss_type": "BPR", "train_neg_sample_args": None}, ["loss_type: 'BPR' needs negatives"]),
        ({"train_neg_sample_args": {"distribution": "uniform"}}, ["train_neg_sample_args", "'CE'", "BPR"]),
        ({"loss_type": "BPR", "train_neg_sample_args": {"sample_nums": 3}}, ["'sample_nums'", "'sample_num'"]),
        ({"loss_type": "BPR", "train_neg_sample_args": {"distribution": "hard"}}, ["'hard'", "uniform, popularity"]),
        ({"epochs": "many"}, ["epochs: 'many'", "number"]),
        ({"train_batch_size": 0}, ["train_batch_size: 0", "at least 1"]),
        ({"show_progress": "some"}, ["show_progress: 'some'", "True, False"]),
        ({"valid_metric": "NDCG@20"}, ["valid_metric: 'ndcg@20'", "ndcg@10"]),
        ({"metrics": ["Recal"]}, ["Recal"]),
        ({"epochz": 1}, ["unknown key 'epochz' for MIND", "did you mean 'epochs'"]),
        ({"mask_history": True, "eval_args": {"order": "TO", "mode": "uni20"}}, ["mask_history: True", "'uni20'"]),
        ({"loss_type": "sampled", "negatives": "sampler", "train_neg_sample_args": {"dynamic": True}}, ["log Q"]),
        ({"loss_type": "BPR", "train_neg_sample_args": {"alpha": "x"}}, ["alpha: 'x'"]),
        ({"numerical_features": ["timestamp"], "timestamp_order": "data"}, ["timestamp_order: 'data'"]),
        ({"seed": 99999999999}, ["seed: 99999999999", "below 2**32"]),
        ({"checkpoint_dir": 3}, ["checkpoint_dir: 3", "path"]),
        ({"learning_rate": -1}, ["learning_rate: -1", "above 0"]),
        ({"reg_weight": 0.5}, ["unknown key 'reg_weight' for MIND"]),
        ({"rooting_scale": 1}, ["did you mean 'routing_scale'"]),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_setting_out_of_range_is_refused_by_name(small, bad, words):
    with pytest.raises(InputError) as error:
        build.build_config("MIND", "small", overrides=small_settings(small) | bad)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "bad", "words"),
    [
        ("ComiRecSA", {"K": 0}, ["K: 0", "at least 1"]),
        ("ComiRecSA", {"p": -1}, ["p: -1", "from 0 to inf"]),
        ("ComiRecSA", {"attention_form": "exp"}, ["attention_form: 'exp'", "pow, scale"]),
        ("ComiRecSA", {"attention_size": 0}, ["attention_size: 0", "at least 1, or ~"]),
        ("ComiRecSA", {"routing_regularization": -1}, ["routing_regularization: -1", "at least 0"]),
        ("ComiRecSA", {"attention_size": 1.5}, ["attention_size: 1.5", "whole number"]),
        ("ComiRecSA", {"positions": "yes"}, ["positions: 'yes'", "True, False"]),
        ("ComiRecSA", {"positions": None}, ["positions: None", "True, False"]),
        ("ComiRecSA", {"routing_maps": "position"}, ["unknown key 'routing_maps' for ComiRecSA"]),
        ("ComiRecDR", {"K": 2.5}, ["K: 2.5", "whole number"]),
        ("ComiRecDR", {"routing_iterations": 0}, ["routing_iterations: 0", "at least 1"]),
        ("ComiRecDR", {"routing_scale": -1}, ["routing_scale: -1", "above 0, or ~"]),
        ("ComiRecDR", {"routing_maps": "positions"}, ["did you mean 'position'", "position, interest"]),
        ("ComiRecDR", {"sigma": 1}, ["unknown key 'sigma' for ComiRecDR"]),
        ("ComiRecDR", {"relu_layers": [0]}, ["relu_layers: [0]", "list of whole numbers"]),
        ("YouTubeDNN", {"K": 4}, ["unknown key 'K' for YouTubeDNN"]),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_setting_of_another_model_is_refused_by_name(small, name, bad, words):
    with pytest.raises(InputError) as error:
        build.build_config(name, "small", overrides=small_settings(small) | bad)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_what_may_be_left_open_may_be_given_as_none(small):
    for name, key in (("ComiRecSA", "attention_size"), ("ComiRecDR", "routing_scale"), ("MIND", "routing_scale")):
        config = build.build_config(name, "small", overrides=small_settings(small, **{key: None}))
        assert config[key] is None


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"item_features": ["colour"]}, ["item_features: 'colour'", "small.item", "genre, tags"]),
        ({"user_features": ["age"]}, ["user_features: 'age'", "small.user", "allowed: job"]),
        ({"item_features": ["user_id"]}, ["item_features: 'user_id'", "allowed: genre, tags"]),
    ],
)
def test_a_feature_that_the_data_lacks_is_refused(small, bad, words):
    with pytest.raises(InputError) as error:
        run.run("MIND", "small", overrides=small_settings(small, **bad))
    for word in words:
        assert word in str(error.value)


def test_what_cannot_be_written_or_ranked_is_refused_before_training(small, tmp_path):
    with pytest.raises(InputError, match="is a folder; name a file"):
        run.run("MIND", "small", overrides=small_settings(small), record=tmp_path)
    overrides = small_settings(small, topk=[100], valid_metric="NDCG@100")
    with pytest.raises(InputError, match="topk: 100 is more than the 50 items"):
        run.run("MIND", "small", overrides=overrides)
    with pytest.raises(InputError, match="output folder '/proc/none' cannot be written"):
        run.run("MIND", "small", overrides=small_settings(small, checkpoint_dir="/proc/none"))
