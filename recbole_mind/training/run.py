"""Train, test and load models without RecBole's ``quick_start``, which needs ray."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from recbole_mind.config import in_force, without_effect
from recbole_mind.config.model_names import is_ours
from recbole_mind.errors import require
from recbole_mind.layers.interest_statistics import interest_statistics
from recbole_mind.training.build import build_config, build_data, build_model, build_trainer, check_writable, quiet
from recbole_mind.training.load import load, trainer_for
from recbole_mind.training.result import RunResult, protocol_of, versions
from recbole_mind.util.library_errors import in_words


def run(
    model: str | None = None,
    dataset: str | None = None,
    *,
    config_files: Sequence[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
    seed: int | None = None,
    record: str | Path | None = None,
    resume: str | Path | None = None,
    saved: bool = True,
    test: bool = True,
    observe: Callable[[Any, Any], None] | None = None,
    epoch_done: Callable[[Any, RunResult], bool] | None = None,
) -> RunResult:
    """Train a model, ours or any of RecBole's, and test its best epoch.

    Args:
        model: its name; may come from a file instead.
        dataset: its name, a folder under ``data_path``; ``ml-100k`` ships with RecBole.
        config_files: YAML or JSON settings, or a record, whose settings are then used again.
        overrides: settings that win over the files.
        seed: overrides ``seed``.
        record: where to write the result as JSON.
        resume: a checkpoint to go on from.
        saved: whether to save the best epoch and test it; otherwise the last epoch is tested.
        test: whether to test; otherwise the test set is not looked at, and the result has no test figures.
        observe: is given the trainer and the test loader at the end; ``trainer.found`` holds the test's hits.
        epoch_done: is given the trainer and what the run has come to, after each evaluation on the validation set, and
            ends the training by returning ``True``.

    Raises:
        InputError: input that cannot be used; nothing has been written then.
        InterruptedRun: Ctrl-C during training.
    """
    overrides = dict(overrides or {}) | ({} if seed is None else {"seed": seed})
    config = build_config(model, dataset, config_files, overrides)
    began = time.perf_counter()  # libraries have been imported: a process' first run takes as long as its next
    _check_record(record, resume)
    for path in [Path(config["checkpoint_dir"])] + ([Path(record).parent] if record else []):
        check_writable(path)
    from recbole.utils import init_seed

    from recbole_mind.evaluation import evaluator

    name = f"model: '{config['model']}' cannot be trained on '{config['dataset']}' with these settings"
    with quiet(config), in_words(name):
        init_seed(config["seed"], config["reproducibility"])
        data, train_data, valid_data, test_data = build_data(config)
        prepared = time.perf_counter()
        logging.getLogger().info(config)
        logging.getLogger().info(data)
        init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
        network = build_model(config, train_data)
        trainer = build_trainer(config, network)
        evaluator.check(trainer, valid_data, test_data)
        if resume is not None:
            trainer.resume_checkpoint(resume)
        more: dict[str, Any] = {"protocol": {"resumed": resume is not None}, "began": began}
        more["checkpoint_path"] = str(trainer.saved_model_file) if saved else None
        phases = {"data": prepared - began}
        _, valid = trainer.fit(
            train_data,
            valid_data,
            saved=saved,
            show_progress=config["show_progress"],
            **({} if epoch_done is None else {"callback_fn": _telling(trainer, train_data, epoch_done, phases, more)}),
        )
        trained = time.perf_counter()
        phases |= getattr(trainer, "seconds", {})
        figures: Mapping[str, Any] = {}
        if test:
            trainer.keeps_found = observe is not None
            figures = trainer.evaluate(test_data, load_best_model=saved)
            phases["test"] = time.perf_counter() - trained
        if observe is not None:
            observe(trainer, test_data)
        epochs = getattr(trainer, "epochs_run", config["epochs"])
        data_used = (train_data, test_data if test else None)
        result = _result(trainer, data_used, valid or {}, figures, epochs=epochs, phases=phases, **more)
    if record is not None and config["local_rank"] == 0:
        result.write(record)
    if not config["single_spec"]:
        torch.distributed.destroy_process_group()
    return result


def evaluate(
    path: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    record: str | Path | None = None,
    show_progress: bool = False,
) -> RunResult:
    """Evaluate a saved model again, on validation and test data.

    Args:
        path: a checkpoint of ours or of RecBole.
        overrides: settings that win over the checkpoint's, such as ``eval_search``, ``mask_history`` or ``topk``.
        record: where to write the result as JSON.
        show_progress: on the terminal.

    Raises:
        InputError: input that cannot be used.
    """
    _check_record(record, path)
    import_module("recbole.config")  # with all that a run needs, and no part of its time
    began = time.perf_counter()
    given = {"checkpoint_dir": str(Path(path).parent)} | dict(overrides or {})  # the one in it may not be here
    loaded = load(path, given)
    if record:
        check_writable(Path(record).parent)
    from recbole_mind.evaluation import evaluator

    name, data = loaded.config["model"], loaded.config["dataset"]
    with quiet(loaded.config), in_words(f"model: '{name}' cannot be evaluated on '{data}' with these settings"):
        trainer = trainer_for(loaded)
        evaluator.check(trainer, loaded.test_data)
        phases, results = {"data": time.perf_counter() - began}, []
        for phase, part in (("validation", loaded.valid_data), ("test", loaded.test_data)):
            started = time.perf_counter()
            results.append(trainer.evaluate(part, load_best_model=False, show_progress=show_progress) or {})
            phases[phase] = time.perf_counter() - started
        valid, test = results
        result = _result(
            trainer,
            (loaded.train_data, loaded.test_data),
            valid,
            test,
            protocol={"evaluated": str(path)},
            began=began,
            phases=phases,
            epochs=loaded.epoch + 1,
            checkpoint_path=str(path),
        )
    if record:
        result.write(record)
    return result


def _telling(
    trainer: Any,
    train_data: Any,
    epoch_done: Callable[[Any, RunResult], bool],
    phases: Mapping[str, float],
    more: Mapping[str, Any],
) -> Callable[[int, float], None]:
    """What RecBole's ``fit`` calls after each evaluation, to tell ``epoch_done`` of it."""
    from recbole_mind.training.trainer import StopTraining

    def tell(epoch: int, score: float) -> None:
        spent, valid = {**phases, **trainer.seconds}, trainer.best_valid_result
        result = _result(trainer, (train_data, None), valid, {}, epochs=epoch + 1, phases=spent, **more)
        if epoch_done(trainer, result):
            raise StopTraining

    return tell


def _result(
    trainer: Any,
    data: tuple[Any, Any],
    valid: Mapping[str, Any],
    test: Mapping[str, Any],
    *,
    protocol: dict[str, Any],
    began: float,
    phases: dict[str, float],
    epochs: int,
    checkpoint_path: str | None,
) -> RunResult:
    """What a run or an evaluation came to that has just tested ``trainer.model``, on the last of ``data`` if at all."""
    from recbole_mind.evaluation import breakdown

    config, outcome = trainer.config, getattr(trainer, "outcome", None)
    train_data, test_data = data
    search = {"factory": "dense"} if outcome is None else outcome.search
    return RunResult(
        model=config["model"],
        dataset=config["dataset"],
        protocol=protocol_of(config) | {"search": search} | protocol,
        seed=config["seed"],
        config=in_force.settings_of(config),
        data=train_data.dataset.counts.record(),
        without_effect=without_effect.without_effect(config),
        valid={key: float(value) for key, value in valid.items()},
        test={key: float(value) for key, value in test.items()},
        interests={} if test_data is None else describe_interests(trainer.model, test_data),
        # each of several processes knows its own rows alone
        report=breakdown.report(trainer, outcome, popularity(train_data))
        if outcome and test_data is not None and config["single_spec"]
        else {},
        epochs=epochs,
        curve=list(getattr(trainer, "curve", [])),
        seconds=round(getattr(trainer, "earlier", 0.0) + time.perf_counter() - began, 2),
        phases={phase: round(seconds, 2) for phase, seconds in phases.items()},
        checkpoint=checkpoint_path,
        versions=versions(),
    )


def popularity(train_data: Any) -> Any:
    """How often each item stands in the training data, ``[N]``: as a target, or as the first of a history."""
    data = train_data.dataset
    rows = data.inter_feat
    items = rows[data.iid_field]
    if getattr(data, "item_list_length_field", None) in rows.columns:
        first = rows[rows[data.item_list_length_field] == 1][data.item_id_list_field][:, 0]
        items = torch.cat([items, first])
    return torch.bincount(items, minlength=data.item_num).numpy()


def _check_record(record: str | Path | None, checkpoint_path: str | Path | None) -> None:
    if record is None:
        return
    require(not Path(record).is_dir(), f"record: '{record}' is a folder; name a file")
    taken = [] if checkpoint_path is None else [Path(checkpoint_path), Path(f"{checkpoint_path}.json")]
    same = any(Path(record).resolve() == path.resolve() for path in taken)
    require(not same, f"record: '{record}' would overwrite the checkpoint; name another file")


def describe_interests(model: Any, eval_data: Any) -> dict[str, float]:
    """Statistics of the interests on the histories of ``eval_data``; empty for a single-vector model."""
    if not is_ours(type(model)) or model.num_interests is None:
        return {}
    device = next(model.parameters()).device
    return interest_statistics(model.interests(batch[0].to(device)) for batch in eval_data)
