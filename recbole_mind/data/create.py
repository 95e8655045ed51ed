"""The data set and the loaders that a run's settings ask for, RecBole's or ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from recbole_mind.config import protocols
from recbole_mind.data import dataset as lazy
from recbole_mind.data import packed_dataset, saved
from recbole_mind.data.loaders import make_loader


def recbole_class(config: Any) -> Any:
    """The class that RecBole makes the data set of a model of."""
    module = import_module("recbole.data.dataset")
    kinds = {"SEQUENTIAL": "SequentialDataset", "KNOWLEDGE": "KnowledgeBasedDataset"}
    usual = getattr(module, kinds.get(config["MODEL_TYPE"].name, "Dataset"))
    return getattr(module, f"{config['model']}Dataset", usual)


def serves(config: Any) -> bool:
    """Whether a data set of ours stands in for RecBole's ``SequentialDataset``."""
    return recbole_class(config) is import_module("recbole.data.dataset").SequentialDataset and lazy.serves(config)


def create_dataset(config: Any) -> Any:
    """The data set that the settings ask for, read or as it was saved; see RecBole's function of that name.

    Raises:
        InputError: ``dataset_save_path`` names what is not this data set; a file cannot be read.
    """
    return read_or_saved(config, packed_dataset.create if serves(config) else recbole_class(config))


def read_or_saved(config: Any, read: Callable[[Any], Any]) -> Any:
    """The data set as it was saved, where it was; otherwise what ``read`` makes, saved where the settings ask for it.

    Raises:
        InputError: see :func:`create_dataset`.
    """
    dataset = saved.load_dataset(config, recbole_class(config).__name__)
    if dataset is None:
        dataset = read(config)
        if config["save_dataset"]:
            saved.save_dataset(dataset)
    return dataset


def create_loaders(config: Any, dataset: Any) -> tuple[Any, Any, Any]:
    """The loaders for training, validation and test, made or as they were saved; RecBole's ``data_preparation``.

    Raises:
        InputError: nothing is left to train on; ``dataloaders_save_path`` names what are not these.
    """
    kept = saved.load_loaders(config)
    if kept is not None:
        dataset._change_feat_format()
        train, valid, test = kept
        return train, valid, test
    from recbole.data import utils

    parts = _split(config, dataset)
    samplers = [[sampler] for sampler in utils.create_samplers(config, dataset, parts)]
    shuffle = [config["shuffle"], False, False]
    if config["MODEL_TYPE"].name == "KNOWLEDGE":
        drawn = config["train_neg_sample_args"]
        samplers[0].append(utils.KGSampler(dataset, drawn["distribution"], drawn["alpha"]))
        shuffle[0] = True
    usual = inspect.unwrap(utils.get_dataloader)  # RecBole's choice, without the patch that turns it into ours
    train, valid, test = (
        make_loader(usual(config, phase), config, part, *given, shuffle=mixed)
        for phase, part, given, mixed in zip(("train", "valid", "test"), parts, samplers, shuffle, strict=True)
    )
    if config["save_dataloaders"]:
        saved.save_loaders(config, (train, valid, test))
    return train, valid, test


def _split(config: Any, dataset: Any) -> list[Any]:
    """What ``dataset`` has for training, validation and test; without a sequence, each user's last behaviours too."""
    asked = protocols.last_fraction(config["eval_args"])
    if asked is None or isinstance(dataset, lazy.SequentialDataset):
        return list(dataset.build())
    given = config["eval_args"]
    config["eval_args"] = given | {"split": {"RS": list(asked.ratios)}}  # by user and time that is the same split
    try:
        return list(dataset.build())
    finally:
        config["eval_args"] = given
