"""Patches of RecBole's ``Config``: how settings are read, judged and completed."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable
from typing import Any

import torch

from recbole_mind.config import (
    checks,
    ignored_values,
    keys,
    loading,
    presets,
    protocols,
    recbole_settings,
    window,
    without_effect,
)
from recbole_mind.config.model_names import check_known, is_ours
from recbole_mind.data import columns
from recbole_mind.evaluation import rounding
from recbole_mind.models import settings as model_settings
from recbole_mind.plugin.patches.patch import Patch, Replace, Wrap

_CONFIG = "recbole.config.configurator:Config"

# -- reading -------------------------------------------------------------------------------------------------------


def read_literals(config: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """``settings``, with those given as text read as literals in place."""
    settings.update({key: loading.parse_value(value) for key, value in settings.items() if isinstance(value, str)})
    return settings


LITERALS = Patch("literals", since="RecBole 1.2.1",
    fault="Config evaluates --key=value of every script as Python code", cure="read as literals, never evaluated",
    changes=(Replace(f"{_CONFIG}._convert_config_dict", read_literals),))  # fmt: skip


def files_with_nulls(original: Callable[..., Any], config: Any, paths: Any) -> Any:
    """The settings of files, with null for the text ``None``."""
    return loading.with_nulls(original(config, paths))


NULLS = Patch("nulls", since="RecBole 1.2.1",
    fault="None in a settings file is a text, which no setting expects", cure="it is null",
    changes=(Wrap(f"{_CONFIG}._load_config_files", files_with_nulls),))  # fmt: skip

# -- defaults ------------------------------------------------------------------------------------------------------


def tree_defaults(original: Callable[..., None], config: Any, model: str, model_class: Any, dataset: str) -> None:
    """Load the defaults, those of LightGBM and XGBoost too."""
    original(config, model, model_class, dataset)
    if model.lower() in ("lightgbm", "xgboost"):
        config.internal_config_dict.update(copy.deepcopy(keys.model_defaults(model)))


TREE_DEFAULTS = Patch("tree_defaults", since="RecBole 1.2.1",
    fault="the files with the defaults of LightGBM and XGBoost are not spelt as their classes, and are not found",
    cure="found",
    changes=(Wrap(f"{_CONFIG}._load_internal_config_dict", tree_defaults),))  # fmt: skip


def model_defaults(original: Callable[..., None], config: Any, model: str, model_class: Any, dataset: str) -> None:
    """Load the defaults, our models' too, and refuse settings that such a model does not know."""
    original(config, model, model_class, dataset)
    if not is_ours(model_class):
        return
    check_known(model)
    known, defaults = keys.known_keys(model), config.internal_config_dict
    defaults.update(loading.defaults("model", model))
    defaults.update({key: value for key, value in loading.defaults("dataset", dataset).items() if key in known})
    defaults.update(presets.chosen(config.external_config_dict, model))
    keys.check_keys(config.file_config_dict | config.variable_config_dict, model, "settings")
    # a script's own arguments, or a worker's, are not ours to judge
    for key in set(config.cmd_config_dict) - known:
        config.external_config_dict.pop(key)
        logging.getLogger().warning(f"argument '--{key}' is no setting of {model} and is not used")


MODEL_DEFAULTS = Patch("model_defaults", since="RecBole 1.2.1",
    fault="models from outside have no defaults, and unknown settings are accepted in silence",
    cure="our models' defaults are read; unknown settings are refused, with the nearest known key",
    changes=(Wrap(f"{_CONFIG}._load_internal_config_dict", model_defaults),))  # fmt: skip


def protocol_defaults(original: Callable[..., None], config: Any, model: str, model_class: Any, dataset: str) -> None:
    """Load the defaults, and those of the protocol that the settings name."""
    original(config, model, model_class, dataset)
    config.internal_config_dict.update(protocols.chosen(config.external_config_dict))


PROTOCOLS = Patch("protocols", since="RecBole 1.2.1",
    fault="no name stands for a way of judging: split, candidates and metrics are set one by one",
    cure="protocol: NAME sets them together",
    changes=(Wrap(f"{_CONFIG}._load_internal_config_dict", protocol_defaults),))  # fmt: skip

# -- checks --------------------------------------------------------------------------------------------------------


def known_loss(original: Callable[..., None], config: Any) -> None:
    """Complete the settings with one of the two losses that RecBole knows in place of one of our models'."""
    if not is_ours(config.model_class):
        original(config)
        return
    settings = config.final_config_dict
    loss = settings["loss_type"]
    settings["loss_type"] = "BPR" if model_settings.sampler_fed(settings) else "CE"
    original(config)
    settings["loss_type"] = loss


LOSSES = Patch("losses", since="RecBole 1.2.1",
    fault="a loss other than CE and BPR leaves a model without its kind of input",
    cure="our models' losses are fed as the one of the two that they are like",
    changes=(Wrap(f"{_CONFIG}._set_default_parameters", known_loss),))  # fmt: skip


def checked_settings(original: Callable[..., None], config: Any) -> None:
    """Complete the settings, between the checks that need them as they are given and those that need all.

    Raises:
        InputError: a value that cannot be used, or that no part of the run would read.
    """
    final, given = config.final_config_dict, config.external_config_dict
    fresh = set(given) - getattr(config.variable_config_dict, "stored", frozenset())
    config.variable_config_dict = dict(config.variable_config_dict)  # RecBole's checkpoints pickle it
    ours, sequential = is_ours(config.model_class), final["MODEL_TYPE"].name == "SEQUENTIAL"
    own = loading.defaults("model", config.model) if ours else {}
    elsewhere = {"metric_decimal_place", *own}  # checked more closely below
    checks.check_types(given, {k: v for k, v in config.internal_config_dict.items() if k not in elsewhere})
    recbole_settings.check(final, own)
    checks.check_common(final)
    rounding.check(final)
    ignored_values.check({key: final[key] for key in fresh})
    window.check(final)
    checks.check_protocol(final, given, sequential=sequential)
    protocols.check(final, config.model, sequential=sequential)
    protocols.check_benchmark(final, given, sequential=sequential)
    if ours:
        model_settings.check_ours(final, fresh)
    without_effect.refuse(config.model, final, config.internal_config_dict, fresh)
    if not ours:
        recbole_settings.check_learning(final, given, config.model, sequential=sequential)
    original(config)
    checks.check_valid_metric(final)
    columns.settle(final, given, sequential=sequential)


CHECKED_SETTINGS = Patch("checked_settings", since="RecBole 1.2.1",
    fault="values that cannot work fail late or in silence, CE with sampled negatives and BPR without among them",
    cure="refused in one line; negatives are set from the loss",
    changes=(Wrap(f"{_CONFIG}._set_default_parameters", checked_settings),))  # fmt: skip

# -- device --------------------------------------------------------------------------------------------------------


def gloo_on_cpu(original: Callable[..., None], config: Any) -> None:
    """Choose the device; on CPUs, join several processes by Gloo."""
    final = config.final_config_dict
    if "local_rank" not in final or (torch.cuda.is_available() and final.get("use_gpu", True)):
        original(config)
        return
    torch.distributed.init_process_group(
        backend="gloo",
        rank=final["local_rank"] + final["offset"],
        world_size=final["world_size"],
        init_method=f"tcp://{final['ip']}:{final['port']}",
    )
    final.update(device=torch.device("cpu"), single_spec=False)
    if final["local_rank"] != 0:
        final.update(state="error", show_progress=False, verbose=False)


PROCESSES_ON_CPU = Patch("processes_on_cpu", since="RecBole 1.2.1",
    fault="several processes need NCCL and a GPU each", cure="Gloo on CPUs",
    changes=(Wrap(f"{_CONFIG}._init_device", gloo_on_cpu),))  # fmt: skip


def visible_device(original: Callable[..., None], config: Any) -> None:
    """Choose the device among those that the environment and ``use_gpu`` leave."""
    final, visible = config.final_config_dict, os.environ.get("CUDA_VISIBLE_DEVICES")
    if final.get("use_gpu", True):
        if visible is not None and "gpu_id" not in config.external_config_dict:
            final["gpu_id"] = visible
        original(config)
        return
    final["gpu_id"], alone = "", "local_rank" not in final
    original(config)
    if alone:
        os.environ.pop("CUDA_VISIBLE_DEVICES")  # the next run in this process may want its GPU
        os.environ.update({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})


VISIBLE_DEVICES = Patch("visible_devices", since="RecBole 1.2.1", issue=1955,
    fault="gpu_id overwrites CUDA_VISIBLE_DEVICES, use_gpu: False still uses the GPU", cure="both are respected",
    changes=(Wrap(f"{_CONFIG}._init_device", visible_device),))  # fmt: skip
