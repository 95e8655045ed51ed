"""From the records of runs to a board: one table for each data set and protocol, models in rows, metrics in columns.

Nothing is estimated: a model that did not run keeps its row, empty, and the reason stands below the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from recbole_mind.config import protocols
from recbole_mind.data.counts import describe
from recbole_mind.errors import nearest, require
from recbole_mind.evaluation.hits import Hits, is_per_user, mean_per_user
from recbole_mind.experiments.leaderboard.significance import DECIMALS, Comparison, compare
from recbole_mind.util.multiple_tests import holm

Key = tuple[str, str, str, int]  # data set, name of the protocol, label, seed
Record = Mapping[str, Any]

LEVEL = 0.05
# metrics of RecBole of which less is better
SMALLER = frozenset({"averagepopularity", "giniindex", "logloss", "mae", "rmse"})
# what makes figures comparable; the rest of a protocol, such as the search, is how they were reached
SHARED = ("changed", "split", "order", "group_by", "mode", "mask_history", "timestamp_order", "ties", "window")


@dataclass(frozen=True)
class Cell:
    """A model's figures of one metric.

    Attributes:
        mean, sd: over ``seeds`` finished runs; the standard deviation is the sample's, ``None`` for a single run.
        change: of the mean against the baseline's, in percent; ``None`` without one.
        comparison: the test against the baseline; ``None`` for the baseline itself and where there is none.
        p: of the test, corrected by Holm for all comparisons of the table.
        best, second: whether the mean is the column's best or the next to it; equal means share a place.
    """

    mean: float
    sd: float | None
    seeds: int
    change: float | None = None
    comparison: Comparison | None = None
    p: float | None = None
    best: bool = False
    second: bool = False

    @property
    def direction(self) -> int:
        """1 or -1 if the model is significantly better or worse than the baseline at .05, else 0.

        The means and the ranks must say the same: many small wins and a few large losses are no finding.
        """
        if self.p is None or self.comparison is None or self.p >= LEVEL:
            return 0
        sign = np.sign(self.comparison.difference)
        return int(sign) if sign == np.sign(self.comparison.effect) else 0


@dataclass(frozen=True)
class Row:
    """A model's line of a table.

    Attributes:
        label: the name it goes by; ``model`` is its class, ``None`` if nothing ran.
        seeds: finished ones, of ``asked``.
        cells: by metric, empty if nothing ran.
        seconds: of training, the median over seeds; ``None`` if not recorded.
        parameters: trained numbers of the model; ``None`` if not recorded.
        notes: what is missing and why.
        data: what its runs read and left out (:class:`recbole_mind.data.counts.Counts`); empty if not recorded.
    """

    label: str
    model: str | None
    seeds: tuple[int, ...]
    asked: int
    cells: dict[str, Cell]
    seconds: float | None
    parameters: int | None
    notes: tuple[str, ...]
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """The rows of one data set under one protocol; ``statement`` says how the figures came about.

    Attributes:
        comparisons: number of tests that the p-values are corrected for.
        notes: about the table as a whole; those about a row stand there.
    """

    dataset: str
    protocol: str
    statement: str
    baseline: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    comparisons: int
    notes: tuple[str, ...] = ()

    @property
    def every_note(self) -> list[str]:
        """The table's notes, then those of the rows, each with its label."""
        return [*self.notes, *(f"{row.label}: {note}" for row in self.rows for note in row.notes)]


@dataclass(frozen=True)
class Board:
    """Tables in the order of data sets and, within each, of protocols."""

    tables: tuple[Table, ...]
    title: str = "Leaderboard"


@dataclass
class _Runs:
    """What there is of one label in one table; ``untested`` says why it cannot be tested.

    A row that stands ``apart`` has other test users than the baseline's: it has neither a place nor a change.
    """

    records: dict[int, Record]
    hits: list[Hits]
    untested: str
    notes: list[str]
    apart: bool = False


def build(
    labels: Sequence[str],
    datasets: Sequence[str],
    protocols: Sequence[str],
    seeds: Sequence[int],
    baseline: str,
    records: Mapping[Key, Record],
    hits_of: Callable[[Key], Hits | None],
    absent: Mapping[tuple[str, str, str], str],
) -> Board:
    """Make the board.

    Args:
        labels, datasets, protocols, seeds: what was asked for, in the order of rows and tables.
        baseline: the label that the others are compared with.
        records: of the runs that ended, as ``RunResult`` writes them, with ``label`` and ``parameters``; that of a
            failed run has ``error``, one line, in place of ``test``.
        hits_of: what the run found for each user, ``None`` if it was not kept.
        absent: why a label was not run on a data set under a protocol.

    Raises:
        InputError: the baseline is not among the labels, or a label stands there twice.
    """
    known = baseline in labels
    require(known, f"baseline: '{baseline}' is not allowed; allowed: {', '.join(labels)}{nearest(baseline, labels)}")
    twice = [label for label in labels if list(labels).count(label) > 1]
    require(not twice, f"labels: '{twice[0] if twice else ''}' is there twice")
    tables = []
    for dataset in datasets:
        for protocol in protocols:
            runs = {}
            for label in labels:
                ended = {seed: records.get((dataset, protocol, label, seed)) for seed in seeds}
                reason = absent.get((dataset, protocol, label))
                found = {seed: hits_of((dataset, protocol, label, seed)) for seed in seeds if _finished(ended[seed])}
                runs[label] = _gather(ended, found, reason)
            tables.append(_table(dataset, protocol, seeds, baseline, runs))
    return Board(tuple(tables))


def _finished(record: Record | None) -> bool:
    return record is not None and "test" in record and not record.get("error")


def _gather(ended: Mapping[int, Record | None], found: Mapping[int, Hits | None], reason: str | None) -> _Runs:
    """One label's runs: the records by seed, what the finished ones found, and why it was not run."""
    records = {seed: record for seed, record in ended.items() if record is not None and seed in found}
    hits = [entry for entry in found.values() if entry is not None]
    lost = ", ".join(str(seed) for seed, entry in found.items() if entry is None)
    untested, notes = "", []
    if lost:
        untested = f"what seed {lost} found for each user was not kept"
    elif len({entry.users for entry in hits}) > 1:
        untested = "its seeds have different test users"
    errors = {seed: (ended[seed] or {}).get("error") for seed in ended if seed not in found}
    if not records and not any(errors.values()):
        notes.append(f"not run: {reason}" if reason else "not run")
    elif errors:
        texts = [
            f"seed {seed} failed: {error}" if error else f"seed {seed} was not run" for seed, error in errors.items()
        ]
        notes.append(f"{len(records)} of {len(ended)} seeds; {'; '.join(texts)}")
    return _Runs(records, hits, untested, notes)


def _table(dataset: str, protocol: str, seeds: Sequence[int], baseline: str, runs: Mapping[str, _Runs]) -> Table:
    finished = [record for found in runs.values() for record in found.records.values()]
    shared = _shared(finished[0]) if finished else {}
    metrics = tuple(dict.fromkeys(metric for record in finished for metric in record["test"]))
    cells = {label: _cells(list(found.records.values()), metrics) for label, found in runs.items()}
    check_data(f"{dataset}, {protocol}", [(label, r) for label, found in runs.items() for r in found.records.values()])
    for found in runs.values():
        found.notes.extend(_differences(found, shared))
    comparisons, notes = _compare(cells, runs, baseline)
    for metric in metrics:
        _rank({label: row for label, row in cells.items() if not runs[label].apart}, metric)
    notes += _made(runs) + [
        f"data: {text}" for text in {describe(record.get("data", {})): 0 for record in finished} if text
    ]
    users = {len(hits.numbers) for found in runs.values() for hits in found.hits}
    rows = [_row(label, found, cells[label], len(seeds)) for label, found in runs.items()]
    statement = _statement(shared, seeds, users, baseline)
    return Table(dataset, protocol, statement, baseline, metrics, tuple(rows), comparisons, tuple(notes))


def check_data(table: str, records: Iterable[tuple[str, Record]]) -> None:
    """Raise :class:`InputError` where the rows of a table, by their labels, are not of the same data."""
    known = [(label, record["data"]) for label, record in records if record.get("data")]
    for label, data in known:
        first, other = known[0]
        require(
            data == other,
            f"{table}: '{label}' and '{first}' do not stand on the same data and cannot be compared: {describe(data)}, "
            f"against {describe(other)}; what is loaded (load_col) and left out must be the same for all",
        )


def _row(label: str, runs: _Runs, cells: dict[str, Cell], asked: int) -> Row:
    records = list(runs.records.values())
    parameters = _median(record.get("parameters") for record in records)
    return Row(
        label=label,
        model=next((str(record["model"]) for record in records if "model" in record), None),
        seeds=tuple(runs.records),
        asked=asked,
        cells=cells,
        seconds=_median(record.get("phases", {}).get("training") for record in records),
        parameters=None if parameters is None else round(parameters),
        notes=tuple(runs.notes),
        data=next((record["data"] for record in records if "data" in record), {}),
    )


def _compare(cells: Mapping[str, dict[str, Cell]], runs: Mapping[str, _Runs], baseline: str) -> tuple[int, list[str]]:
    """Fill in changes and tests against the baseline; the number of tests, and what to say of the table."""
    base = runs[baseline]
    others = {label: found for label, found in runs.items() if label != baseline and found.records}
    if not base.records:
        return 0, [f"nothing is compared: the baseline {baseline} has no finished run"] if others else []
    for label, found in others.items():
        users = {hits.users for hits in found.hits}
        found.apart = bool(users) and not base.untested and users != {base.hits[0].users}
        if found.apart:
            found.untested = f"its test users are not those of {baseline}"
            continue
        for metric, cell in cells[label].items():
            cells[label][metric] = replace(cell, change=_change(cell, cells[baseline].get(metric)))
    if base.untested:
        return 0, [f"no tests of significance: {baseline}: {base.untested}"]
    means = {metric: mean_per_user(base.hits, metric) for metric in _tested(cells[baseline], base)}
    tests: list[tuple[str, str, Comparison]] = []
    for label, found in others.items():
        if found.untested:
            lacking = "no place, change or test" if found.apart else "no test of significance"
            found.notes.append(f"{lacking}: {found.untested}")
            continue
        for metric in _tested(cells[label], found):
            if metric in means:
                tests.append((label, metric, compare(mean_per_user(found.hits, metric), means[metric])))
    for (label, metric, test), p in zip(tests, holm([test.p for _, _, test in tests]), strict=True):
        cells[label][metric] = replace(cells[label][metric], comparison=test, p=p)
    return len(tests), []


def _made(runs: Mapping[str, _Runs]) -> list[str]:
    """How the runs of a table were made: whose settings were tuned, and what was not the same for all."""
    done = {label: list(found.records.values()) for label, found in runs.items() if found.records}
    notes = []
    tuned = [label for label, records in done.items() if any(record.get("tuned") for record in records)]
    if tuned:
        others = "; the others have their defaults" if len(tuned) < len(done) else ""
        notes.append(f"settings chosen on the validation set: {', '.join(tuned)}{others}")
    for key, what in (
        ("source", "states of recbole-mind's source"),
        ("device", "devices"),
        ("threads", "numbers of threads"),
    ):
        values = {record[key] for records in done.values() for record in records if key in record}
        if len(values) > 1:
            notes.append(f"made with {len(values)} {what}")
    return notes


def _cells(records: Sequence[Record], metrics: Sequence[str]) -> dict[str, Cell]:
    """The cells of the metrics that every run has."""
    result = {}
    for metric in metrics:
        values = np.array([record["test"][metric] for record in records if metric in record["test"]], np.float64)
        if records and len(values) == len(records):
            sd = round(float(values.std(ddof=1)), DECIMALS) if len(values) > 1 else None
            result[metric] = Cell(round(float(values.mean()), DECIMALS), sd, len(values))
    return result


def _tested(cells: Mapping[str, Cell], runs: _Runs) -> list[str]:
    """Metrics that the hits of these runs are long enough for."""
    width = min(hits.found.shape[1] for hits in runs.hits)
    return [metric for metric in cells if is_per_user(metric) and int(metric.partition("@")[2]) <= width]


def _change(cell: Cell, base: Cell | None) -> float | None:
    return 100 * (cell.mean / base.mean - 1) if base and base.mean and np.isfinite(cell.mean / base.mean) else None


def _rank(cells: Mapping[str, dict[str, Cell]], metric: str) -> None:
    """Mark best and second of a column; where all are the same, or there is one row alone, nothing is best."""
    means = {label: row[metric].mean for label, row in cells.items() if metric in row}
    smaller = metric.partition("@")[0].lower() in SMALLER
    places = sorted({mean for mean in means.values() if np.isfinite(mean)}, reverse=not smaller)
    if len(places) > 1:
        for label, mean in means.items():
            cells[label][metric] = replace(cells[label][metric], best=mean == places[0], second=mean == places[1])


def _median(values: Any) -> float | None:
    found = [value for value in values if value is not None]
    return float(np.median(found)) if found else None


def _shared(record: Record) -> dict[str, Any]:
    protocol, config = record.get("protocol", {}), record.get("config", {})
    decimals = {"decimals": config["metric_decimal_place"]} if "metric_decimal_place" in config else {}
    return {key: protocol[key] for key in SHARED if key in protocol} | decimals


def _differences(runs: _Runs, shared: Mapping[str, Any]) -> list[str]:
    """Where the protocol of a row's runs is not the one that the table states."""
    found = {
        f"{key} is {_words(value)} here, not {_words(shared.get(key))}"
        for record in runs.records.values()
        for key, value in _shared(record).items()
        if value != shared.get(key)
    }
    return [f"another protocol than the table's: {text}" for text in sorted(found)]


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(entry)}" for key, entry in value.items() if entry is not None)
    if isinstance(value, (list, tuple)):
        return ":".join(map(_words, value))
    if isinstance(value, float):
        return f"{value:g}"
    return {"True": "true", "False": "false", "None": "none"}.get(str(value), str(value))


def _statement(protocol: Mapping[str, Any], seeds: Sequence[int], users: set[int], baseline: str) -> str:
    """One line that says how a table's figures came about."""
    parts = []
    if protocol.get("changed"):
        parts.append(f"with a {' and a '.join(protocol['changed'])} of its own")
    if "split" in protocol:
        parts.append(str(protocols.list_split(protocol) or f"split {_words(protocol['split'])}"))
    if "window" in protocol:
        parts.append(f"only {_words(protocol['window'])}")
    if protocol.get("order") == "RO":
        parts.append("random order")
    elif "timestamp_order" in protocol:
        ties = f", ties by {protocol['ties']}" if protocol.get("ties") else ""
        parts.append(f"time order '{protocol['timestamp_order']}'{ties}")
    if "mode" in protocol:
        mode = protocol["mode"]
        mode = mode.get("test") if isinstance(mode, Mapping) else mode
        parts.append("whole catalogue ranked" if mode == "full" else f"candidates '{mode}'")
    if "mask_history" in protocol:
        parts.append("history kept out of the ranking" if protocol["mask_history"] else "history not masked")
    if protocol.get("decimals") is not None:
        parts.append(f"each run's figures rounded to {protocol['decimals']} decimals")
    parts.append(f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}")
    if users:
        parts.append(" or ".join(f"{number:,}" for number in sorted(users)) + " test users")
    parts.append(f"baseline {baseline}")
    return "; ".join(parts)
