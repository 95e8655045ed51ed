"""Patches of RecBole's quick start, which needs ray to be imported."""

from __future__ import annotations

from typing import Any

from recbole_mind.data.create import create_dataset
from recbole_mind.plugin.patches.patch import Patch, Replace
from recbole_mind.training.load import load

_QUICK_START = "recbole.quick_start.quick_start"


def load_data_and_model(model_file: str) -> tuple[Any, ...]:
    """Settings, model, data set and loaders for training, validation and test of a checkpoint, ours or RecBole's.

    Raises:
        InputError: the file is no usable checkpoint, or its data set is gone.
    """
    loaded = load(model_file)
    return loaded.config, loaded.model, loaded.dataset, loaded.train_data, loaded.valid_data, loaded.test_data


QUICK_START_CHECKPOINTS = Patch("quick_start_checkpoints", since="torch 2.6", issue=2215,
    fault="load_data_and_model opens a checkpoint as a pickle, which torch refuses",
    cure="opens both kinds as data alone",
    changes=(
    Replace(f"{_QUICK_START}:load_data_and_model", load_data_and_model),
    Replace("recbole.quick_start:load_data_and_model", load_data_and_model),
))  # fmt: skip

QUICK_START_DATA = Patch("quick_start_data", since="RecBole 1.2.1",
    fault="quick start keeps RecBole's own create_dataset, if it was imported before recbole_mind",
    cure="it takes ours",
    changes=(Replace(f"{_QUICK_START}:create_dataset", create_dataset),))  # fmt: skip
