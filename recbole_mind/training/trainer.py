"""RecBole's trainers with checkpoints that open again, progress with time left, a clean stop and an exact resume."""

from __future__ import annotations

import contextlib
import math
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_mind.config import in_force
from recbole_mind.config.model_names import is_ours
from recbole_mind.errors import InputError, InterruptedRun, require
from recbole_mind.layers.interest_statistics import coupling_statistics
from recbole_mind.training import checkpoint
from recbole_mind.training.position import Position, check_position
from recbole_mind.training.progress import TrainingProgress

WATCHED = 256  # validation users whose interests TensorBoard shows


class StopTraining(Exception):  # noqa: N818 - nothing went wrong
    """Raised by the ``callback_fn`` of :meth:`SafeTrainer.fit` to end the training after this epoch."""


class SafeTrainer:
    """A mixin that stands before one of RecBole's trainers (``type("T", (SafeTrainer, Trainer), {})``).

    It saves checkpoints of :mod:`recbole_mind.training.checkpoint`, shows one progress line for the whole training,
    names a NaN loss, and turns Ctrl-C into :class:`~recbole_mind.errors.InterruptedRun` with the last good checkpoint
    intact.

    Two files hold a run: the best epoch (``saved_model_file``), and, every ``checkpoint_minutes`` and on Ctrl-C, where
    it stands (``<best>.last.pth``), which goes when the run is done. Resuming either gives the numbers of a run that
    was never stopped.
    """

    config: Any
    model: Any
    optimizer: Any
    saved_model_file: str
    epochs: int
    start_epoch: int
    epochs_run = 0
    curve: list[float]  # the validation score of each evaluation so far
    found: torch.Tensor | None

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)  # type: ignore[call-arg]
        # one name for all ranks, and another one for a run that starts in the same second
        stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        name = [f"{config['model']}-{config['dataset']}-seed{config['seed']}-{stamp}.pth"]
        if not config["single_spec"]:
            torch.distributed.broadcast_object_list(name, src=0)
        self.saved_model_file = str(Path(self.saved_model_file).with_name(name[0]))
        self._progress: TrainingProgress | None = None
        self._position: Position | None = None
        self._data: dict[str, Any] | None = None  # what the model is trained on
        self._resumed: dict[str, Any] | None = None
        self._current_result: dict[str, float] | None = None
        self.seconds = {"training": 0.0, "validation": 0.0}  # of a resumed run, those before it was stopped too
        self.earlier = 0.0  # of them, the seconds before
        self.curve = []
        self._epoch_began: float | None = None
        self._saves, self._saved_at, self._interrupted = True, time.monotonic(), False
        self.keeps_found, self.found = False, None
        self._watched: tuple[Any, Any] | None = None  # validation data, and some of its users
        self._listen(self.evaluator)  # type: ignore[attr-defined]

    def _listen(self, evaluator: Any) -> None:
        """Keep, as ``found``, which of the items at the top of each row were targets, when ``keeps_found`` asks for it.

        It is RecBole's ``rec.topk`` ``[R, k + 1]``, whose last column is the number of targets; ``None`` without one.
        """
        evaluate = evaluator.evaluate

        def listening(struct: Any) -> Any:
            if self.keeps_found:
                self.found = struct.get("rec.topk").cpu() if "rec.topk" in struct else None
            return evaluate(struct)

        evaluator.evaluate = listening

    @property
    def last_file(self) -> str:
        """Where the state of an unfinished run is kept."""
        return str(Path(self.saved_model_file).with_suffix(".last.pth"))

    @property
    def _leads(self) -> bool:
        """Whether this process writes the files."""
        return bool(self.config["single_spec"] or self.config["local_rank"] == 0)

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        path = kwargs.pop("saved_model_file", self.saved_model_file)
        if not self._leads:
            return
        if epoch < 0 and Path(path).exists():
            return  # a finished run was resumed: RecBole would overwrite its epoch with -1
        if self._position is not None:
            self._position.begin(epoch + 1)
        self._write(path, epoch, self._current_result)
        if verbose:
            self.logger.info(f"Saving current: {path}")  # type: ignore[attr-defined]

    def _save_last(self) -> None:
        """Keep where the run stands, between two batches."""
        position: Any = self._position
        self._write(self.last_file, position.epoch - 1, self.best_valid_result)  # type: ignore[attr-defined]
        self._saved_at = time.monotonic()

    def _write(self, path: str, epoch: int, result: dict[str, float] | None) -> None:
        found = self.model.other_parameter() or {}
        state = {
            "epoch": epoch,
            "cur_step": self.cur_step,  # type: ignore[attr-defined]
            "best_valid_score": float(self.best_valid_score),  # type: ignore[attr-defined]
            "best_valid_result": {key: float(value) for key, value in (result or {}).items()},
            "mean_loss": self._mean_loss(epoch),
            "state_dict": self.model.state_dict(),
            # modules are in state_dict
            "other_parameter": {key: value for key, value in found.items() if not isinstance(value, torch.nn.Module)},
            "optimizer": self.optimizer.state_dict(),
            "seconds": self.seconds | {"training": self.seconds["training"] + self._in_epoch()},
            "curve": list(self.curve),
            "position": None if self._position is None else self._position.state(),
            "best": Path(self.saved_model_file).name if path == self.last_file else None,
            "data": self._data,
        }
        checkpoint.save(path, state, in_force.settings_of(self.config))

    def _mean_loss(self, epoch: int) -> float | None:
        """The mean over an epoch's batches, which RecBole sums; ``None`` for an epoch that was not run here.

        Unlike the sum, it can be compared with that of a training on more interactions or fewer.
        """
        loss = self.train_loss_dict.get(epoch)  # type: ignore[attr-defined]
        if loss is None or self._position is None:
            return None
        return float(sum(loss) if isinstance(loss, tuple) else loss) / max(len(self._position.loader), 1)

    def resume_checkpoint(self, resume_file: str) -> None:
        """Go on from ``resume_file``: a best epoch, or a ``.last.pth``, whose best epoch is then beside it.

        Raises:
            InputError: it is of another model or other data; the best epoch that it goes with is gone.
        """
        content = super().resume_checkpoint(resume_file)  # type: ignore[misc]
        best = Path(resume_file).with_name(str(content.get("best") or Path(resume_file).name))
        if math.isfinite(content["best_valid_score"]):
            require(best.is_file(), f"checkpoint '{resume_file}' goes with '{best}', which does not exist")
        self.saved_model_file = str(best)
        self.seconds |= content.get("seconds") or {}
        self.earlier = sum(self.seconds.values())
        self.curve = list(content.get("curve") or [])
        self._resumed = content.get("position")
        if self._resumed is not None:
            check_position(self._resumed)
            self.start_epoch = self._resumed["epoch"]
        self._current_result = self.best_valid_result  # type: ignore[attr-defined]
        self.epochs_run = self.start_epoch

    # -- training ------------------------------------------------------------------------------------------------

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
        began = time.perf_counter()
        score, result = super()._valid_epoch(valid_data, show_progress=show_progress)  # type: ignore[misc]
        self.seconds["validation"] += time.perf_counter() - began
        self._current_result = result
        self.curve.append(float(score))
        self._show_interests(valid_data)
        if self._progress is not None:
            self._progress.validated(score)
        return score, result

    def _show_interests(self, valid_data: Any) -> None:
        """Write what the interests of some validation users do to TensorBoard, for a model that has several.

        The users are drawn once, by ``seed``, from a generator of their own: training and its figures do not change.
        """
        if not (self._leads and is_ours(type(self.model)) and self.model.num_interests):
            return
        if self._watched is None or self._watched[0] is not valid_data:
            n = len(valid_data.dataset)
            drawn = np.random.default_rng(self.config["seed"]).choice(n, min(n, WATCHED), replace=False)
            self._watched = valid_data, valid_data.dataset[np.sort(drawn)].to(self.config["device"])
        users = self._watched[1]
        interests, active, weights = self.model.encoded(users)
        lengths = users[self.model.ITEM_SEQ_LEN]
        figures = coupling_statistics(interests.float(), active, weights.float(), lengths)
        for name, value in figures.items():
            self.tensorboard.add_scalar(f"Interests/{name}", value, self.epochs_run - 1)  # type: ignore[attr-defined]

    def _train_epoch(self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False) -> Any:
        self.epochs_run = epoch_idx + 1
        self.outcome = None  # of the last evaluation, with an index of item vectors that now change
        position = self._position
        if position is None or position.loader is not train_data:  # some trainers of RecBole train in stages
            position = self._position = Position(train_data, self.model)
            self._data = checkpoint.data_of(self.model, train_data._dataset)
        if self._resumed is not None:
            position.restore(self._resumed)
            self._resumed = None
        else:
            position.begin(epoch_idx)
        resumed = position.batch > 0
        if self._progress is not None:
            self._progress.epoch(epoch_idx, position.batch)
        keywords = {} if loss_func is None else {"loss_func": loss_func}
        watched = _Watched(train_data, position, self._step_done)
        self._epoch_began = time.perf_counter()
        with self._batch_boundary_interrupts():
            loss = super()._train_epoch(watched, epoch_idx, show_progress=False, **keywords)  # type: ignore[misc]
        self.seconds["training"] += self._in_epoch()
        self._epoch_began = None
        if loss is None or (resumed and not isinstance(loss, tuple)):
            loss = float(position.loss)
        if self._progress is not None:
            self._progress.trained(sum(loss) if isinstance(loss, tuple) else loss)
        return loss

    def _in_epoch(self) -> float:
        """Seconds of the epoch that is being trained; 0 between two."""
        return 0.0 if self._epoch_began is None else time.perf_counter() - self._epoch_began

    def _step_done(self) -> None:
        """A batch is done and the next one is not drawn."""
        if self._progress is not None:
            self._progress.step()
        minutes = self.config["checkpoint_minutes"]
        due = minutes is not None and time.monotonic() - self._saved_at >= 60 * minutes
        if self._saves and self._leads and (due or self._interrupted):
            self._save_last()
        if self._interrupted:
            raise KeyboardInterrupt

    def _batch_boundary_interrupts(self) -> Any:
        """A context in which Ctrl-C waits for the end of the batch; a second one does not."""
        return _Interrupts(self) if self.config["single_spec"] else contextlib.nullcontext()

    def _check_nan(self, loss: Any) -> None:
        """What RecBole's epoch calls for every batch."""
        value = self._refuse_nan(loss)
        if self._position is not None:
            self._position.loss += value

    def _refuse_nan(self, loss: Any) -> float:
        value: float = loss.item()
        if not math.isfinite(value):
            raise InputError(
                f"the training loss is {value} in epoch {self.epochs_run}: learning_rate "
                f"{self.config['learning_rate']} is too high for these settings; try a tenth of it"
            )
        return value

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
            InterruptedRun: Ctrl-C; the message names the checkpoint that goes on.
        """
        start = self.start_epoch
        result: tuple[float, dict[str, float] | None]
        self._saves, self._saved_at, self._interrupted = saved, time.monotonic(), False
        try:
            with TrainingProgress(self.epochs, start, len(train_data), self.config, enabled=show_progress) as progress:
                self._progress = progress
                result = super().fit(  # type: ignore[misc]
                    train_data, valid_data, verbose, saved, show_progress=False, callback_fn=callback_fn
                )
        except StopTraining:
            result = self.best_valid_score, self.best_valid_result  # type: ignore[attr-defined]
        except KeyboardInterrupt:
            raise InterruptedRun(f"stopped in epoch {self.epochs_run} of {self.epochs}: {self._kept()}") from None
        finally:
            self._progress = None
        if self._leads:
            for path in (self.last_file, f"{self.last_file}.json"):
                Path(path).unlink(missing_ok=True)
        return result

    def _kept(self) -> str:
        """What is on disk to go on from."""
        for path in (self.last_file, self.saved_model_file):
            if Path(path).exists():
                return f"the last good checkpoint is '{path}'; --resume={path} goes on"
        return "no checkpoint was written yet"


class _Interrupts:
    """Turn the first Ctrl-C into a flag of the trainer."""

    def __init__(self, trainer: SafeTrainer) -> None:
        self.trainer = trainer

    def __enter__(self) -> None:
        self.previous = None
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self.previous = signal.signal(signal.SIGINT, self._interrupt)

    def __exit__(self, *_: object) -> None:
        if self.previous is not None:
            signal.signal(signal.SIGINT, self.previous)

    def _interrupt(self, *_: object) -> None:
        if self.trainer._interrupted:
            raise KeyboardInterrupt
        self.trainer._interrupted = True


class _Watched:
    """A data loader that tells of each batch that is done and is otherwise the loader itself."""

    def __init__(self, loader: Any, position: Position, done: Callable[[], None]) -> None:
        self._loader, self._position, self._done = loader, position, done

    def __iter__(self) -> Iterator[Any]:
        for batch in self._position.batches():
            yield batch
            self._position.batch += 1
            self._done()

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
