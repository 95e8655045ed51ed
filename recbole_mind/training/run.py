"""Train, test and load models without RecBole's ``quick_start``, which needs ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recbole_mind.errors import require
from recbole_mind.training.build import build_config, check_writable, quiet
from recbole_mind.training.load import load, trainer_for
from recbole_mind.training.result import RunResult
from recbole_mind.util.foreign_errors import in_words

if TYPE_CHECKING:
    from recbole_mind.training.steps import Evaluated


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
    observe: Callable[[Evaluated], None] | None = None,
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
        observe: is given what the test came to, with the trainer and the test loader, before the record is made.
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
    from recbole_mind.training import steps

    name = f"model: '{config['model']}' cannot be trained on '{config['dataset']}' with these settings"
    with quiet(config), in_words(name):
        prepared = steps.prepare(config, began, resume)
        fitted = steps.fit(prepared, saved=saved, epoch_done=epoch_done)
        tested = steps.evaluate(prepared.trainer, prepared.test_data, load_best_model=saved) if test else None
        if observe is not None:
            observe(tested or steps.Evaluated(prepared.trainer, prepared.test_data))
        result = steps.record(prepared, fitted, tested)
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
    from recbole_mind.training import steps

    name, data = loaded.config["model"], loaded.config["dataset"]
    with quiet(loaded.config), in_words(f"model: '{name}' cannot be evaluated on '{data}' with these settings"):
        trainer = trainer_for(loaded)
        evaluator.check(trainer, loaded.test_data)
        prepared = steps.Prepared(
            config=loaded.config,
            trainer=trainer,
            train_data=loaded.train_data,
            valid_data=loaded.valid_data,
            test_data=loaded.test_data,
            began=began,
            seconds=time.perf_counter() - began,
            protocol={"evaluated": str(path)},
        )
        valid = steps.evaluate(trainer, loaded.valid_data, show_progress=show_progress)
        test = steps.evaluate(trainer, loaded.test_data, show_progress=show_progress)
        phases = {"validation": valid.seconds}
        fitted = steps.Fitted(valid.result.figures, loaded.epoch + 1, str(path), phases=phases)
        result = steps.record(prepared, fitted, test)
    if record:
        result.write(record)
    return result


def _check_record(record: str | Path | None, checkpoint_path: str | Path | None) -> None:
    if record is None:
        return
    require(not Path(record).is_dir(), f"record: '{record}' is a folder; name a file")
    taken = [] if checkpoint_path is None else [Path(checkpoint_path), Path(f"{checkpoint_path}.json")]
    same = any(Path(record).resolve() == path.resolve() for path in taken)
    require(not same, f"record: '{record}' would overwrite the checkpoint; name another file")
