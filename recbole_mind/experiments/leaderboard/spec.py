"""A leaderboard's file: models, data sets, protocols, seeds, and the cells that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from recbole_mind.config import keys as setting_keys
from recbole_mind.config import loading, protocols, without_effect
from recbole_mind.errors import InputError, nearest, require

KEYS = ("models", "datasets", "data_path", "protocols", "seeds", "baseline", "settings", "tuned", "threads", "not_run")


_LONGEST = 80  # letters of a name, which becomes part of a file's


class Cell(NamedTuple):
    """One run of a leaderboard."""

    dataset: str
    protocol: str
    label: str
    seed: int

    def __str__(self) -> str:
        return f"{self.label}, {self.dataset}, {self.protocol}, seed {self.seed}"

    @property
    def file(self) -> str:
        """The name of its record's file; names hold no ``@``."""
        return f"{self.dataset}@{self.protocol}@{self.label}@{self.seed}.json"


@dataclass(frozen=True)
class Spec:
    """What a leaderboard's file says.

    Attributes:
        models: labels of the rows, in order: a model's name, or any name whose settings say which ``model`` it is.
        datasets, protocols, seeds: each model runs on each combination of them.
        baseline: the label that others are compared with.
        data_path: the folder that holds the data sets.
        settings: for ``all``, for a data set, or for a label; a later one of these wins.
        tuned: whether to start from the settings that ship for a data set and protocol (``properties/leaderboard/``).
        threads: of each run, whatever else runs, since figures depend on it in their last digits.
        not_run: label, or data set and label, to the reason why its runs are left out.
    """

    models: tuple[str, ...]
    datasets: tuple[str, ...]
    protocols: tuple[str, ...] = ("leave-one-out",)
    seeds: tuple[int, ...] = (1, 2, 3)
    baseline: str = "YouTubeDNN"
    data_path: str | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tuned: bool = True
    threads: int = 1
    not_run: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def cells(self) -> list[Cell]:
        """Every run, the first seed of all of them first."""
        return [
            Cell(dataset, protocol, label, seed)
            for seed in self.seeds
            for dataset in self.datasets
            for protocol in self.protocols
            for label in self.models
        ]

    def model(self, label: str) -> str:
        """The model behind a label."""
        return str(self.settings.get(label, {}).get("model", label))

    def overrides(self, cell: Cell) -> dict[str, Any]:
        """The settings of a run, other than its seed."""
        model = self.model(cell.label)
        common: dict[str, Any] = {}
        for source in ("all", cell.dataset):
            given = self.settings.get(source, {})
            common |= {key: value for key, value in given.items() if key in setting_keys.known_keys(model)}
        own = {key: value for key, value in self.settings.get(cell.label, {}).items() if key != "model"}
        where = {} if self.data_path is None else {"data_path": str(Path(self.data_path).resolve())}
        common = without_effect.drop(model, self.chosen(cell) | common, own)  # what this row does not read is another's
        return {"show_progress": False} | where | common | own | {"protocol": cell.protocol}

    def check_read(self) -> None:
        """Raise :class:`InputError` for a setting of ``all`` or of a data set that no row reads."""
        for source in [name for name in ("all", *self.datasets) if name in self.settings]:
            cells = [cell for cell in self.cells() if source in ("all", cell.dataset)]
            for key, value in self.settings[source].items():
                rows = [cell for cell in cells if key in setting_keys.known_keys(self.model(cell.label))]
                idle = [
                    without_effect.unread(self.model(cell.label), {key: value} | self.overrides(cell)) for cell in rows
                ]
                if all(key in reasons for reasons in idle):
                    raise InputError(f"settings: {source}: {key}: {value!r} has no effect in any row: {idle[0][key]}")

    def chosen(self, cell: Cell) -> dict[str, Any]:
        """The settings that ship for the data set, the protocol and the label, or else the label's model."""
        known = loading.defaults("leaderboard", cell.dataset).get(cell.protocol, {}) if self.tuned else {}
        return dict(known.get(cell.label) or known.get(self.model(cell.label)) or {})


def read_spec(path: str | Path) -> Spec:
    """Read a leaderboard's YAML file.

    Raises:
        InputError: the file, a key or a value cannot be used.
    """
    content = loading.read_file(path)
    try:
        return _spec(content)
    except InputError as error:
        raise InputError(f"leaderboard '{path}': {error}") from None


def _spec(content: dict[str, Any]) -> Spec:
    for key in content:
        require(key in KEYS, f"unknown key '{key}'{nearest(key, KEYS)}; allowed: {', '.join(KEYS)}")
    lists: dict[str, Any] = {}
    for key in ("models", "datasets", "protocols", "seeds"):
        if key not in content and key in ("protocols", "seeds"):
            continue
        value: Any = content.get(key)
        value = [value] if isinstance(value, (str, int)) else value
        kind, word = (int, "whole numbers") if key == "seeds" else (str, "names")
        good = isinstance(value, list) and bool(value)
        good = good and all(isinstance(item, kind) and not isinstance(item, bool) for item in value)
        require(good, f"{key}: {content.get(key)!r} is not allowed; allowed: a list of {word}")
        require(len(set(value)) == len(value), f"{key}: {value!r} names one twice")
        lists[key] = tuple(value)
    require(all(0 <= seed < 2**32 for seed in lists.get("seeds", ())), "seeds: each is at least 0 and below 2**32")
    named = protocols.known()
    for protocol in lists.get("protocols", ()):
        require(
            protocol in named,
            f"protocols: '{protocol}' is unknown{nearest(protocol, named)}; allowed: {', '.join(named)}",
        )
    for name in lists["models"] + lists["datasets"]:
        good = not set(name) & set('/\\:*?"<>|@') and name not in (".", "..", "all", "") and len(name) <= _LONGEST
        require(
            good,
            f"'{name}' is not allowed as a name; allowed: up to {_LONGEST} letters fit for a file, not 'all'",
        )
    twice = set(lists["models"]) & set(lists["datasets"])
    require(not twice, f"'{min(twice, default='')}' is both a model and a data set; give the model another label")
    given = _settings(content.get("settings"), lists)
    for label in lists["models"]:
        setting_keys.check_model(given.get(label, {}).get("model", label))
    baseline = content.get("baseline", "YouTubeDNN" if "YouTubeDNN" in lists["models"] else lists["models"][0])
    require(baseline in lists["models"], f"baseline: '{baseline}' is not among the models")
    tuned = content.get("tuned", True)
    require(isinstance(tuned, bool), f"tuned: {tuned!r} is not allowed; allowed: True, False")
    count = content.get("threads", 1)
    good = isinstance(count, int) and not isinstance(count, bool) and count >= 1
    require(good, f"threads: {count!r} is not allowed; allowed: a whole number, at least 1")
    folder = content.get("data_path")
    require(folder is None or isinstance(folder, str), f"data_path: {folder!r} is not allowed; allowed: a path")
    missing = _not_run(content.get("not_run"), lists)
    more = {"settings": given, "tuned": tuned, "threads": count, "not_run": missing}
    return Spec(**lists, baseline=baseline, data_path=folder, **more)


def _settings(given: Any, lists: dict[str, Any]) -> dict[str, dict[str, Any]]:
    given = {} if given is None else given
    good = isinstance(given, dict) and all(isinstance(value, dict) for value in given.values())
    require(good, f"settings: {given!r} is not allowed; allowed: 'all', a data set or a model, each with its settings")
    known = ("all", *lists["datasets"], *lists["models"])
    for name, values in given.items():
        require(name in known, f"settings: '{name}' is unknown{nearest(name, known)}; allowed: {', '.join(known)}")
        for key in values:
            require(isinstance(key, str), f"settings: {name}: {key!r} is not allowed; allowed: names of settings")
        for key in ("seed", "protocol", "checkpoint_dir", "data_path", "dataset"):
            require(key not in values, f"settings: {name}: '{key}' is a key of the leaderboard, not of a model")
        good = "model" not in values or name in lists["models"]
        require(good, f"settings: {name}: 'model' is not allowed here; allowed: in the settings of a row")
    shared = setting_keys.JUDGING.union(
        *(loading.defaults("protocol", name) for name in lists.get("protocols", protocols.known()))
    )
    for label in lists["models"]:
        for key in given.get(label, {}):
            where = "'all' or a data set"
            require(key not in shared, f"settings: {label}: '{key}' is the same for all models; set it for {where}")
    models = {label: given.get(label, {}).get("model", label) for label in lists["models"]}
    for label, model in models.items():
        name = setting_keys.check_model(model)
        own = {key: value for key, value in given.get(label, {}).items() if key != "model"}
        setting_keys.check_keys(own, name, f"settings: {label}")
    for name in {"all", *lists["datasets"]} & set(given):
        for key in given[name]:
            keys = [setting_keys.known_keys(model) for model in models.values()]
            hint = nearest(key, frozenset().union(*keys))
            require(any(key in known for known in keys), f"settings: {name}: no model has a key '{key}'{hint}")
    return dict(given)


def _not_run(given: Any, lists: dict[str, Any]) -> dict[tuple[str, str], str]:
    """The reason for each data set and label."""
    given = {} if given is None else given
    allowed = "allowed: a model with a reason, or with data sets and a reason for each"
    require(isinstance(given, dict), f"not_run: {given!r} is not allowed; {allowed}")
    reasons = {}
    for label, why in given.items():
        require(label in lists["models"], f"not_run: '{label}' is not among the models")
        by_dataset = dict.fromkeys(lists["datasets"], why) if isinstance(why, str) else why
        good = isinstance(by_dataset, dict) and all(isinstance(text, str) for text in by_dataset.values())
        require(good, f"not_run: {label}: {why!r} is not allowed; {allowed}")
        for dataset, text in by_dataset.items():
            require(dataset in lists["datasets"], f"not_run: {label}: '{dataset}' is not among the data sets")
            reasons[dataset, label] = text
    return reasons
