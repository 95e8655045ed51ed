"""A checkpoint opened with all that it needs to be used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recbole_mind.config import checks, loading, without_effect
from recbole_mind.config.model_names import is_ours
from recbole_mind.errors import require
from recbole_mind.training import checkpoint
from recbole_mind.training.build import build_config, build_data, build_model, build_trainer, quiet


class Loaded(NamedTuple):
    """A checkpoint with all that it needs to be used: see :func:`load`."""

    config: Any
    model: Any
    dataset: Any
    train_data: Any
    valid_data: Any
    test_data: Any
    epoch: int


def load(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Loaded:
    """Open a checkpoint of ours or of RecBole, with its data, ready to be evaluated or searched.

    Args:
        path: the checkpoint.
        overrides: settings that win over the checkpoint's.

    Raises:
        InputError: the file is no usable checkpoint, or its data set is gone.
    """
    content = checkpoint.load(path)
    # RecBole's own checkpoints know no other order
    stored = {"timestamp_order": "recbole"} | loading.as_stored(content["settings"])
    given = dict(overrides or {})
    without_effect.refuse_training(given, stored)
    name = given.get("protocol")
    trained = stored.get("protocol")
    require(
        name in (None, trained),
        f"protocol: '{name}' splits the data in another way than '{path}' was trained with, which is under "
        f"{'no protocol' if trained is None else trained}",
    )
    if "eval_search" in given:
        stored["search_parameters"] = None  # they were another index's
    both = stored | given
    figures = checks.evaluated(both["metrics"], both["topk"])
    if figures and "valid_metric" not in given and str(stored["valid_metric"]).lower() not in figures:
        stored["valid_metric"] = figures[0]  # which epoch was best is decided
    config = build_config(both["model"], both["dataset"], overrides=given, stored=stored)
    from recbole.utils import init_seed

    with quiet(config):
        init_seed(config["seed"], config["reproducibility"])
        data, train_data, valid_data, test_data = build_data(config)
        init_seed(config["seed"], config["reproducibility"])
        model = build_model(config, train_data)
        checkpoint.check_data(content, model, data, f"checkpoint '{path}'")
        checkpoint.restore(model, content)
        if is_ours(type(model)):
            from recbole_mind.training.optimizer import catch_up

            catch_up(model, content["optimizer"] or {})
    return Loaded(config, model.eval(), data, train_data, valid_data, test_data, int(content["epoch"]))


def trainer_for(loaded: Loaded) -> Any:
    """RecBole's trainer for a loaded model, ready to evaluate it."""
    trainer = build_trainer(loaded.config, loaded.model)
    trainer.eval_collector.data_collect(loaded.train_data)
    return trainer
