"""A sweep: trials that a search suggests, run, recorded as they end, and the best of them tested once at the end.

The search sees the validation metric alone: no trial looks at the test set. What was suggested is on disk before a
trial starts, and its record as soon as it ends, so that a sweep that was killed goes on with the same trials.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recbole_mind.errors import InterruptedRun
from recbole_mind.experiments.executor import check_address, check_jobs, cluster, spread
from recbole_mind.experiments.progress import RunsProgress
from recbole_mind.experiments.sweep.monitor import Watch
from recbole_mind.experiments.sweep.result import SweepResult, result_of
from recbole_mind.experiments.sweep.spec import read_spec
from recbole_mind.experiments.sweep.state import Sweep, words
from recbole_mind.experiments.trial import Trial, execute
from recbole_mind.util.files import alone_in, write_atomic
from recbole_mind.util.json_text import to_json


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
        space: the file, see :func:`recbole_mind.experiments.sweep.spec.read_spec`, or its content.
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
    from recbole_mind.experiments.sweep import output as sweep_report

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
        sweep.journal.clear()
        result = result_of(sweep)
        sweep_report.write(sweep, result)
    return result


@contextlib.contextmanager
def _workers(sweep: Sweep, jobs: int, ray: str | None) -> Iterator[None]:
    """Hold one cluster for trials and tests, if there is anything left to do for one."""
    left = len(sweep.records) < sweep.plan.total or bool(sweep.tests())
    if (jobs == 1 and ray is None) or not left:
        yield
        return
    with cluster(jobs, ray, sweep.spec.resources.cpu or 1):
        yield


def _run_trials(sweep: Sweep, jobs: int, ray: str | None, show_progress: bool) -> None:
    """Run the trials that remain, in this process or by Ray.

    Raises:
        InterruptedRun: Ctrl-C; what is done is recorded.
    """
    before = [("trial", record["seconds"]) for record in sweep.records.values() if "seconds" in record]
    failed = sum("error" in record for record in sweep.records.values())
    waiting = ["trial"] * max(sweep.plan.total - len(sweep.records), 0)
    if not waiting:
        return
    try:
        with RunsProgress("sweep", waiting, before, jobs, enabled=show_progress) as progress:
            progress.before(len(sweep.records), failed, sweep.best_words())
            watch = Watch(sweep, progress)
            if jobs == 1 and ray is None:
                _run_here(sweep, watch)
            else:
                from recbole_mind.experiments.sweep.ray_runner import run_by_ray

                run_by_ray(sweep, watch, jobs, ray)
    except (KeyboardInterrupt, InterruptedRun):
        number = f"{len(sweep.records)} of {sweep.plan.total}"
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
                cpu=sweep.spec.resources.cpu,
                gpu=sweep.spec.resources.gpu,
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
