"""The trainer of our models, and the care that RecBole's other trainers get.

:class:`RetrievalTrainer` trains our models; :func:`safe_trainer` gives the trainer of any other. What both do beside
training stands in parts of its own: ``checkpointer``, ``position``, ``interrupts``, ``stopwatch``, ``progress``,
``hits_recorder`` and ``interests_watch``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from recbole.trainer import Trainer
from recbole.utils import calculate_valid_score
from torch import Tensor, nn

from recbole_mind.errors import InputError, InterruptedRun
from recbole_mind.evaluation import evaluator
from recbole_mind.evaluation.index_cache import IndexCache
from recbole_mind.evaluation.outcome import EvaluationResult
from recbole_mind.layers.allocator import keep_freed
from recbole_mind.layers.batch_shards import Share
from recbole_mind.training import checkpoint, checkpointer
from recbole_mind.training.checkpointer import Checkpointer
from recbole_mind.training.gradients import average
from recbole_mind.training.hits_recorder import HitsRecorder
from recbole_mind.training.interests_watch import InterestsWatch
from recbole_mind.training.interrupts import Interrupts
from recbole_mind.training.optimizer import TableOptimizer, adam, tables_of
from recbole_mind.training.position import Position
from recbole_mind.training.progress import TrainingProgress
from recbole_mind.training.stopwatch import Stopwatch

CHECKED = 64  # steps between two looks at the loss on a GPU


class StopTraining(Exception):  # noqa: N818 - nothing went wrong
    """Raised by the ``callback_fn`` of :meth:`SafeTrainer.fit` to end the training after this epoch."""


class SafeTrainer:
    """Checkpoints that open again, one progress line, a named NaN, a clean stop and an exact resume.

    It stands before one of RecBole's trainers among the bases of a class. Resuming either file of a run, the best epoch
    (``saved_model_file``) or where it stands, gives the numbers of a run that was never stopped.

    Attributes:
        checkpointer: the files.
        stopwatch: seconds of ``training`` and ``validation``.
        curve: the validation score of each evaluation so far.
        valid_search: by what the validation set was last ranked; ``None`` if RecBole scored every item.
        epochs_run: how many epochs have begun.
    """

    config: Any
    model: Any
    optimizer: Any
    device: torch.device
    epochs: int
    start_epoch: int
    cur_step: int
    best_valid_score: Any
    best_valid_result: Any
    train_loss_dict: dict[int, Any]
    valid_metric: str
    logger: Any

    def __init__(self, config: Any, model: Any) -> None:
        self.checkpointer = Checkpointer(config)
        super().__init__(config, model)  # type: ignore[call-arg]
        self.saved_model_file = str(Path(self.saved_model_file).with_name(checkpointer.fresh_name(config)))
        self.evaluator = HitsRecorder(config)
        self.stopwatch = Stopwatch("training", "validation")
        self.curve: list[float] = []
        self.valid_search: dict[str, Any] | None = None
        self.epochs_run = 0
        self._interrupts = Interrupts(held=bool(config["single_spec"]))
        self._indexes = IndexCache()
        self._progress: TrainingProgress | None = None
        self._position: Position | None = None
        self._epoch, self._batch = 0, 0  # the one that runs, and its batches done
        self._loss: Any = 0.0  # the sum of their losses
        self._data: tuple[Any, dict[str, Any]] | None = None  # a loader, and what is trained on
        self._resumed: tuple[str, dict[str, Any]] | None = None  # a checkpoint's name and content
        self._valid_result: dict[str, float] | None = None  # the last one

    @property
    def saved_model_file(self) -> str:
        """Where the best epoch goes."""
        return self.checkpointer.best

    @saved_model_file.setter
    def saved_model_file(self, path: str) -> None:
        self.checkpointer.move(path)

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        path = kwargs.pop("saved_model_file", self.saved_model_file)
        if not self.checkpointer.leads:
            return
        if epoch < 0 and Path(path).exists():
            return  # a finished run was resumed: RecBole would overwrite its epoch with -1
        if self._position is not None:
            self._begin(epoch + 1)
        self.checkpointer.save(path, self.model, self.optimizer, self._state(epoch, self._valid_result))
        if verbose:
            self.logger.info(f"Saving current: {path}")

    def save_pretrained_model(self, epoch: int, saved_model_file: str) -> None:
        """Keep the end of a stage, as data alone: the next one opens it by ``torch.load``."""
        self.checkpointer.save(saved_model_file, self.model, self.optimizer, self._state(epoch, None))
        self.saved_model_file = saved_model_file

    def _save_last(self) -> None:
        """Keep where the run stands, between two batches."""
        state = self._state(self._epoch - 1, self.best_valid_result)
        self.checkpointer.save_last(self.model, self.optimizer, state)

    def _state(self, epoch: int, result: dict[str, float] | None) -> dict[str, Any]:
        """What a checkpoint holds beside weights and optimizer."""
        position = self._position
        return {
            "epoch": epoch,
            "cur_step": self.cur_step,
            "best_valid_score": float(self.best_valid_score),
            "best_valid_result": {key: float(value) for key, value in (result or {}).items()},
            "mean_loss": self._mean_loss(epoch),
            "seconds": self.stopwatch.seconds(),
            "curve": list(self.curve),
            "position": None if position is None else position.state(self._epoch, self._batch, float(self._loss)),
            "data": self._data and self._data[1],
        }

    def _mean_loss(self, epoch: int) -> float | None:
        """The mean over an epoch's batches, which RecBole sums; ``None`` for an epoch that was not run here.

        Unlike the sum, it can be compared with that of a training on more interactions or fewer.
        """
        loss = self.train_loss_dict.get(epoch)
        if loss is None or self._position is None:
            return None
        return float(sum(loss) if isinstance(loss, tuple) else loss) / max(len(self._position.loader), 1)

    def resume_checkpoint(self, resume_file: str) -> None:
        """Go on from ``resume_file``: a best epoch, or a ``.last.pth``, whose best epoch is then beside it.

        Raises:
            InputError: it is of another model or other settings; the best epoch that it goes with is gone.
        """
        content = checkpointer.resume(resume_file, self.config, self.model, self.optimizer, self.device)
        self.saved_model_file = checkpointer.best_of(resume_file, content)
        position = content.get("position")
        self.start_epoch = content["epoch"] + 1 if position is None else position["epoch"]
        self.cur_step = content["cur_step"]
        self.best_valid_score, self.best_valid_result = content["best_valid_score"], content["best_valid_result"]
        self.stopwatch.resume(content.get("seconds") or {})
        self.curve = list(content.get("curve") or [])
        kept = {key: content.get(key) for key in ("data", "tokens", "position")}
        self._resumed = f"checkpoint '{resume_file}'", kept
        self._valid_result = self.best_valid_result
        self.epochs_run = self.start_epoch

    def _trained_on(self, train_data: Any) -> dict[str, Any]:
        """What the model is trained on, hashed once for a loader."""
        if self._data is None or self._data[0] is not train_data:
            self._data = train_data, checkpoint.data_of(self.model, train_data._dataset)
        return self._data[1]

    # -- evaluation ----------------------------------------------------------------------------------------------

    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> dict[str, float] | None:
        """The figures of :meth:`evaluated`, as RecBole's ``Trainer.evaluate`` gives them."""
        if not eval_data:
            return None
        return self.evaluated(eval_data, load_best_model, model_file, show_progress).figures

    def evaluated(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> EvaluationResult:
        """Evaluate by the search that the settings choose, the best epoch or the model as it is.

        Args:
            eval_data: a loader.
            load_best_model: whether to load ``saved_model_file`` before, or
            model_file: another checkpoint.
            show_progress: on a terminal.

        Raises:
            InputError: the checkpoint or the search cannot be used.
        """
        if not eval_data:
            return EvaluationResult({})
        if load_best_model:
            if not self.config["single_spec"]:
                torch.distributed.barrier()  # the first process has written it
            content = checkpoint.load(model_file or self.saved_model_file, self.device)
            if model_file is not None:
                checkpoint.check_data(content, self.model, eval_data._dataset, f"checkpoint '{model_file}'")
            checkpoint.restore(self.model, content)
        return self._judged(eval_data, show_progress)

    def _judged(self, eval_data: Any, show_progress: bool) -> EvaluationResult:
        """Evaluate the model as it is."""
        dense = partial(super().evaluate, eval_data, load_best_model=False, show_progress=show_progress)  # type: ignore[misc]
        result = evaluator.evaluate(self, eval_data, dense, indexes=self._indexes, show_progress=show_progress)
        return replace(result, topk=self.evaluator.take())

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
        with self.stopwatch.phase("validation"):
            result = self.evaluated(valid_data, load_best_model=False, show_progress=show_progress)
        score = float(calculate_valid_score(result.figures, self.valid_metric))
        self.valid_search = None if result.outcome is None else result.outcome.search
        self._valid_result = result.figures
        self.curve.append(score)
        if self._progress is not None:
            self._progress.validated(score)
        return score, result.figures

    # -- training ------------------------------------------------------------------------------------------------

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], None] | None = None,
    ) -> tuple[float, dict[str, float] | None]:
        """Train; see RecBole's ``Trainer.fit``.

        Raises:
            InputError: the data are not those of the checkpoint that training goes on from.
            InterruptedRun: Ctrl-C; the message names the checkpoint that goes on.
        """
        if self._resumed is not None:
            name, content = self._resumed
            trained_on = self._trained_on(train_data)
            checkpoint.check_data(content, self.model, train_data._dataset, name, trained_on=trained_on)
        start = self.start_epoch
        result: tuple[float, dict[str, float] | None]
        self.checkpointer.start(saves=saved)
        self._interrupts = Interrupts(held=bool(self.config["single_spec"]))
        try:
            with TrainingProgress(self.epochs, start, len(train_data), self.config, enabled=show_progress) as progress:
                self._progress = progress
                result = super().fit(  # type: ignore[misc]
                    train_data, valid_data, verbose, saved, show_progress=False, callback_fn=callback_fn
                )
        except StopTraining:
            result = self.best_valid_score, self.best_valid_result
        except KeyboardInterrupt:
            stopped = f"stopped in epoch {self.epochs_run} of {self.epochs}"
            raise InterruptedRun(f"{stopped}: {self.checkpointer.kept()}") from None
        finally:
            self._progress = None
        self.checkpointer.finish()
        return result

    def _begin(self, epoch: int) -> Position:
        """Stand before the first batch of an epoch."""
        assert self._position is not None  # noqa: S101 - for the type
        self._epoch, self._batch, self._loss = epoch, 0, 0.0
        self._position.begin()
        return self._position

    def _train_epoch(self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False) -> Any:
        self.epochs_run = epoch_idx + 1
        self._indexes.clear()
        if self._position is None or self._position.loader is not train_data:  # some of RecBole's train in stages
            self._position = Position(train_data, self.model)
            self._trained_on(train_data)
        position = self._begin(epoch_idx)
        place = None if self._resumed is None else self._resumed[1]["position"]
        if place is not None:
            position.restore(place)
            self._epoch, self._batch, self._loss = place["epoch"], place["batch"], float(place["loss"])
        self._resumed = None
        resumed = self._batch > 0
        if self._progress is not None:
            self._progress.epoch(epoch_idx, self._batch)
        keywords = {} if loss_func is None else {"loss_func": loss_func}
        with self.stopwatch.phase("training"), self._interrupts.waiting():
            loss = self._pass_over(Batches(position, self._step_done), epoch_idx, **keywords)
        if loss is None or (resumed and not isinstance(loss, tuple)):
            loss = float(self._loss)
        if self._progress is not None:
            self._progress.trained(sum(loss) if isinstance(loss, tuple) else loss)
        return loss

    def _pass_over(self, batches: Any, epoch_idx: int, **keywords: Any) -> Any:
        """One epoch over ``batches``: RecBole's."""
        return super()._train_epoch(batches, epoch_idx, show_progress=False, **keywords)  # type: ignore[misc]

    def _step_done(self) -> None:
        """A batch is done and the next one is not drawn."""
        self._batch += 1
        if self._progress is not None and self._progress.live:
            self._progress.step()
        if self.checkpointer.saves and (self._interrupts.asked or time.monotonic() >= self.checkpointer.due):
            self._save_last()
        if self._interrupts.asked:
            raise KeyboardInterrupt

    def _check_nan(self, loss: Any) -> None:
        """What RecBole's epoch calls for every batch."""
        self._loss += self._finite(loss)

    def _finite(self, loss: Any) -> float:
        """The value of a loss, if it is a number."""
        value: float = loss.item()
        if not math.isfinite(value):
            raise InputError(
                f"the training loss is {value} in epoch {self.epochs_run}: learning_rate "
                f"{self.config['learning_rate']} is too high for these settings; try a tenth of it"
            )
        return value


class Batches:
    """A loader's batches of an epoch that are still to do, each followed by a call; otherwise the loader itself."""

    def __init__(self, position: Position, done: Callable[[], None]) -> None:
        self._position, self._done = position, done

    def __iter__(self) -> Iterator[Any]:
        for batch in self._position.batches():
            yield batch
            self._done()

    def __len__(self) -> int:
        return len(self._position.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._position.loader, name)


class RetrievalTrainer(SafeTrainer, Trainer):
    """How our models train: rows of tables on their own, several processes in step, nothing that waits for a GPU.

    RecBole's epoch reads the loss back at every step and, with several processes, sums all parameters; this one does
    not. Under ``enable_amp`` the layers compute in bfloat16, losses and optimizer in float32.
    """

    clip_grad_norm: dict[str, Any] | None

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        self._watch = InterestsWatch(model, config["seed"], config["device"]) if model.num_interests else None

    def _build_optimizer(self, **kwargs: Any) -> Any:
        keep_freed()
        config = self.config
        if config["learner"].lower() != "adam" or kwargs:
            return super()._build_optimizer(**kwargs)
        rate, decay = config["learning_rate"], config["weight_decay"]
        return adam(self.model, rate, weight_decay=decay, sparse=config["sparse_updates"])

    def _pass_over(
        self, batches: Any, epoch_idx: int, loss_func: Callable[[Any], Tensor] | None = None, **_: Any
    ) -> None:
        """One epoch, whose loss is collected on the way."""
        self.model.train()
        order, waits = batches.order, self.device.type == "cuda"
        unread = torch.zeros((), device=self.device)  # the losses since the last look at them
        for batch in batches:
            loss = self.advance(batch, order.share(self._batch), loss_func)
            unread += loss
            self._loss += loss
            if not waits or (self._batch + 1) % CHECKED == 0:
                self._finite(unread)
                unread.zero_()
        self._finite(unread)
        if isinstance(self.optimizer, TableOptimizer):
            self.optimizer.flush()

    def advance(self, batch: Any, share: Share, loss_func: Callable[[Any], Tensor] | None = None) -> Tensor:
        """One step: this process's ``share`` of a batch. Returns its part of the loss, a scalar."""
        loss_of = loss_func or partial(self.model.calculate_loss, share=share)
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config["enable_amp"]):
            loss: Tensor = loss_of(batch.to(self.device)) * share.weight
        loss.backward()  # type: ignore[no-untyped-call]
        leaves = self._leaves()
        if share.world > 1:
            average([leaf.grad for leaf in leaves if leaf.grad is not None])
        if self.clip_grad_norm:
            for _, table in tables_of(self.model):
                if table.rows is not None:
                    table.rows.drop_padding()
            nn.utils.clip_grad_norm_(leaves, **self.clip_grad_norm)
        self.optimizer.step()
        return loss.detach()

    def _leaves(self) -> list[Tensor]:
        """All tensors that a gradient was collected in."""
        leaves: list[Tensor] = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        if isinstance(self.optimizer, TableOptimizer):
            leaves += [table.rows for table in self.optimizer.tables.values() if table.rows is not None]
        return leaves

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
        score, result = super()._valid_epoch(valid_data, show_progress)
        self._show_interests(valid_data)
        return score, result

    def _show_interests(self, valid_data: Any) -> None:
        """Write to TensorBoard what the interests of some validation users do, for a model that has several."""
        if self._watch is None or not self.checkpointer.leads:
            return
        for name, value in self._watch.figures(valid_data).items():
            self.tensorboard.add_scalar(f"Interests/{name}", value, self.epochs_run - 1)


@cache
def safe_trainer(base: type[Trainer]) -> type[Trainer]:
    """A trainer of RecBole's with the care of :class:`SafeTrainer`: the same class for the same ``base``."""
    return base if issubclass(base, SafeTrainer) else type(f"{base.__name__}MadeSafe", (SafeTrainer, base), {})
