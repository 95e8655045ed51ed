"""RecBole's settings, without each patch and with it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from recbole.config import Config
from recbole.utils import InputType, ModelType

from recbole_mind import InputError
from recbole_mind.config import keys
from recbole_mind.models.mind import MIND
from recbole_mind.plugin.patches import config as patched


def test_literals():
    text = "open('ran', 'w').close() or 7"
    with patched.LITERALS.off():
        assert Config._convert_config_dict(None, {"seed": text}) == {"seed": 7}
    Path("ran").unlink()
    assert Config._convert_config_dict(None, {"seed": text, "epochs": "3"}) == {"seed": text, "epochs": 3}
    assert not Path("ran").exists()


def test_nulls():
    Path("mine.yaml").write_text("eval_args: {group_by: None}\n")
    reader = SimpleNamespace(yaml_loader=yaml.FullLoader)
    with patched.NULLS.off():
        assert Config._load_config_files(reader, ["mine.yaml"]) == {"eval_args": {"group_by": "None"}}
    assert Config._load_config_files(reader, ["mine.yaml"]) == {"eval_args": {"group_by": None}}


def defaults(config, model, model_class, **given):
    """The defaults that RecBole's ``Config`` loads for a model under settings that are given."""
    config.file_config_dict, config.cmd_config_dict = {}, {}
    config.variable_config_dict, config.external_config_dict = given, dict(given)
    config._load_internal_config_dict(model, model_class, "small")
    return config.internal_config_dict


def test_tree_defaults(made):
    config, trees = made("BPR"), SimpleNamespace(type=ModelType.DECISIONTREE)
    own = keys.model_defaults("LightGBM")
    assert own
    with patched.TREE_DEFAULTS.off():
        assert not own.keys() <= defaults(config, "LightGBM", trees).keys()
    assert own.items() <= defaults(config, "LightGBM", trees).items()


def test_model_defaults(made):
    config = made("BPR")
    with patched.MODEL_DEFAULTS.off():
        assert "K" not in defaults(config, "MIND", MIND, embeding_size=8)
    assert defaults(config, "MIND", MIND)["K"] >= 1
    with pytest.raises(InputError, match=r"unknown key 'embeding_size'.*did you mean 'embedding_size'"):
        defaults(config, "MIND", MIND, embeding_size=8)


def test_protocols(made):
    config = made("BPR")
    with patched.PROTOCOLS.off():
        assert defaults(config, "MIND", MIND, protocol="leave-one-out")["topk"] != [10, 50, 100]
    assert defaults(config, "MIND", MIND, protocol="leave-one-out")["topk"] == [10, 50, 100]


def test_losses(made):
    with patched.LOSSES.off():
        assert made("MIND", loss_type="sampled")["MODEL_INPUT_TYPE"] is None
    config = made("MIND", loss_type="sampled")
    assert config["MODEL_INPUT_TYPE"] == InputType.POINTWISE
    assert config["loss_type"] == "sampled"


def test_checked_settings(made):
    drawn = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
    with patched.CHECKED_SETTINGS.off():
        assert made("GRU4Rec", stopping_step="ten")["stopping_step"] == "ten"
        assert made("GRU4Rec", loss_type="BPR")["train_neg_sample_args"]["distribution"] == "none"  # none to compare
    with pytest.raises(InputError, match="stopping_step: 'ten' is not allowed"):
        made("GRU4Rec", stopping_step="ten")
    with pytest.raises(InputError, match="loss_type 'BPR' needs negatives"):
        made("GRU4Rec", loss_type="BPR")
    assert made("GRU4Rec", loss_type="BPR", **drawn)["train_neg_sample_args"]["distribution"] == "uniform"


# -- device -------------------------------------------------------------------------------------------------------


def device(**settings):
    """What RecBole's ``Config`` chooses under these settings."""
    config = SimpleNamespace(final_config_dict={"gpu_id": "0", "use_gpu": True} | settings, external_config_dict={})
    Config._init_device(config)
    return config.final_config_dict["device"].type


def test_processes_on_cpu(monkeypatch, port):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    group = {"local_rank": 0, "offset": 0, "world_size": 1, "nproc": 1, "ip": "localhost"}
    with patched.PROCESSES_ON_CPU.off(), pytest.raises((RuntimeError, ValueError), match=r"(?i)nccl"):
        device(port=port, **group)
    try:
        assert device(port=port, **group) == "cpu"
        assert torch.distributed.get_backend() == "gloo"
    finally:
        torch.distributed.destroy_process_group()


def test_visible_devices(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with patched.VISIBLE_DEVICES.off():
        assert device(use_gpu=False) == "cuda"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert device() == "cuda"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert device(use_gpu=False) == "cpu"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
