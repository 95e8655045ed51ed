"""A leaderboard's file: models, data sets, protocols, seeds, and the cells that they make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, RootModel, model_validator

from recbole_mind.config import keys as setting_keys
from recbole_mind.config import loading, protocols, without_effect
from recbole_mind.config.specification import Allowed, Key, Listed, OneOf, Seeds, Specification, Whole, read
from recbole_mind.errors import InputError, nearest, require

_LONGEST = 80  # letters of a name, which becomes part of a file's
_REASONS = Allowed("a model with a reason, or with data sets and a reason for each")
_SETTINGS = Allowed("'all', a data set or a model, each with its settings")
_NULL = BeforeValidator(lambda value: {} if value is None else value)


class RunKey(NamedTuple):
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


def _name(name: str) -> str:
    if set(name) & set('/\\:*?"<>|@') or name in (".", "..", "all", "") or len(name) > _LONGEST:
        words = f"allowed: up to {_LONGEST} letters fit for a file, not 'all'"
        raise ValueError(f"'{name}' is not allowed as a name; {words}")
    return name


def _baseline(known: Mapping[str, Any]) -> str:
    models: tuple[str, ...] = known.get("models", ("",))  # what is wrong with them is told
    return "YouTubeDNN" if "YouTubeDNN" in models else models[0]


Names = Annotated[tuple[Annotated[str, AfterValidator(_name)], ...], Field(min_length=1), Listed("a list of names")]
Protocols = Annotated[
    tuple[Annotated[str, OneOf(tuple(protocols.known()))], ...], Field(min_length=1), Listed("a list of names")
]
Settings = Annotated[dict[Annotated[str, Allowed("names of settings")], Any], Allowed("settings")]


class LeaderboardSpec(Specification):
    """A leaderboard: models that run on data sets under protocols, with seeds."""

    models: Names = Field(
        description="Labels of the rows, in order: a model's name, or any name whose settings say which `model` it is."
    )
    datasets: Names = Field(description="The data sets that each model runs on.")
    data_path: Annotated[str, Allowed("a path")] | None = Field(None, description="The folder that holds them.")
    protocols: Protocols = Field(("leave-one-out",), description="How the models are trained and tested.")
    seeds: Seeds = Field((1, 2, 3), description="Of training; each makes a run.")
    baseline: Annotated[str, Allowed("one of the models")] = Field(
        default_factory=_baseline,
        description="The label that others are compared with; by default YouTubeDNN, or else the first.",
    )
    settings: Annotated[dict[Key, Settings], _SETTINGS, _NULL] = Field(
        {}, description="For `all`, for a data set, or for a label; a later one of these wins."
    )
    tuned: Annotated[bool, Allowed("True, False")] = Field(
        True, description="Whether to start from the settings that ship for a data set and protocol."
    )
    threads: Whole = Field(
        1, description="Of each run, whatever else runs, since figures depend on it in their last digits."
    )
    not_run: Annotated[dict[Key, Annotated[str | dict[Key, str], _REASONS]], _REASONS, _NULL] = Field(
        {}, description="Runs that are left out: a label with a reason, or with data sets and a reason for each."
    )

    @model_validator(mode="after")
    def _check(self) -> LeaderboardSpec:
        twice = set(self.models) & set(self.datasets)
        require(not twice, f"'{min(twice, default='')}' is both a model and a data set; give the model another label")
        require(self.baseline in self.models, f"baseline: '{self.baseline}' is not among the models")
        for label, why in self.not_run.items():
            require(label in self.models, f"not_run: '{label}' is not among the models")
            for dataset in why if isinstance(why, dict) else ():
                require(dataset in self.datasets, f"not_run: {label}: '{dataset}' is not among the data sets")
        self._check_settings()
        return self

    def _check_settings(self) -> None:
        known = ("all", *self.datasets, *self.models)
        for name, values in self.settings.items():
            require(name in known, f"settings: '{name}' is unknown{nearest(name, known)}; allowed: {', '.join(known)}")
            for key in ("seed", "protocol", "checkpoint_dir", "data_path", "dataset"):
                require(key not in values, f"settings: {name}: '{key}' is a key of the leaderboard, not of a model")
            good = "model" not in values or name in self.models
            require(good, f"settings: {name}: 'model' is not allowed here; allowed: in the settings of a row")
        shared = setting_keys.JUDGING.union(*(loading.defaults("protocol", name) for name in self.protocols))
        for label in self.models:
            own = {key: value for key, value in self.settings.get(label, {}).items() if key != "model"}
            for key in own:
                where = "'all' or a data set"
                require(key not in shared, f"settings: {label}: '{key}' is the same for all models; set it for {where}")
            model = setting_keys.check_model(self.settings.get(label, {}).get("model", label))
            setting_keys.check_keys(own, model, f"settings: {label}")
        keys = frozenset().union(*(setting_keys.known_keys(self.model(label)) for label in self.models))
        for name in {"all", *self.datasets} & set(self.settings):
            for key in self.settings[name]:
                require(key in keys, f"settings: {name}: no model has a key '{key}'{nearest(key, keys)}")

    def reason_not_run(self, dataset: str, label: str) -> str | None:
        """Why the runs of a label on a data set are left out; ``None`` where they are not."""
        why = self.not_run.get(label)
        return why if why is None or isinstance(why, str) else why.get(dataset)

    def cells(self) -> list[RunKey]:
        """Every run, the first seed of all of them first."""
        return [
            RunKey(dataset, protocol, label, seed)
            for seed in self.seeds
            for dataset in self.datasets
            for protocol in self.protocols
            for label in self.models
        ]

    def model(self, label: str) -> str:
        """The model behind a label."""
        return str(self.settings.get(label, {}).get("model", label))

    def overrides(self, cell: RunKey) -> dict[str, Any]:
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

    def chosen(self, cell: RunKey) -> dict[str, Any]:
        """The settings that ship for the data set, the protocol and the label, or else the label's model."""
        known = loading.defaults("leaderboard", cell.dataset).get(cell.protocol, {}) if self.tuned else {}
        return dict(known.get(cell.label) or known.get(self.model(cell.label)) or {})


class Tuned(RootModel[dict[Annotated[str, OneOf(tuple(protocols.known()))], dict[str, dict[str, Any]]]]):
    """The settings that ship for a data set: by protocol and by label, or else by the label's model."""


def read_spec(path: str | Path) -> LeaderboardSpec:
    """Read a leaderboard's YAML file.

    Raises:
        InputError: the file, a key or a value cannot be used.
    """
    return read(LeaderboardSpec, loading.read_file(path), f"leaderboard '{path}'")
