"""A sweep under way: which trials were suggested, which ended and how, which leads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_mind.errors import InputError
from recbole_mind.experiments.sweep.journal import Journal
from recbole_mind.experiments.sweep.leader import Leader, figure, leader
from recbole_mind.experiments.sweep.plan import Plan
from recbole_mind.experiments.sweep.spec import SweepSpec
from recbole_mind.experiments.sweep.suggest import Search
from recbole_mind.experiments.trial import Trial, fingerprint, hits_beside, read_record
from recbole_mind.training import build
from recbole_mind.util.files import write_atomic
from recbole_mind.util.json_text import plain, to_json


class Sweep:
    """The trials of ``spec`` in ``folder``.

    Raises:
        InputError: settings or values that the model refuses, a data set that is not there.
    """

    def __init__(self, spec: SweepSpec, folder: str | Path) -> None:
        self.plan = plan = Plan.of(spec)
        self.journal = Journal(folder, plan)
        self.spec, self.metric, self.bigger = plan.spec, plan.metric, plan.bigger
        self.search = None if self.spec.space is None else Search(self.spec.space, self.spec.algo, self.spec.seed)
        self.suggested: dict[int, tuple[dict[str, Any], int]] = {}  # settings and seed of each trial
        self.records: dict[int, dict[str, Any]] = {}  # of each trial that ended
        self.tested: dict[int, dict[str, Any]] = {}  # of the winner, by seed
        self.again: list[int] = []  # trials that were started and have not ended

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.journal.folder

    def open(self, resume: bool) -> None:
        """Begin in the folder, or take up the sweep that is in it; only for who holds the folder.

        Raises:
            InputError: there is a sweep and ``resume`` is not set, or another one, or something else.
        """
        self.suggested = self.journal.read(resume)
        for number, (drawn, _) in self.suggested.items():
            if self.search is not None:
                self.search.restore(number, drawn)
        for number in self.suggested:
            record = self.journal.record(number)
            if record.exists():
                self._take(number, read_record(record))
            else:
                self.again.append(number)

    # -- trials --------------------------------------------------------------------------------------------------

    def next(self) -> tuple[int, Trial] | None:
        """The trial to start now, those that were started before first; ``None`` if there is none left."""
        if self.again:
            number = self.again.pop(0)
            return number, self.trial(number)
        number = len(self.suggested) + 1
        if self.search is None:
            point = self.plan.points[number - 1] if number <= len(self.plan.points) else None
        else:
            more = self.spec.max_evals is None or number <= self.spec.max_evals
            drawn = self.search.ask(number) if more else None
            point = None if drawn is None else (drawn, self.spec.seeds[0])
        if point is None:
            return None
        self.suggested[number] = plain(point[0]), point[1]
        self.journal.write(self.suggested)
        return number, self.trial(number)

    def trial(self, number: int) -> Trial:
        """The run of a trial, which does not look at the test set."""
        drawn, seed = self.suggested[number]
        return self.run_of(drawn, seed, str(number), {"number": number}, test=False)

    def run_of(self, drawn: dict[str, Any], seed: int, name: str, about: dict[str, Any], *, test: bool) -> Trial:
        model, overrides = self.spec.model(drawn), self.spec.overrides(drawn)
        try:
            config = build.build_config(model, self.spec.dataset, overrides=overrides)
            mark = fingerprint(config, self.spec.threads)
        except InputError:
            mark = {}  # values that do not go together: the trial fails in the same words
        about = {"label": model, "drawn": drawn, "fingerprint": mark} | about
        path = self.journal.record(name)
        return Trial(model, self.spec.dataset, seed, overrides, path, about, self.spec.threads, test)

    def ended(self, number: int, record: dict[str, Any]) -> dict[str, Any]:
        """Trial ``number`` has ended; returns its record, which is now on disk."""
        if "error" not in record and figure(record, self.metric) is None:
            found = record["valid"].get(self.metric)
            record = {**record, "error": f"the validation's {self.metric} is {found}, which cannot be compared"}
        record = json.loads(to_json(record))  # as it is read again
        path = self.journal.record(number)
        if not path.exists() or read_record(path) != record:  # it was made on another machine
            write_atomic(path, to_json(record))
        self._take(number, record)
        return record

    def _take(self, number: int, record: dict[str, Any]) -> None:
        """Let the search know of a record: of its validation metric alone."""
        self.records[number] = record
        if self.search is not None:
            value = figure(record, self.metric)
            self.search.tell(number, value if value is None or not self.bigger else -value)

    def halving(self) -> Any:
        """What stops bad trials, knowing of those that have ended; ``None`` if nothing does."""
        early = self.spec.early_stop
        if early is None:
            return None
        from recbole_mind.experiments.sweep.early_stopping import Halving

        halving = Halving(self.plan.config["epochs"], early.grace, early.reduction, self.bigger)
        for number, record in sorted(self.records.items()):
            halving.stops(str(number), record.get("curve", []))
        return halving

    def tests(self) -> list[Trial]:
        """The runs that test the winner and are still to be made; ``tested`` then has those that are done."""
        self.tested = {}
        winner = self.winner()
        if winner is None:
            return []
        drawn, _, number = winner
        about = {"trial": number, "final": True}
        trials = [self.run_of(drawn, seed, f"final@{seed}", about, test=True) for seed in self.spec.final_seeds]
        for path in set(self.folder.glob("records/final@*.json")) - {trial.record for trial in trials}:
            path.unlink()  # of another list of seeds
            hits_beside(path).unlink(missing_ok=True)
        for trial in trials:
            record = trial.finished()
            if record is not None:
                self.tested[trial.seed] = record
        return [trial for trial in trials if trial.seed not in self.tested]

    # -- what it comes to ----------------------------------------------------------------------------------------

    def winner(self) -> Leader | None:
        """The settings with the best validation metric, of a curve's points by the mean over all their seeds."""
        drawn = {number: settings for number, (settings, _) in self.suggested.items()}
        return leader(self.records, drawn, self.metric, bigger=self.bigger, curves=self.search is None)

    def best_words(self) -> str:
        winner = self.winner()
        return "" if winner is None else f"{self.metric} {winner[1]:.4f} with {words(winner[0])}"

    def name(self, number: int) -> str:
        """What a trial is called; a curve's point has several seeds."""
        return f"trial {number}{f', seed {self.suggested[number][1]}' if self.search is None else ''}"

    def describe(self, number: int) -> str:
        """A trial in a few words."""
        return f"{self.name(number)} ({words(self.suggested[number][0])})"

    def trials(self) -> list[dict[str, Any]]:
        """Each trial that ended, as the tables and figures take it."""
        rows = []
        for number, record in sorted(self.records.items()):
            row = {"number": number, "seed": self.suggested[number][1], "settings": self.suggested[number][0]}
            row |= {"valid": {}, "curve": [], "epochs": 0, "seconds": None}
            row |= {key: record[key] for key in ("valid", "curve", "epochs", "seconds") if key in record}
            rows.append(row | {"stopped": "stopped" in record, "error": record.get("error")})
        return rows


def words(values: Mapping[str, Any]) -> str:
    """Settings or figures on one line."""
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
    )
