"""A leaderboard: models × data sets × protocols × seeds, run, recorded and kept up to date.

A run's record is written as it ends, and a run that has one is not made again unless its settings, the code's version
or the data changed; so that the same command goes on wherever it was stopped.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
from pathlib import Path
from typing import Any

import filelock

from recbole_mind.config import loading
from recbole_mind.data import columns
from recbole_mind.data.counts import describe
from recbole_mind.errors import InputError, InterruptedRun, require
from recbole_mind.experiments.executor import spread
from recbole_mind.experiments.leaderboard.spec import LeaderboardSpec, RunKey
from recbole_mind.experiments.leaderboard.table import Board, build, check_data
from recbole_mind.experiments.progress import RunsProgress
from recbole_mind.experiments.trial import Trial, execute, fingerprint, hits_beside
from recbole_mind.training.build import build_config

_NO_USER_VECTOR = (
    "the protocol's test users are not in training, and RecBole's models without a sequence know no others"
)


class Leaderboard:
    """The runs of ``spec`` in ``folder``: which are done, which remain, and the board they make.

    Args:
        spec: what to run.
        folder: where ``records/`` stands.
        jobs: how many runs at a time.

    Raises:
        InputError: settings that a model refuses, a data set that is not there, a file that is no record.
    """

    def __init__(self, spec: LeaderboardSpec, folder: str | Path, jobs: int = 1) -> None:
        self.spec, self.folder, self.jobs = spec, Path(folder).resolve(), jobs
        self.absent: dict[tuple[str, str, str], str] = {}
        self.trials: dict[RunKey, Trial] = {}
        self.done: dict[RunKey, dict[str, Any]] = {}
        self.outdated: list[tuple[RunKey, str]] = []  # and what of it changed
        spec.check_read()
        plans: dict[tuple[str, str, str], tuple[dict[str, Any], dict[str, str]] | None] = {}
        for cell in spec.cells():
            key = cell[:3]
            if key not in plans:
                plans[key] = self._plan(cell)
            plan = plans[key]
            if plan is None:
                continue
            overrides, mark = plan
            path = self.folder / "records" / cell.file
            about = {"label": cell.label, "fingerprint": mark, "tuned": bool(spec.chosen(cell))}
            trial = Trial(spec.model(cell.label), cell.dataset, cell.seed, overrides, path, about, spec.threads)
            record = trial.finished()
            if record is None:
                self.trials[cell] = trial
                found = trial.found()
                if found is not None and "error" not in found:
                    changed = [name for name, value in mark.items() if found["fingerprint"].get(name) != value]
                    self.outdated.append((cell, ", ".join(changed) or "hits"))
            else:
                self.done[cell] = record

    def clear(self) -> None:
        """Remove what runs have left behind and nobody will go on from; only for who holds the folder."""
        running = self.folder / "running"
        wanted = {trial.folder.name for cell, trial in self.trials.items() if cell not in self.done}
        for path in running.glob("*"):
            if path.is_dir() and path.name not in wanted:
                shutil.rmtree(path, ignore_errors=True)
            elif path.suffix == ".lock":
                with contextlib.suppress(filelock.Timeout), filelock.FileLock(path, timeout=0):
                    path.unlink()
        for path in (self.folder / "records").glob(".*.tmp"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or not there
            running.rmdir()

    def _plan(self, cell: RunKey) -> tuple[dict[str, Any], dict[str, str]] | None:
        """The settings of a run and their fingerprint; ``None`` where it is not to be made."""
        from recbole.utils import ModelType, get_model

        from recbole_mind.data import reading

        reason = self.spec.reason_not_run(cell.dataset, cell.label)
        by_users = "US" in loading.defaults("protocol", cell.protocol)["eval_args"]["split"]
        if reason is None and by_users and get_model(self.spec.model(cell.label)).type != ModelType.SEQUENTIAL:
            reason = _NO_USER_VECTOR
        if reason is not None:
            self.absent[cell[:3]] = reason
            return None
        overrides = self.spec.overrides(cell)
        try:
            config = build_config(self.spec.model(cell.label), cell.dataset, overrides=overrides)
        except InputError as error:
            raise InputError(f"{cell.label}, {cell.dataset}, {cell.protocol}: {error}") from None
        path = Path(config["data_path"]) / f"{config['dataset']}.inter"
        there = f"datasets: there is no file '{path}'; data_path is the folder that holds the data sets"
        require(path.is_file(), there)
        columns.check_time(config)
        reading.check_files(config)
        return overrides, fingerprint(config, self.spec.threads)

    def run(self, *, ray: str | None = None, show_progress: bool = True) -> None:
        """Make the runs that remain, on this machine or on the Ray cluster at ``ray``.

        Raises:
            InterruptedRun: Ctrl-C; what is done is recorded.
        """
        cells = list(self.trials)
        trials = [self.trials[cell] for cell in cells]
        finished = [(cell[:3], record["seconds"]) for cell, record in self.done.items()]
        with RunsProgress(
            "leaderboard", [cell[:3] for cell in cells], finished, self.jobs, enabled=show_progress
        ) as progress:
            try:
                started = lambda place: progress.started(cells[place], cells[place][:3])  # noqa: E731
                for place, record in spread(execute, trials, jobs=self.jobs, ray=ray, started=started):
                    cell = cells[place]
                    if isinstance(record, Exception):  # its worker died, again and again
                        first = (str(record).splitlines() or [""])[0]
                        record = {**trials[place].about, "error": f"{type(record).__name__}: {first}"}
                    self.done[cell] = record
                    self._check_data(cell)
                    progress.ended(cell, _outcome(record), failed="error" in record, seconds=record.get("seconds"))
            except (KeyboardInterrupt, InterruptedRun):
                number = f"{len(self.done)} of {len(self.done) + len(set(cells) - set(self.done))}"
                raise InterruptedRun(f"stopped: {number} runs are done; the same command goes on") from None

    def _check_data(self, cell: RunKey) -> None:
        """Refuse a run on other data than those beside it, before more are made."""
        beside = [(other.label, record) for other, record in self.done.items() if other[:2] == cell[:2]]
        check_data(f"{cell.dataset}, {cell.protocol}", beside)

    def board(self) -> Board:
        """What the runs that are done come to."""
        from recbole_mind.evaluation.hits import Hits

        @functools.cache
        def hits_of(key: tuple[str, str, str, int]) -> Hits | None:
            cell = RunKey(*key)
            kept = self.done[cell].get("hits")
            return Hits.load(hits_beside(self.folder / "records" / cell.file)) if kept else None

        spec = self.spec
        names = (spec.models, spec.datasets, spec.protocols, spec.seeds, spec.baseline)
        return build(*names, dict(self.done.items()), hits_of, self.absent)


def _outcome(record: dict[str, Any]) -> str:
    """A run in a few words."""
    if "error" in record:
        return f"failed: {record['error']}"
    metric, value = next(iter(record["test"].items()))
    left_out = f"; data: {describe(data)}" if (data := record.get("data", {})).get("left_out") else ""
    return f"{metric} {value:.4f}{left_out}"
