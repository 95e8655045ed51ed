"""The state of a sweep: which trials were suggested, which ended and how, kept on disk so that a killed one goes on."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from recbole_mind.config.without_effect import unread
from recbole_mind.data import columns
from recbole_mind.errors import InputError, require
from recbole_mind.experiments.sweep.space import Space
from recbole_mind.experiments.sweep.spec import Spec
from recbole_mind.experiments.sweep.suggest import Search
from recbole_mind.experiments.trial import Trial, fingerprint, hits_beside, read_record
from recbole_mind.training import build
from recbole_mind.util.files import JSON, parse_json, read_bytes, write_atomic
from recbole_mind.util.json_text import plain, same, to_json

STATE = "sweep.json"
_FORMAT, _VERSION = "recbole-mind sweep", 1
_COUNTED = 100_000  # combinations that are counted at most


class Sweep:
    """The trials of ``spec`` in ``folder``.

    Raises:
        InputError: settings or values that the model refuses, a data set that is not there.
    """

    def __init__(self, spec: Spec, folder: str | Path) -> None:
        from recbole_mind.data import reading

        self.folder = Path(folder).resolve()
        self.config = config = build.build_config(spec.models[0], spec.dataset, overrides=spec.overrides({}))
        where = Path(config["data_path"])
        require(
            any(where.glob(f"{config['dataset']}.*")),
            f"dataset: there is no file '{where / config['dataset']}.inter'; data_path is the folder that holds it",
        )
        if config["eval_args"]["order"] == "TO" and (where / f"{config['dataset']}.inter").is_file():
            columns.check_time(config)
        reading.check_files(config)
        require(config["eval_step"] == 1, "eval_step: a sweep looks at every epoch; allowed: 1")
        self.metric, self.bigger = str(config["valid_metric"]).lower(), bool(config["valid_metric_bigger"])
        early = spec.early_stop
        longest = f"early_stop: grace: {early and early.grace} is more than a trial's {config['epochs']} epochs"
        require(early is None or early.grace <= config["epochs"], longest)
        self.spec = spec = replace(spec, space=_bind(spec, config))
        spec.check_read()
        self.search = None if spec.space is None else Search(spec.space, spec.algo, spec.seed)
        self.points = _curve_points(spec, config)
        self.base = {name: config[name] for name in spec.curves}
        self.total = self._total()
        self._check_values()
        self.mark = fingerprint(config, spec.threads)
        self.plan: dict[int, tuple[dict[str, Any], int]] = {}  # settings and seed of each trial that was suggested
        self.records: dict[int, dict[str, Any]] = {}  # of each trial that ended
        self.tested: dict[int, dict[str, Any]] = {}  # of the winner, by seed
        self.again: list[int] = []  # trials that were started and have not ended

    def _check_values(self) -> None:
        """Build the settings of a trial for each end of each parameter's values."""

        spec = self.spec
        points = [(name, {name: value}) for name, values in spec.curves.items() for value in values]
        if spec.space is not None:
            points = list(spec.space.examples())
            require(bool(points), f"space: nothing in it applies to {', '.join(spec.models)}")
        for name, point in points:
            given = spec.overrides(point)
            idle = set(unread(spec.model(point), given))  # which trials read them is known: the point is a part of one
            parts = [{key: value for key, value in given.items() if (key in idle) is part} for part in (False, True)]
            try:
                build.build_config(spec.model(point), spec.dataset, overrides=parts[0], stored=parts[1])
            except InputError as error:
                where = "curves" if spec.curves else "space"
                raise InputError(f"{where}: {name}: {error}") from None

    def _total(self) -> int:
        """How many trials there will be."""
        spec = self.spec
        if spec.space is None:
            return len(self.points)
        most = spec.max_evals or _COUNTED
        if any(parameter.size is None for parameter in spec.space.parameters):
            return most
        count = sum(1 for _ in itertools.islice(spec.space.combinations(), most + 1))
        require(spec.max_evals is not None or count <= most, f"max_evals: above {most:,} combinations; name a number")
        return min(count, most)

    # -- on disk -------------------------------------------------------------------------------------------------

    def open(self, resume: bool) -> None:
        """Begin in the folder, or take up the sweep that is in it; only for who holds the folder.

        Raises:
            InputError: there is a sweep and ``resume`` is not set, or another one, or something else.
        """
        path = self.folder / STATE
        if not path.exists():
            strange = any(self.folder.glob("records/*.json"))
            require(not strange, f"output: '{self.folder}' holds records of something else; choose another folder")
            return
        held = f"output: '{self.folder}' holds a sweep; --resume goes on with it, or choose another folder"
        require(resume, held)
        try:
            content = parse_json(read_bytes(path, JSON).decode("utf-8"))
        except (OSError, ValueError):
            raise InputError(f"resume: '{path}' is corrupt: it is not JSON") from None
        good = isinstance(content, dict) and content.get("format") == _FORMAT
        require(good, f"resume: '{path}' is not the state of a sweep")
        found = content.get("version")
        require(found == _VERSION, f"resume: '{path}' has format version {found}; this release reads {_VERSION}")
        try:
            space, before = content["space"], dict(content["fingerprint"])
            plan = {int(entry["number"]): (dict(entry["settings"]), int(entry["seed"])) for entry in content["trials"]}
        except (KeyError, TypeError, ValueError):
            raise InputError(f"resume: '{path}' is corrupt: it is incomplete") from None
        other = f"resume: '{self.folder}' holds another sweep: its space, settings, algorithm or seed are not these"
        require(space == self.spec.mark(), other)
        changed = [name for name, value in self.mark.items() if before.get(name) != value]
        since = f"resume: the {', '.join(changed)} changed since the sweep began; begin again in another folder"
        require(not changed, since)
        self.plan = plan
        for number, (drawn, _) in plan.items():
            if self.search is not None:
                self.search.restore(number, drawn)
        for number in self.plan:
            record = self._record_path(number)
            if record.exists():
                self._take(number, read_record(record))
            else:
                self.again.append(number)

    def _save(self) -> None:
        trials = [{"number": number, "settings": drawn, "seed": seed} for number, (drawn, seed) in self.plan.items()]
        about = {"format": _FORMAT, "version": _VERSION, "models": self.spec.models, "dataset": self.spec.dataset}
        more = {"algo": self.spec.algo, "seed": self.spec.seed, "space": self.spec.mark(), "fingerprint": self.mark}
        write_atomic(self.folder / STATE, to_json(about | more | {"trials": trials}))

    def _record_path(self, name: int | str) -> Path:
        return self.folder / "records" / f"{name}.json"

    def clear(self) -> None:
        """Remove what trials have left behind."""
        shutil.rmtree(self.folder / "running", ignore_errors=True)
        for path in itertools.chain(self.folder.glob(".*.tmp"), self.folder.glob("records/.*.tmp")):
            path.unlink(missing_ok=True)

    # -- trials --------------------------------------------------------------------------------------------------

    def next(self) -> tuple[int, Trial] | None:
        """The trial to start now, those that were started before first; ``None`` if there is none left."""
        if self.again:
            number = self.again.pop(0)
            return number, self.trial(number)
        number = len(self.plan) + 1
        if self.search is None:
            point = self.points[number - 1] if number <= len(self.points) else None
        else:
            more = self.spec.max_evals is None or number <= self.spec.max_evals
            drawn = self.search.ask(number) if more else None
            point = None if drawn is None else (drawn, self.spec.seeds[0])
        if point is None:
            return None
        self.plan[number] = plain(point[0]), point[1]
        self._save()
        return number, self.trial(number)

    def trial(self, number: int) -> Trial:
        """The run of a trial, which does not look at the test set."""
        drawn, seed = self.plan[number]
        return self.run_of(drawn, seed, str(number), {"number": number}, test=False)

    def run_of(self, drawn: dict[str, Any], seed: int, name: str, about: dict[str, Any], *, test: bool) -> Trial:
        model, overrides = self.spec.model(drawn), self.spec.overrides(drawn)
        try:
            config = build.build_config(model, self.spec.dataset, overrides=overrides)
            mark = fingerprint(config, self.spec.threads)
        except InputError:
            mark = {}  # values that do not go together: the trial fails in the same words
        about = {"label": model, "drawn": drawn, "fingerprint": mark} | about
        path = self._record_path(name)
        return Trial(model, self.spec.dataset, seed, overrides, path, about, self.spec.threads, test)

    def ended(self, number: int, record: dict[str, Any]) -> dict[str, Any]:
        """Trial ``number`` has ended; returns its record, which is now on disk."""
        if "error" not in record and self.figure(record) is None:
            found = record["valid"].get(self.metric)
            record = {**record, "error": f"the validation's {self.metric} is {found}, which cannot be compared"}
        record = json.loads(to_json(record))  # as it is read again
        path = self._record_path(number)
        if not path.exists() or read_record(path) != record:  # it was made on another machine
            write_atomic(path, to_json(record))
        self._take(number, record)
        return record

    def _take(self, number: int, record: dict[str, Any]) -> None:
        """Let the search know of a record: of its validation metric alone."""
        self.records[number] = record
        if self.search is not None:
            value = self.figure(record)
            self.search.tell(number, value if value is None or not self.bigger else -value)

    def figure(self, record: Mapping[str, Any]) -> float | None:
        """What a trial is judged by; ``None`` for a failed one."""
        value = None if "error" in record else record["valid"].get(self.metric)
        return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None

    def halving(self) -> Any:
        """What stops bad trials, knowing of those that have ended; ``None`` if nothing does."""
        early = self.spec.early_stop
        if early is None:
            return None
        from recbole_mind.experiments.sweep.early_stopping import Halving

        halving = Halving(self.config["epochs"], early.grace, early.reduction, self.bigger)
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

    def winner(self) -> tuple[dict[str, Any], float, int] | None:
        """The settings with the best validation metric, its value and the first trial's number; the earlier of two.

        Of a curve's points, those with all their seeds are compared by the mean.
        """
        groups: dict[str, list[int]] = {}
        for number in sorted(self.records):
            if self.figure(self.records[number]) is not None:
                groups.setdefault(same(self.plan[number][0]), []).append(number)
        most = max(map(len, groups.values()), default=0) if self.search is None else 1
        means = [
            (statistics.fmean(self.figure(self.records[number]) or 0.0 for number in numbers), numbers[0])
            for numbers in groups.values()
            if len(numbers) >= most
        ]
        if not means:
            return None
        value, number = min(means, key=lambda pair: (-pair[0] if self.bigger else pair[0], pair[1]))
        return self.plan[number][0], value, number

    def best_words(self) -> str:
        winner = self.winner()
        return "" if winner is None else f"{self.metric} {winner[1]:.4f} with {words(winner[0])}"

    def name(self, number: int) -> str:
        """What a trial is called; a curve's point has several seeds."""
        return f"trial {number}{f', seed {self.plan[number][1]}' if self.search is None else ''}"

    def describe(self, number: int) -> str:
        """A trial in a few words."""
        return f"{self.name(number)} ({words(self.plan[number][0])})"

    def trials(self) -> list[dict[str, Any]]:
        """Each trial that ended, as the tables and figures take it."""
        rows = []
        for number, record in sorted(self.records.items()):
            row = {"number": number, "seed": self.plan[number][1], "settings": self.plan[number][0]}
            row |= {"valid": {}, "curve": [], "epochs": 0, "seconds": None}
            row |= {key: record[key] for key in ("valid", "curve", "epochs", "seconds") if key in record}
            rows.append(row | {"stopped": "stopped" in record, "error": record.get("error")})
        return rows


def words(values: Mapping[str, Any]) -> str:
    """Settings or figures on one line."""
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
    )


def _bind(spec: Spec, config: Any) -> Space | None:
    """The space, with the values of settings that its conditions ask for and that are not drawn, for each model."""

    outside = set() if spec.space is None else spec.space.outside()
    if spec.space is None or not outside:
        return spec.space
    configs = {spec.models[0]: config}
    for model in spec.models[1:]:
        overrides = spec.overrides({"model": model})
        configs[model] = build.build_config(model, spec.dataset, overrides=overrides)
    fixed = {model: {key: plain(its[key]) for key in outside} for model, its in configs.items()}
    return replace(spec.space, fixed=fixed)


def _curve_points(spec: Spec, config: Any) -> list[tuple[dict[str, Any], int]]:
    """Each point of each curve once, with each seed: the first seed of all of them first.

    A point is a value on one axis with the others at their default; one that lies on several curves is run once.
    """
    base = {}
    for name, values in spec.curves.items():
        usual = plain(config[name])
        base[name] = next((value for value in values if same(value) == same(usual)), usual)
    points: dict[str, dict[str, Any]] = {}
    for name, values in spec.curves.items():
        for value in values:
            point = base | {name: value}
            points.setdefault("\n".join(map(same, point.values())), point)
    return [(point, seed) for seed in spec.seeds for point in points.values()]
