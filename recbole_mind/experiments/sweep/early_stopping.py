"""Asynchronous successive halving of a sweep's trials, by Ray Tune's scheduler, on a cluster and in one process."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from recbole_mind.util.ray_releases import import_ray


class Halving:
    """Which trials are stopped early; ``scheduler`` is Ray Tune's, and takes their results under the keys here.

    Args:
        epochs: of a trial that is not stopped.
        grace: epochs that every trial has.
        reduction: at ``grace`` × ``reduction``^k epochs the best 1 of ``reduction`` goes on.
        bigger: whether more is better.
    """

    METRIC, TIME = "score", "epoch"

    def __init__(self, epochs: int, grace: int, reduction: int, bigger: bool) -> None:
        import_ray()
        from ray.tune.schedulers import ASHAScheduler

        self.epochs = epochs
        self.scheduler: Any = ASHAScheduler(
            time_attr=self.TIME,
            metric=self.METRIC,
            mode="max" if bigger else "min",
            max_t=epochs,
            grace_period=grace,
            reduction_factor=reduction,
            stop_last_trials=False,
        )
        self._trials: dict[str, SimpleNamespace] = {}
        self._told: dict[str, int] = {}

    def stops(self, name: str, curve: Sequence[float]) -> bool:
        """Whether trial ``name`` is stopped, whose validation score after each epoch so far is ``curve``.

        A trial that was stopped before, or that has ended, is told of in the same way, so that its scores count.
        """
        from ray.tune.schedulers import TrialScheduler

        if name not in self._trials:
            self._trials[name] = SimpleNamespace(trial_id=name)  # of a trial the scheduler asks nothing else
            self._told[name] = 0
            self.scheduler.on_trial_add(None, self._trials[name])
        decision: Any = TrialScheduler.CONTINUE
        for epoch in range(self._told[name], min(len(curve), self.epochs - 1)):  # nothing is left after the last
            result = {self.TIME: epoch + 1, self.METRIC: curve[epoch]}
            decision = self.scheduler.on_trial_result(None, self._trials[name], result)
            self._told[name] = epoch + 1
            if decision == TrialScheduler.STOP:
                break
        return bool(decision == TrialScheduler.STOP)
