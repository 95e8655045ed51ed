"""A sweep: trials that a search suggests, run, recorded as they end, and the best of them tested once at the end.

The search sees the validation metric alone: no trial looks at the test set. What was suggested is on disk before a
trial starts, and its record as soon as it ends, so that a sweep that was killed goes on with the same trials.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_mind.errors import InterruptedRun
from recbole_mind.files import alone_in, write_atomic
from recbole_mind.runs_progress import RunsProgress
from recbole_mind.settings import to_json
from recbole_mind.spread import check_address, check_jobs, cluster, spread
from recbole_mind.sweep_spec import read_spec
from recbole_mind.sweep_state import Sweep, words
from recbole_mind.trial import Trial, execute


@dataclass(frozen=True)
class SweepResult:
    """What a sweep came to.

    Attributes:
        best: the drawn settings of the winner, ``None`` if no trial succeeded.
        value: its ``metric`` on the validation set, the mean over the seeds of a curve's point.
        metric, bigger: what decides, and whether more of it is better.
        trials: in order of their numbers, see :meth:`recbole_mind.sweep_state.Sweep.trials`.
        test: the winner's test metrics: mean, and standard deviation over the seeds (``None`` for one).
        failed: what failed, and its error.
    """

    best: dict[str, Any] | None
    value: float | None
    metric: str
    bigger: bool
    trials: list[dict[str, Any]]
    test: dict[str, tuple[float, float | None]]
    failed: dict[str, str]


def run(
    space: str | Path | Mapping[str, Any],
    output: str | Path,
    *,
    model: str | None = None,
    dataset: str | None = None,
    algo: str | None = None,
    max_evals: int | None = None,
    seed: int | None = None,
    jobs: int = 1,
    ray: str | None = None,
    resume: bool = False,
    overrides: Mapping[str, Any] | None = None,
    show_progress: bool = False,
) -> SweepResult:
    """Run a sweep, or what remains of it, and write its records, tables, figures and ``best.yaml``.

    Args:
        space: the file, see :func:`recbole_mind.sweep_spec.read_spec`, or its content.
        output: the folder.
        model, dataset, algo, max_evals, seed: win over the file's.
        jobs: trials at a time; more than one run by Ray.
        ray: a cluster's address, ``host:port`` or ``auto``.
        resume: go on with the sweep that is in the folder.
        overrides: settings of all trials that win over the file's.
        show_progress: on standard error.

    Raises:
        InputError: input that cannot be used, or a folder that holds another sweep.
        InterruptedRun: Ctrl-C; what is done is recorded.
    """
    from recbole_mind import sweep_report

    given = {"model": model, "dataset": dataset, "algo": algo, "max_evals": max_evals, "seed": seed}
    spec = read_spec(space, overrides=overrides, **given)
    check_jobs(jobs)
    if ray is not None:
        check_address(ray)
    sweep = Sweep(spec, output)
    with alone_in(output):
        sweep.open(resume)
        try:
            with _workers(sweep, jobs, ray):
                _run_trials(sweep, jobs, ray, show_progress)
                _test_winner(sweep, jobs, ray, show_progress)
        except InterruptedRun:
            sweep_report.write(sweep, result_of(sweep))
            raise
        sweep.clear()
        result = result_of(sweep)
        sweep_report.write(sweep, result)
    return result


def result_of(sweep: Sweep) -> SweepResult:
    """What a sweep has come to so far."""
    winner = sweep.winner()
    best, value = (None, None) if winner is None else winner[:2]
    good = [record["test"] for _, record in sorted(sweep.tested.items()) if "error" not in record]
    test: dict[str, tuple[float, float | None]] = {}
    for metric in good[0] if good else ():
        values = [figures[metric] for figures in good]
        test[metric] = statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
    failed = {sweep.describe(number): record["error"] for number, record in sweep.records.items() if "error" in record}
    failed |= {f"test with seed {s}": record["error"] for s, record in sweep.tested.items() if "error" in record}
    return SweepResult(best, value, sweep.metric, sweep.bigger, sweep.trials(), test, failed)


@contextlib.contextmanager
def _workers(sweep: Sweep, jobs: int, ray: str | None) -> Iterator[None]:
    """Hold one cluster for trials and tests, if there is anything left to do for one."""
    left = len(sweep.records) < sweep.total or bool(sweep.tests())
    if (jobs == 1 and ray is None) or not left:
        yield
        return
    with cluster(jobs, ray, sweep.spec.cpu or 1):
        yield


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
        value = sweep.figure(record)
        stopped = f", stopped after {record['stopped']} epochs" if "stopped" in record else ""
        outcome = f"failed: {record['error']}" if value is None else f"{sweep.metric} {value:.4f}{stopped}"
        text = f"{words(sweep.plan[number][0])}: {outcome}"
        self.progress.ended(sweep.name(number), text, failed=value is None, seconds=record.get("seconds"))
        self.progress.best(sweep.best_words())


def _run_trials(sweep: Sweep, jobs: int, ray: str | None, show_progress: bool) -> None:
    """Run the trials that remain, in this process or by Ray.

    Raises:
        InterruptedRun: Ctrl-C; what is done is recorded.
    """
    before = [("trial", record["seconds"]) for record in sweep.records.values() if "seconds" in record]
    failed = sum("error" in record for record in sweep.records.values())
    waiting = ["trial"] * max(sweep.total - len(sweep.records), 0)
    if not waiting:
        return
    try:
        with RunsProgress("sweep", waiting, before, jobs, enabled=show_progress) as progress:
            progress.before(len(sweep.records), failed, sweep.best_words())
            watch = Watch(sweep, progress)
            if jobs == 1 and ray is None:
                _run_here(sweep, watch)
            else:
                from recbole_mind.sweep_ray import run_by_ray

                run_by_ray(sweep, watch, jobs, ray)
    except (KeyboardInterrupt, InterruptedRun):
        number = f"{len(sweep.records)} of {sweep.total}"
        raise InterruptedRun(f"stopped: {number} trials are done; the same command with --resume goes on") from None


def _run_here(sweep: Sweep, watch: Watch) -> None:
    halving = sweep.halving()
    while (found := sweep.next()) is not None:
        number, trial = found
        watch.started(number)

        def epoch_done(record: dict[str, Any], number: int = number) -> bool:
            watch.epoch(number, record)
            return halving is not None and bool(halving.stops(str(number), record["curve"]))

        watch.ended(number, execute(trial, epoch_done))


def _test_winner(sweep: Sweep, jobs: int, ray: str | None, show_progress: bool) -> None:
    """Test the winner with each of the final seeds: the only look at the test set, when the search is over.

    Raises:
        InterruptedRun: Ctrl-C; what is done is recorded.
    """
    missing = sweep.tests()
    if not missing:
        return
    jobs = min(jobs, len(missing))
    with RunsProgress("winner's test", ["test"] * len(missing), (), jobs, enabled=show_progress) as progress:
        names = [f"test with seed {trial.seed}" for trial in missing]
        try:
            for place, record in spread(
                execute,
                missing,
                jobs=jobs,
                ray=ray,
                cpu=sweep.spec.cpu,
                gpu=sweep.spec.gpu,
                started=lambda place: progress.started(names[place], "test"),
            ):
                trial = missing[place]
                record = _lost(trial, record) if isinstance(record, Exception) else record
                if not trial.record.exists():  # it was made on another machine, where its hits are
                    write_atomic(trial.record, to_json(record | ({"hits": None} if "hits" in record else {})))
                sweep.tested[trial.seed] = record
                outcome = f"failed: {record['error']}" if "error" in record else words(record["test"])
                seconds = record.get("seconds")
                progress.ended(names[place], outcome, failed="error" in record, seconds=seconds)
        except (KeyboardInterrupt, InterruptedRun):
            text = "stopped: the trials are done, the winner is not tested; the same command with --resume goes on"
            raise InterruptedRun(text) from None


def _lost(trial: Trial, error: Exception) -> dict[str, Any]:
    first = (str(error).splitlines() or [""])[0]
    return {**trial.about, "error": f"lost worker: {type(error).__name__}: {first}"}
