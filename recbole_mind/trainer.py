"""RecBole's trainers with checkpoints that open again, progress with time left, and a clean stop."""

from __future__ import annotations

import math
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from recbole_mind import checkpoint
from recbole_mind.errors import InputError, InterruptedRun


class SafeTrainer:
    """A mixin that stands before one of RecBole's trainers (``type("T", (SafeTrainer, Trainer), {})``).

    It saves checkpoints of :mod:`recbole_mind.checkpoint`, shows one progress line for the whole training, names a NaN
    loss, and turns Ctrl-C into :class:`~recbole_mind.errors.InterruptedRun` with the last good checkpoint intact.
    """

    config: Any
    saved_model_file: str
    epochs: int
    epochs_run = 0

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)  # type: ignore[call-arg]
        # one name for all ranks, and another one for a run that starts in the same second
        stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        name = [f"{config['model']}-{config['dataset']}-seed{config['seed']}-{stamp}.pth"]
        if not config["single_spec"]:
            torch.distributed.broadcast_object_list(name, src=0)
        self.saved_model_file = str(Path(self.saved_model_file).with_name(name[0]))
        self._progress: TrainingProgress | None = None

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        if not self.config["single_spec"] and self.config["local_rank"] != 0:
            return
        if epoch < 0 and Path(self.saved_model_file).exists():
            return  # a finished run was resumed: RecBole would overwrite its epoch with -1
        found = self.model.other_parameter() or {}  # type: ignore[attr-defined]
        other = {key: value for key, value in found.items() if not isinstance(value, torch.nn.Module)}  # in state_dict
        state = {
            "epoch": epoch,
            "cur_step": self.cur_step,  # type: ignore[attr-defined]
            "best_valid_score": float(self.best_valid_score),  # type: ignore[attr-defined]
            "best_valid_result": {key: float(value) for key, value in (self._current_result or {}).items()},
            "state_dict": self.model.state_dict(),  # type: ignore[attr-defined]
            "other_parameter": other,
            "optimizer": self.optimizer.state_dict(),  # type: ignore[attr-defined]
        }
        path = kwargs.pop("saved_model_file", self.saved_model_file)
        checkpoint.save(path, state, checkpoint.settings_of(self.config))
        if verbose:
            self.logger.info(f"Saving current: {path}")  # type: ignore[attr-defined]

    def resume_checkpoint(self, resume_file: str) -> None:
        """Go on from ``resume_file``."""
        super().resume_checkpoint(resume_file)  # type: ignore[misc]
        self.epochs_run = self.start_epoch  # type: ignore[attr-defined]

    _current_result: dict[str, float] | None = None

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
        score, result = super()._valid_epoch(valid_data, show_progress=show_progress)  # type: ignore[misc]
        self._current_result = result
        if self._progress is not None:
            self._progress.validated(score)
        return score, result

    def _train_epoch(self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False) -> Any:
        self.epochs_run = epoch_idx + 1
        self.outcome = None  # of the last evaluation, with an index of item vectors that now change
        watched = train_data if self._progress is None else _Watched(train_data, self._progress)
        if self._progress is not None:
            self._progress.epoch(epoch_idx)
        keywords = {} if loss_func is None else {"loss_func": loss_func}
        loss = super()._train_epoch(watched, epoch_idx, show_progress=False, **keywords)  # type: ignore[misc]
        if self._progress is not None:
            self._progress.trained(sum(loss) if isinstance(loss, tuple) else loss)
        return loss

    def _check_nan(self, loss: Any) -> None:
        if not math.isfinite(loss.item()):
            raise InputError(
                f"the training loss is {loss.item()} in epoch {self.epochs_run}: learning_rate "
                f"{self.config['learning_rate']} is too high for these settings; try a tenth of it"
            )

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
            InterruptedRun: Ctrl-C; the message names the last good checkpoint.
        """
        start = self.start_epoch  # type: ignore[attr-defined]
        try:
            with TrainingProgress(self.epochs, start, len(train_data), self.config, enabled=show_progress) as progress:
                self._progress = progress
                result: tuple[float, dict[str, float] | None] = super().fit(  # type: ignore[misc]
                    train_data, valid_data, verbose, saved, show_progress=False, callback_fn=callback_fn
                )
                return result
        except KeyboardInterrupt:
            kept = "no checkpoint was written yet"
            if Path(self.saved_model_file).exists():
                kept = (
                    f"the last good checkpoint is '{self.saved_model_file}'; --resume={self.saved_model_file} goes on"
                )
            raise InterruptedRun(f"stopped in epoch {self.epochs_run} of {self.epochs}: {kept}") from None
        finally:
            self._progress = None


class TrainingProgress:
    """One line for the whole training: epoch, loss, best validation score, time left if no early stop ends it.

    On a terminal it is a live bar; elsewhere one line an epoch.
    """

    def __init__(self, epochs: int, start: int, batches: int, config: Any, *, enabled: bool) -> None:
        self.epochs, self.start, self.batches, self.enabled = epochs, start, batches, enabled
        self.metric, self.bigger = config["valid_metric"], config["valid_metric_bigger"]
        self.best: float | None = None
        self.loss, self.score, self.unsaid = math.nan, "", False
        self.current = start
        self.began = time.monotonic()
        console = Console(stderr=True)
        self.live = enabled and console.is_terminal
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left at most"),
            TimeRemainingColumn(),
            console=console,
            disable=not self.live,
        )
        self.task = self.bar.add_task(f"{config['model']}: training", total=max(epochs - start, 0) * batches)
        self.name = config["model"]

    def __enter__(self) -> TrainingProgress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._line()
        self.bar.stop()

    def epoch(self, index: int) -> None:
        """Epoch ``index`` begins."""
        self._line()
        self.current = index
        self._describe()

    def step(self) -> None:
        """A batch is done."""
        self.bar.advance(self.task)

    def trained(self, loss: float) -> None:
        """The epoch's training ends with the summed ``loss``."""
        self.loss, self.score = loss / max(self.batches, 1), ""
        self.unsaid = True
        self._describe()

    def validated(self, score: float) -> None:
        """The epoch was validated with ``score``."""
        better = self.best is None or (score >= self.best if self.bigger else score <= self.best)
        self.best = score if better else self.best
        self.score = f", {self.metric} {score:.4f}{' (best)' if better else ''}"
        self._describe()

    def _describe(self) -> None:
        best = "" if self.best is None else f", best {self.metric} {self.best:.4f}"
        loss = "" if math.isnan(self.loss) else f", loss {self.loss:.3f}"
        self.bar.update(self.task, description=f"{self.name} epoch {self.current + 1}/{self.epochs}{loss}{best}")

    def _line(self) -> None:
        """Say the last epoch's figures, once, where there is no live bar."""
        if not self.enabled or self.live or not self.unsaid:
            return
        self.unsaid = False
        elapsed = time.monotonic() - self.began
        left = elapsed / (self.current + 1 - self.start) * (self.epochs - self.current - 1)
        text = f"{self.name} epoch {self.current + 1}/{self.epochs}: loss {self.loss:.4f}{self.score}, {elapsed:.0f} s"
        sys.stderr.write(text + (f", at most {left:.0f} s left" if left else "") + "\n")


class _Watched:
    """A data loader that tells the progress of each batch and is otherwise the loader itself."""

    def __init__(self, loader: Any, progress: TrainingProgress) -> None:
        self._loader, self._tell = loader, progress

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            yield batch
            self._tell.step()

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
