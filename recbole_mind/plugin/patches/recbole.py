"""RecBole 1.2.1 made to run on current libraries, from outside, each mend with its reason.

:mod:`recbole_mind.plugin.import_hook` calls :func:`mend_recbole` once RecBole's configuration has been imported,
:func:`mend_quick_start` once its quick start has and :func:`mend_case_study` once its case study has. No mend changes a
number, unless a setting of ours asks for it.
"""

from __future__ import annotations

import copy
import functools
import importlib
import logging
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
import torch

from recbole_mind.config import (
    checks,
    ignored_values,
    keys,
    loading,
    protocols,
    recbole_settings,
    window,
    without_effect,
)
from recbole_mind.config.model_names import MODELS, check_known, is_ours
from recbole_mind.data import columns, splits
from recbole_mind.data.history_mask import HISTORY_ROW
from recbole_mind.errors import require
from recbole_mind.evaluation import rounding
from recbole_mind.models import settings as model_settings
from recbole_mind.training import checkpoint, checkpointer

_APPLIED: set[str] = set()


def _wrap(owner: Any, name: str) -> Callable[[Callable[..., Any]], None]:
    """Replace ``owner.name`` by a function that gets the original as its first argument."""

    def decorate(function: Callable[..., Any]) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return function(original, *args, **kwargs)

        setattr(owner, name, wrapped)

    return decorate


def mend_recbole() -> None:
    """Apply every mend to RecBole's configuration, data and trainer; a second call does nothing."""
    if "recbole" in _APPLIED:
        return
    _APPLIED.add("recbole")
    anomaly = torch.is_anomaly_enabled()
    importlib.import_module("recbole.model.sequential_recommender")  # its SINE switches anomaly detection on
    torch.autograd.set_detect_anomaly(anomaly)
    if not hasattr(scipy.sparse.dok_matrix, "_update"):
        scipy.sparse.dok_matrix._update = lambda self, data: self._dict.update(data)
    configurator = importlib.import_module("recbole.config.configurator")
    _mend_config(configurator.Config)
    _mend_data(importlib.import_module("recbole.data.dataset"), importlib.import_module("recbole.data.dataloader"))
    package, module = importlib.import_module("recbole.trainer"), importlib.import_module("recbole.trainer.trainer")
    _mend_trainer(module)
    rounding.mend(_wrap)
    trainer = importlib.import_module("recbole_mind.training.trainer").RetrievalTrainer
    for name in MODELS:
        setattr(package, f"{name}Trainer", trainer)


def mend_quick_start() -> None:
    """Have ``recbole.quick_start.load_data_and_model`` open both kinds of checkpoint."""
    package = importlib.import_module("recbole.quick_start")
    module = importlib.import_module("recbole.quick_start.quick_start")

    def load_data_and_model(model_file: str) -> tuple[Any, ...]:
        loaded = importlib.import_module("recbole_mind.training.run").load(model_file)
        return loaded.config, loaded.model, loaded.dataset, loaded.train_data, loaded.valid_data, loaded.test_data

    saved = importlib.import_module("recbole_mind.data.saved")
    package.create_dataset = module.create_dataset = saved.create_dataset  # type: ignore[attr-defined]
    module.load_data_and_model = package.load_data_and_model = load_data_and_model  # type: ignore[attr-defined]


def mend_case_study() -> None:
    """Have ``full_sort_scores`` and ``full_sort_topk`` of ``recbole.utils.case_study`` honour ``mask_history``."""
    if "case study" in _APPLIED:
        return
    _APPLIED.add("case study")

    @_wrap(importlib.import_module("recbole.utils.case_study"), "full_sort_scores")
    def full_sort_scores(
        original: Callable[..., Any], uid_series: Any, model: Any, test_data: Any, device: Any = None
    ) -> Any:
        masking = importlib.import_module("recbole_mind.plugin.patches.case_study")
        scores = original(uid_series, model, masking.unmasked(test_data), device)
        return masking.mask(scores, uid_series, test_data)


# -- configuration ------------------------------------------------------------------------------------------------


def _mend_config(Config: Any) -> None:
    def convert(self: Any, config_dict: dict[str, Any]) -> dict[str, Any]:
        """Values given as text, read as literals; RecBole's own calls ``eval``."""
        for key, value in config_dict.items():
            if isinstance(value, str):
                config_dict[key] = loading.parse_value(value)
        return config_dict

    Config._convert_config_dict = convert

    @_wrap(Config, "_load_config_files")
    def load_files(original: Callable[..., Any], self: Any, paths: Any) -> Any:
        return loading.with_nulls(original(self, paths))

    @_wrap(Config, "compatibility_settings")
    def compatibility(original: Callable[..., Any], self: Any) -> None:
        for old, new in (("float_", np.float64), ("complex_", np.complex128), ("unicode_", np.str_)):
            if not hasattr(np, old):
                setattr(np, old, new)
        original(self)

    @_wrap(Config, "_load_internal_config_dict")
    def internal(original: Callable[..., Any], self: Any, model: str, model_class: Any, dataset: str) -> None:
        original(self, model, model_class, dataset)
        if model.lower() in ("lightgbm", "xgboost"):  # RecBole's files of defaults are not spelt as its classes
            self.internal_config_dict.update(copy.deepcopy(keys.model_defaults(model)))
        if is_ours(model_class):
            check_known(model)
            self.internal_config_dict.update(loading.defaults("model", model))
            self.internal_config_dict.update(
                {k: v for k, v in loading.defaults("dataset", dataset).items() if k in keys.known_keys(model)}
            )
            keys.check_keys(self.file_config_dict | self.variable_config_dict, model, "settings")
            # a script's own arguments, or a worker's, are not ours to judge
            for key in set(self.cmd_config_dict) - keys.known_keys(model):
                self.external_config_dict.pop(key)
                logging.getLogger().warning(f"argument '--{key}' is no setting of {model} and is not used")
        self.internal_config_dict.update(protocols.chosen(self.external_config_dict))

    @_wrap(Config, "_set_default_parameters")
    def parameters(original: Callable[..., Any], self: Any) -> None:
        final, given = self.final_config_dict, self.external_config_dict
        fresh = set(given) - getattr(self.variable_config_dict, "stored", frozenset())
        self.variable_config_dict = dict(self.variable_config_dict)  # RecBole's checkpoints pickle it
        ours = loading.defaults("model", self.model) if is_ours(self.model_class) else {}
        elsewhere = {"metric_decimal_place", *ours}  # checked more closely below
        checks.check_types(given, {k: v for k, v in self.internal_config_dict.items() if k not in elsewhere})
        recbole_settings.check(final, ours)
        checks.check_common(final)
        rounding.check(final)
        ignored_values.check({key: final[key] for key in fresh})
        window.check(final)
        kind = final["MODEL_TYPE"].name
        checks.check_protocol(final, given, sequential=kind == "SEQUENTIAL")
        protocols.check(final, self.model, sequential=kind == "SEQUENTIAL")
        protocols.check_benchmark(final, given, sequential=kind == "SEQUENTIAL")
        if is_ours(self.model_class):
            model_settings.check_ours(final, fresh)
            without_effect.refuse(self.model, final, self.internal_config_dict, fresh)
            loss = final["loss_type"]
            final["loss_type"] = "BPR" if model_settings.sampler_fed(final) else "CE"  # the two that RecBole knows
            original(self)
            final["loss_type"] = loss
            checks.check_valid_metric(final)
            columns.settle(final, given, sequential=True)
            return
        without_effect.refuse(self.model, final, self.internal_config_dict, fresh)
        recbole_settings.check_learning(final, given, self.model, sequential=kind == "SEQUENTIAL")
        original(self)
        checks.check_valid_metric(final)
        columns.settle(final, given, sequential=kind == "SEQUENTIAL")

    @_wrap(Config, "_init_device")
    def device(original: Callable[..., Any], self: Any) -> None:
        final, visible = self.final_config_dict, os.environ.get("CUDA_VISIBLE_DEVICES")
        if not final.get("use_gpu", True):
            final["gpu_id"] = ""
            if "local_rank" not in final:
                original(self)
                os.environ.pop("CUDA_VISIBLE_DEVICES")  # the next run in this process may want its GPU
                os.environ.update({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
                return
        elif visible is not None and "gpu_id" not in self.external_config_dict:
            final["gpu_id"] = visible
        if "local_rank" not in final or (torch.cuda.is_available() and final.get("use_gpu", True)):
            original(self)
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


# -- data ---------------------------------------------------------------------------------------------------------


def _mend_data(dataset: Any, dataloader: Any) -> None:
    @_wrap(dataset.Dataset, "_dataframe_to_interaction")
    def to_interaction(original: Callable[..., Any], self: Any, data: Any) -> Any:
        interaction = original(self, data)
        field = self.time_field
        numerical = self.config["numerical_features"] or []
        if self.config["timestamp_order"] == "data" and field in data and field not in numerical:
            # RecBole sorts stably, so that the original values are enough; ties stay in file order
            interaction.interaction[field] = torch.from_numpy(data[field].to_numpy(np.float64, copy=True))
        return interaction

    reading = importlib.import_module("recbole_mind.data.reading")
    dataset.Dataset._load_inter_feat, dataset.Dataset._load_feat = reading.load_interactions, reading.load_feat
    dataset.Dataset._data_filtering = reading.filter_data
    saved: Any = importlib.import_module("recbole_mind.data.saved")
    package: Any = importlib.import_module("recbole.data")
    utils: Any = importlib.import_module("recbole.data.utils")
    dataset.Dataset.save = lambda self: saved.save_dataset(self)
    utils.load_split_dataloaders, utils.save_split_dataloaders = saved.load_loaders, saved.save_loaders
    package.create_dataset = utils.create_dataset = saved.create_dataset

    @_wrap(dataset.Dataset, "leave_one_out")
    def leave_one_out(original: Callable[..., Any], self: Any, group_by: str, leave_one_mode: str) -> Any:
        counts = np.bincount(self.inter_feat[self.uid_field].numpy())
        parts = original(self, group_by, leave_one_mode)
        first = 2 if isinstance(self, dataset.SequentialDataset) else 1
        splits.tell_left_out(counts[counts > 0], leave_one_mode, first=first)
        return parts

    lazy = importlib.import_module("recbole_mind.data.dataset")
    packed = importlib.import_module("recbole_mind.data.packed_dataset")

    def new(cls: Any, config: Any = None) -> Any:
        """RecBole's sequential data set, or ours in its place."""
        ours = cls is dataset.SequentialDataset and config is not None and lazy.serves(config)
        return packed.new(config) if ours else object.__new__(cls)

    dataset.SequentialDataset.__new__ = new
    loaders = importlib.import_module("recbole_mind.data.loaders")

    @_wrap(dataloader.AbstractDataLoader, "__init__")
    def loader(original: Callable[..., Any], self: Any, config: Any, data: Any, *args: Any, **more: Any) -> None:
        training = isinstance(self, dataloader.TrainDataLoader)  # torch cannot shuffle nothing
        require(len(data) > 0 or not training, f"dataset: '{config['dataset']}' leaves no row for training")
        ours = isinstance(data, lazy.SequentialDataset) or is_ours(config.model_class)
        (loaders.start if ours else original)(self, config, data, *args, **more)

    @_wrap(dataloader.NegSampleEvalDataLoader, "__init__")
    def candidates(original: Callable[..., Any], self: Any, config: Any, data: Any, *args: Any, **more: Any) -> None:
        ours = isinstance(data, lazy.SequentialDataset)
        (loaders.start_candidates if ours else original)(self, config, data, *args, **more)

    @_wrap(importlib.import_module("recbole.sampler").RepeatableSampler, "get_used_ids")
    def used(original: Callable[..., Any], self: Any) -> Any:
        """A set for each user, which nothing reads before it is replaced."""
        lean = isinstance(self.dataset, lazy.SequentialDataset)
        return np.full(self.user_num, set(), object) if lean else original(self)

    @_wrap(dataloader.TrainDataLoader, "collate_fn")
    def train(original: Callable[..., Any], self: Any, index: Any) -> Any:
        device = loaders.batch_device(self)
        return original(self, index) if device is None else self._dataset.batch(index, device)

    @_wrap(dataset.Dataset, "_download")
    def download(original: Callable[..., Any], self: Any) -> None:
        try:
            original(self)
        except (RuntimeError, ValueError) as error:
            if torch.distributed.is_initialized() or "process group" not in str(error):
                raise

    @_wrap(dataset.SequentialDataset, "data_augmentation")
    def augmentation(original: Callable[..., Any], self: Any) -> None:
        if not self.config["mask_history"]:
            original(self)
            return
        self._check_field("uid_field", "time_field")
        self.sort(by=[self.uid_field, self.time_field], ascending=True)  # what the original starts with
        users, items = (self.inter_feat[field].numpy() for field in (self.uid_field, self.iid_field))
        self.history = items, np.searchsorted(users, np.arange(self.user_num))
        rows = np.flatnonzero(users[1:] == users[:-1]) + 1  # each interaction but a user's first is a target
        original(self)
        self.inter_feat.interaction[HISTORY_ROW] = torch.from_numpy(rows)

    @_wrap(dataloader.FullSortEvalDataLoader, "collate_fn")
    def collate(original: Callable[..., Any], self: Any, index: Any) -> Any:
        interaction, history, positive_u, positive_i = original(self, index)
        if not self.is_sequential and self.config["mask_history"] is False:
            history = None
        if getattr(self._dataset, "targets_to_end", False):
            positive_u, positive_i = self._dataset.targets(interaction)
        if self.is_sequential and self.config["mask_history"]:
            masking = importlib.import_module("recbole_mind.plugin.patches.case_study")
            history = masking.history(self._dataset, interaction, positive_u, positive_i)
        return interaction, history, positive_u, positive_i


# -- trainer ------------------------------------------------------------------------------------------------------


def _mend_trainer(module: Any) -> None:
    parallel = module.DistributedDataParallel

    def distributed(model: Any, device_ids: Any = None) -> Any:
        if is_ours(type(model)):  # their trainer sums gradients itself
            return importlib.import_module("recbole_mind.training.gradients").equal_start(model)
        on_cpu = next(model.parameters()).device.type == "cpu"
        return parallel(model, device_ids=None if on_cpu else device_ids)

    module.DistributedDataParallel = distributed

    @_wrap(module.Trainer, "evaluate")
    def evaluate(
        original: Callable[..., Any],
        self: Any,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> Any:
        if eval_data and load_best_model:
            if not self.config["single_spec"]:
                torch.distributed.barrier()  # rank 0 has written it
            content = checkpoint.load(model_file or self.saved_model_file, self.device)
            if model_file is not None:
                checkpoint.check_data(content, self.model, eval_data._dataset, f"checkpoint '{model_file}'")
            checkpoint.restore(self.model, content)
        dense = functools.partial(original, self, eval_data, load_best_model=False, show_progress=show_progress)
        if not eval_data:
            return dense()
        evaluator = importlib.import_module("recbole_mind.evaluation.evaluator")
        return evaluator.evaluate(self, eval_data, dense, show_progress=show_progress).figures

    @_wrap(module.Trainer, "fit")
    def fit(
        original: Callable[..., Any], self: Any, train_data: Any, valid_data: Any = None, *args: Any, **more: Any
    ) -> Any:
        importlib.import_module("recbole_mind.evaluation.evaluator").check(self, valid_data)
        path, content = getattr(self, "resumed_from", (None, None))
        if content is not None:
            data = train_data._dataset
            trained_on = checkpoint.data_of(self.model, data)
            checkpoint.check_data(content, self.model, data, f"checkpoint '{path}'", trained_on=trained_on)
        return original(self, train_data, valid_data, *args, **more)

    def resume_checkpoint(self: Any, resume_file: str) -> dict[str, Any]:
        """Go on from ``resume_file``, which must be of the same model, and return what it holds."""
        content = checkpointer.resume(resume_file, self.config, self.model, self.optimizer, self.device)
        self.saved_model_file = str(resume_file)
        self.resumed_from = resume_file, {"data": content.get("data"), "tokens": content.get("tokens")}  # for fit
        self.start_epoch, self.cur_step = content["epoch"] + 1, content["cur_step"]
        self.best_valid_score, self.best_valid_result = content["best_valid_score"], content["best_valid_result"]
        return content

    module.Trainer.resume_checkpoint = resume_checkpoint

    @_wrap(importlib.import_module("recbole.evaluator.collector").Collector, "get_data_struct")
    def get_data_struct(original: Callable[..., Any], self: Any) -> Any:
        data = self.data_struct._data_dict
        numbers = {key: value for key, value in data.items() if not isinstance(value, torch.Tensor)}
        for key in numbers:  # the original calls .cpu() on everything
            del data[key]
        struct = original(self)
        for part in (self.data_struct, struct):
            part._data_dict.update(numbers)
        return struct
