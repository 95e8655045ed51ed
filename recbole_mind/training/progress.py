"""One line on the terminal for a whole training, or for a recall for many users."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


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

    def epoch(self, index: int, done: int = 0) -> None:
        """Epoch ``index`` begins, after ``done`` of its batches."""
        self._line()
        self.current = index
        self.bar.advance(self.task, done)
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
