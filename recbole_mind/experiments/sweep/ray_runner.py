"""The trials of a sweep behind Ray Tune: the same search and the same records, with many workers."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.tune.search import ConcurrencyLimiter, Searcher

from recbole_mind.errors import require
from recbole_mind.experiments.executor import cluster
from recbole_mind.experiments.sweep.early_stopping import Halving
from recbole_mind.experiments.trial import Trial, execute
from recbole_mind.util.json_text import to_json
from recbole_mind.util.ray_releases import report

if TYPE_CHECKING:
    from recbole_mind.experiments.sweep.monitor import Watch
    from recbole_mind.experiments.sweep.state import Sweep

_RETRIES = 3  # of a trial whose worker is lost
_TUNE = {  # records are ours: Tune is to log, to keep and to say nothing
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_SYNCER": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def work(config: dict[str, Any]) -> None:
    """Make one trial on a worker: importing this module has RecBole know our models there."""
    trial: Trial = config["trial"]
    told = 0

    def epoch_done(record: dict[str, Any]) -> bool:
        nonlocal told
        for epoch in range(told, len(record["curve"])):  # of a run that goes on, those before it was lost too
            shown = record | {"epochs": epoch + 1, "curve": record["curve"][: epoch + 1]}
            score = {Halving.TIME: epoch + 1, Halving.METRIC: record["curve"][epoch]}
            report({"record": to_json(shown), "ended": False} | score)
        told = len(record["curve"])
        return False

    report({"record": to_json(execute(trial, epoch_done)), "ended": True})


class _Suggestions(Searcher):
    """The sweep's search as Ray Tune asks it, and its records as Ray Tune's trials end."""

    def __init__(self, sweep: Sweep, watch: Watch, epochs: int) -> None:
        super().__init__()
        self.sweep, self.watch, self.epochs = sweep, watch, epochs
        self.numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        found = self.sweep.next()
        if found is None:
            return Searcher.FINISHED
        self.numbers[trial_id], trial = found
        self.watch.started(self.numbers[trial_id])
        return {"trial": trial}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if "record" in result and not result["ended"]:
            self.watch.epoch(self.numbers[trial_id], json.loads(result["record"]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number = self.numbers.pop(trial_id, None)
        if number is None:
            return
        if error or not result or "record" not in result:
            about = self.sweep.trial(number).about
            times = f"{_RETRIES + 1} times"
            record = {**about, "error": f"lost worker: its process or its machine died, {times}; out of memory?"}
        else:
            record = json.loads(result["record"])
            # what the scheduler stops after the last epoch has not been stopped
            if not result["ended"] and record["epochs"] < self.epochs:
                record["stopped"] = record["epochs"]
        self.watch.ended(number, record)


def run_by_ray(sweep: Sweep, watch: Watch, jobs: int, address: str | None) -> None:
    """Run the trials that remain on a cluster, ``jobs`` at a time.

    Raises:
        InputError: nobody answers at the address.
    """
    halving = sweep.halving()
    with _environment(_TUNE), cluster(jobs, address) as gpus:
        spec = sweep.spec
        has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call,unused-ignore]
        for key, asked in (("cpu", spec.resources.cpu), ("gpu", spec.resources.gpu)):
            most = has.get(key.upper(), 0)
            require(
                asked is None or asked <= most,
                f"resources: {key}: {asked} is not allowed: the cluster has {most:g} in all",
            )
        resources = {
            "cpu": 1.0 if spec.resources.cpu is None else spec.resources.cpu,
            "gpu": gpus if spec.resources.gpu is None else spec.resources.gpu,
        }
        epochs = 0 if halving is None else halving.epochs
        tune.run(
            work,
            name="ray",
            storage_path=str(sweep.folder / "running"),
            search_alg=ConcurrencyLimiter(_Suggestions(sweep, watch, epochs), jobs),
            scheduler=None if halving is None else halving.scheduler,
            num_samples=-1,
            resources_per_trial=resources,
            max_failures=_RETRIES,
            raise_on_failed_trial=False,
            reuse_actors=True,  # the first trial of a worker imports RecBole and torch
            trial_dirname_creator=lambda trial: str(trial.trial_id),
            verbose=0,
        )


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
