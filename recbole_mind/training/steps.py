"""The steps of a run, each a function of what the step before gave: prepare, fit, evaluate, record."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_mind.config import in_force, without_effect
from recbole_mind.evaluation import breakdown, evaluator
from recbole_mind.evaluation.outcome import EvaluationResult
from recbole_mind.training.build import build_data, build_model, build_trainer
from recbole_mind.training.describe import describe_interests, popularity
from recbole_mind.training.result import RunResult, protocol_of, versions
from recbole_mind.training.trainer import SafeTrainer, StopTraining


@dataclass(frozen=True)
class Prepared:
    """What a run is made of.

    Attributes:
        trainer: of the model, on data of the settings ``config``.
        train_data, valid_data, test_data: loaders.
        began: when the preparation of data began, by ``time.perf_counter``.
        seconds: what it took.
        protocol: what the record's ``protocol`` says beside the settings.
    """

    config: Any
    trainer: Any
    train_data: Any
    valid_data: Any
    test_data: Any
    began: float
    seconds: float
    protocol: dict[str, Any]


@dataclass(frozen=True)
class Fitted:
    """What a training came to.

    Attributes:
        valid: metric to value on the validation set, of the best epoch.
        epochs: trained.
        curve: the validation score of each evaluation.
        phases: seconds of ``training`` and ``validation``.
        earlier: of them, the seconds before the run was stopped and resumed.
        checkpoint: the file of the best epoch, if it was saved.
        search: by which the validation set was last ranked; ``None`` if RecBole scored every item.
    """

    valid: Mapping[str, Any]
    epochs: int
    checkpoint: str | None
    curve: list[float] = field(default_factory=list)
    phases: Mapping[str, float] = field(default_factory=dict)
    earlier: float = 0.0
    search: dict[str, Any] | None = None


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation of the trainer's model came to.

    Attributes:
        trainer: whose model was evaluated.
        eval_data: the loader.
        result: figures and what was found; nothing of both where no figure was asked for.
        seconds: what it took.
    """

    trainer: Any
    eval_data: Any
    result: EvaluationResult = field(default_factory=lambda: EvaluationResult({}))
    seconds: float = 0.0


def prepare(config: Any, began: float, resume: str | Path | None = None) -> Prepared:
    """Read and split the data, build model and trainer, and go to where a checkpoint stands.

    Args:
        config: the settings in force.
        began: when the run began, by ``time.perf_counter``.
        resume: a checkpoint to go on from.

    Raises:
        InputError: data, settings, search or checkpoint that cannot be used.
    """
    from recbole.utils import init_seed

    init_seed(config["seed"], config["reproducibility"])
    data, train_data, valid_data, test_data = build_data(config)
    seconds = time.perf_counter() - began
    logging.getLogger().info(config)
    logging.getLogger().info(data)
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    trainer = build_trainer(config, build_model(config, train_data))
    evaluator.check(trainer, valid_data, test_data)
    if resume is not None:
        trainer.resume_checkpoint(resume)
    protocol = {"resumed": resume is not None}
    return Prepared(config, trainer, train_data, valid_data, test_data, began, seconds, protocol)


def fit(prepared: Prepared, *, saved: bool, epoch_done: Callable[[Any, RunResult], bool] | None = None) -> Fitted:
    """Train; see :func:`recbole_mind.training.run.run` for ``saved`` and ``epoch_done``.

    Raises:
        InputError: the training diverges, or the data are not those of the checkpoint that it goes on from.
        InterruptedRun: Ctrl-C.
    """
    trainer = prepared.trainer

    def fitted(valid: Mapping[str, Any] | None, epochs: int) -> Fitted:
        checkpoint = str(trainer.saved_model_file) if saved else None
        if not isinstance(trainer, SafeTrainer):
            return Fitted(valid or {}, epochs, checkpoint)
        return Fitted(
            valid or {},
            epochs,
            checkpoint,
            curve=list(trainer.curve),
            phases=trainer.stopwatch.seconds(),
            earlier=trainer.stopwatch.earlier,
            search=trainer.valid_search,
        )

    def tell(epoch: int, score: float) -> None:
        """What RecBole's ``fit`` calls after each evaluation."""
        so_far = fitted(trainer.best_valid_result, epoch + 1)
        if epoch_done is not None and epoch_done(trainer, record(prepared, so_far)):
            raise StopTraining

    _, valid = trainer.fit(
        prepared.train_data,
        prepared.valid_data,
        saved=saved,
        show_progress=prepared.config["show_progress"],
        **({} if epoch_done is None else {"callback_fn": tell}),  # RecBole's decision trees take none
    )
    return fitted(valid, getattr(trainer, "epochs_run", prepared.config["epochs"]))


def evaluate(trainer: Any, eval_data: Any, *, load_best_model: bool = False, show_progress: bool = False) -> Evaluated:
    """Evaluate the trainer's model as it is, or the best epoch.

    Raises:
        InputError: a search is asked for that cannot serve.
    """
    began = time.perf_counter()
    if isinstance(trainer, SafeTrainer):
        result = trainer.evaluated(eval_data, load_best_model, show_progress=show_progress)
    else:
        figures = trainer.evaluate(eval_data, load_best_model=load_best_model, show_progress=show_progress)
        result = EvaluationResult(figures or {})
    return Evaluated(trainer, eval_data, result, time.perf_counter() - began)


def record(prepared: Prepared, fitted: Fitted, test: Evaluated | None = None) -> RunResult:
    """What a run came to so far; without a ``test`` it says nothing of test data."""
    config, trainer = prepared.config, prepared.trainer
    outcome = None if test is None else test.result.outcome
    phases = {"data": prepared.seconds, **fitted.phases}
    if test is not None:
        phases["test"] = test.seconds
    search = fitted.search if test is None else outcome and outcome.search
    return RunResult(
        model=config["model"],
        dataset=config["dataset"],
        protocol=protocol_of(config) | {"search": search or {"factory": "dense"}} | prepared.protocol,
        seed=config["seed"],
        config=in_force.settings_of(config),
        data=prepared.train_data._dataset.counts.record(),
        without_effect=without_effect.without_effect(config),
        valid={key: float(value) for key, value in fitted.valid.items()},
        test={} if test is None else {key: float(value) for key, value in test.result.figures.items()},
        interests={} if test is None else describe_interests(trainer.model, test.eval_data),
        # each of several processes knows its own rows alone
        report=breakdown.report(trainer, outcome, popularity(prepared.train_data))
        if outcome and config["single_spec"]
        else {},
        epochs=fitted.epochs,
        curve=fitted.curve,
        seconds=round(fitted.earlier + time.perf_counter() - prepared.began, 2),
        phases={phase: round(seconds, 2) for phase, seconds in phases.items()},
        checkpoint=fitted.checkpoint,
        versions=versions(),
    )
