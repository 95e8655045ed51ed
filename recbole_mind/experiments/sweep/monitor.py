"""What happens to a sweep's trials, told to its records and to a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_mind.experiments.progress import RunsProgress
from recbole_mind.experiments.sweep.leader import figure
from recbole_mind.experiments.sweep.state import Sweep, words


class Watch:
    """Takes what happens to trials to the sweep's records and to a person."""

    def __init__(self, sweep: Sweep, progress: RunsProgress) -> None:
        self.sweep, self.progress = sweep, progress

    def started(self, number: int) -> None:
        """Trial ``number`` starts."""
        self.progress.started(self.sweep.name(number), "trial")

    def epoch(self, number: int, record: Mapping[str, Any]) -> None:
        """An epoch of it is done."""
        score = record["curve"][-1]
        self.progress.describe(self.sweep.name(number), f"epoch {record['epochs']}: {self.sweep.metric} {score:.4f}")

    def ended(self, number: int, record: dict[str, Any]) -> None:
        """It has ended, with this record."""
        sweep = self.sweep
        record = sweep.ended(number, record)
        value = figure(record, sweep.metric)
        stopped = f", stopped after {record['stopped']} epochs" if "stopped" in record else ""
        outcome = f"failed: {record['error']}" if value is None else f"{sweep.metric} {value:.4f}{stopped}"
        text = f"{words(sweep.suggested[number][0])}: {outcome}"
        self.progress.ended(sweep.name(number), text, failed=value is None, seconds=record.get("seconds"))
        self.progress.best(sweep.best_words())
