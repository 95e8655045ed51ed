"""Patches of RecBole's trainers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch

from recbole_mind.config.model_names import MODELS, is_ours
from recbole_mind.evaluation import evaluator
from recbole_mind.plugin.patches.patch import Patch, Replace, Wrap
from recbole_mind.training import checkpoint, checkpointer
from recbole_mind.training.gradients import equal_start
from recbole_mind.training.trainer import RetrievalTrainer

_MODULE = "recbole.trainer.trainer"
_TRAINER = f"{_MODULE}:Trainer"

# -- evaluation by search ------------------------------------------------------------------------------------------


def evaluate_by_search(
    original: Callable[..., Any],
    trainer: Any,
    eval_data: Any,
    load_best_model: bool = True,
    model_file: str | None = None,
    show_progress: bool = False,
) -> Any:
    """Evaluate the model as it is, by the search that ``eval_search`` names, or by RecBole's dense matrix.

    The best epoch is loaded before, by :data:`CHECKPOINTS`, or by RecBole.
    """
    dense = functools.partial(original, trainer, eval_data, load_best_model, model_file, show_progress)
    if not eval_data or load_best_model:
        return dense()
    return evaluator.evaluate(trainer, eval_data, dense, show_progress=show_progress).figures


def fit_with_search_checked(
    original: Callable[..., Any], trainer: Any, train_data: Any, valid_data: Any = None, *args: Any, **more: Any
) -> Any:
    """Train, if the search that ``eval_search`` names can serve."""
    evaluator.check(trainer, valid_data)
    return original(trainer, train_data, valid_data, *args, **more)


SEARCH = Patch("search", since="RecBole 1.2.1",
    fault="every user is scored against every item in one dense matrix", cure="searched instead (eval_search)",
    changes=(Wrap(f"{_TRAINER}.evaluate", evaluate_by_search),
             Wrap(f"{_TRAINER}.fit", fit_with_search_checked)))  # fmt: skip

# -- checkpoints ---------------------------------------------------------------------------------------------------

_RESUMED: WeakKeyDictionary[Any, tuple[str, dict[str, Any]]] = WeakKeyDictionary()  # by trainer, what it goes on from


def evaluate_checkpoint(
    original: Callable[..., Any],
    trainer: Any,
    eval_data: Any,
    load_best_model: bool = True,
    model_file: str | None = None,
    show_progress: bool = False,
) -> Any:
    """Evaluate the best epoch, whose checkpoint is opened as data alone.

    Raises:
        InputError: the file is no usable checkpoint, or of other data.
    """
    if eval_data and load_best_model:
        if not trainer.config["single_spec"]:
            torch.distributed.barrier()  # rank 0 has written it
        content = checkpoint.load(model_file or trainer.saved_model_file, trainer.device)
        if model_file is not None:
            checkpoint.check_data(content, trainer.model, eval_data._dataset, f"checkpoint '{model_file}'")
        checkpoint.restore(trainer.model, content)
    return original(trainer, eval_data, load_best_model=False, show_progress=show_progress)


def fit_same_data(original: Callable[..., Any], trainer: Any, train_data: Any, *args: Any, **more: Any) -> Any:
    """Train, if the data are those of the checkpoint that the trainer goes on from."""
    if trainer in _RESUMED:
        path, content = _RESUMED[trainer]
        data = train_data._dataset
        trained_on = checkpoint.data_of(trainer.model, data)
        checkpoint.check_data(content, trainer.model, data, f"checkpoint '{path}'", trained_on=trained_on)
    return original(trainer, train_data, *args, **more)


def resume_checkpoint(trainer: Any, resume_file: str) -> dict[str, Any]:
    """Go on from ``resume_file``, which must be of the same model, and return what it holds.

    Raises:
        InputError: the file is no usable checkpoint, or of other settings.
    """
    content = checkpointer.resume(resume_file, trainer.config, trainer.model, trainer.optimizer, trainer.device)
    trainer.saved_model_file = str(resume_file)
    _RESUMED[trainer] = resume_file, {"data": content.get("data"), "tokens": content.get("tokens")}
    trainer.start_epoch, trainer.cur_step = content["epoch"] + 1, content["cur_step"]
    trainer.best_valid_score, trainer.best_valid_result = content["best_valid_score"], content["best_valid_result"]
    return content


CHECKPOINTS = Patch("checkpoints", since="torch 2.6", issue=2215,
    fault="checkpoints hold a pickled Config, which torch refuses to open at test time", cure="read as data alone",
    changes=(Wrap(f"{_TRAINER}.evaluate", evaluate_checkpoint),
             Wrap(f"{_TRAINER}.fit", fit_same_data),
             Replace(f"{_TRAINER}.resume_checkpoint", resume_checkpoint)))  # fmt: skip


def save_pretrained(trainer: Any, epoch: int, saved_model_file: str) -> None:
    """Write the end of a stage as data alone."""
    state = {"epoch": epoch, "cur_step": 0, "best_valid_score": -math.inf, "best_valid_result": {}}
    checkpointer.Checkpointer(trainer.config).save(saved_model_file, trainer.model, trainer.optimizer, state)
    trainer.saved_model_file = saved_model_file


PRETRAINED_MODELS = Patch("pretrained_models", since="torch 2.6", issue=2212,
    fault="S3Rec and RaCT write what they are pretrained to as a pickle, which torch refuses to open in the next stage",
    cure="written as data alone",
    changes=(Replace(f"{_MODULE}:PretrainTrainer.save_pretrained_model", save_pretrained),))  # fmt: skip

# -- processes and classes -----------------------------------------------------------------------------------------


def on_any_device(original: Callable[..., Any], model: Any, device_ids: Any = None) -> Any:
    """A model that several processes train, on CPUs too; our models' trainer sums gradients itself."""
    if is_ours(type(model)):
        return equal_start(model)
    on_cpu = next(model.parameters()).device.type == "cpu"
    return original(model, device_ids=None if on_cpu else device_ids)


PARALLEL_MODELS = Patch("parallel_models", since="RecBole 1.2.1",
    fault="several processes train on the GPU of their number, or not at all",
    cure="on CPUs too; our models share each batch",
    changes=(Wrap(f"{_MODULE}:DistributedDataParallel", on_any_device),))  # fmt: skip


TRAINERS = Patch("trainers", since="RecBole 1.2.1",
    fault="a model from outside is trained by RecBole's trainer, whatever it needs",
    cure="our models have a trainer of their own", source=("recbole.utils.utils:get_trainer",),
    changes=tuple(Replace(f"recbole.trainer:{name}Trainer", RetrievalTrainer) for name in MODELS))  # fmt: skip
