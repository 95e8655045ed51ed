"""Patches of RecBole's quick start, once it is imported."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from recbole_mind.data.create import create_dataset
from recbole_mind.plugin.patches.patch import Patch, Replace
from recbole_mind.plugin.patches.without_ray import no_tune
from recbole_mind.training.load import load
from recbole_mind.util.ray_releases import report, takes_metrics

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

# -- Ray Tune ------------------------------------------------------------------------------------------------------


class _Tune:
    """``ray.tune`` with the ``report`` that RecBole calls."""

    @staticmethod
    def report(**metrics: Any) -> None:
        report(metrics)

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module("ray.tune"), name)


def _reports_one_dictionary() -> bool:
    return not no_tune() and takes_metrics()


QUICK_START_REPORT = Patch("quick_start_report", since="ray 2.7", needed=_reports_one_dictionary,
    fault="objective_function reports to Ray Tune by keywords, which it refuses", cure="reported as one dictionary",
    changes=(Replace(f"{_QUICK_START}:tune", _Tune()),))  # fmt: skip


def objective_function(config_dict: Any = None, config_file_list: Any = None, saved: bool = True) -> dict[str, Any]:
    """RecBole's own, from here: a worker of Ray that looks for it imports our package, and so patches RecBole."""
    result: dict[str, Any] = _OBJECTIVE.original(config_dict, config_file_list, saved)
    return result


_OBJECTIVE = Replace(f"{_QUICK_START}:objective_function", objective_function)

QUICK_START_WORKERS = Patch("quick_start_workers", since="RecBole 1.2.1",
    fault="the workers of Ray Tune import RecBole alone: no model from outside, no patch", cure="they import us too",
    changes=(
    _OBJECTIVE,
    Replace("recbole.quick_start:objective_function", objective_function),
))  # fmt: skip
