"""What a sweep's file says: the model, the space or the curves, and how trials are made."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from recbole_mind.config import keys, loading, without_effect
from recbole_mind.config.specification import (
    Allowed,
    Key,
    Listed,
    Number,
    OneOf,
    Seed,
    Seeds,
    Specification,
    Values,
    Whole,
    read,
)
from recbole_mind.errors import InputError, nearest, require
from recbole_mind.experiments.sweep import setting_types
from recbole_mind.experiments.sweep.space import Distributions, Space, parse, read_text
from recbole_mind.experiments.sweep.suggest import ALGORITHMS
from recbole_mind.util import json_text

_SHIPPED = Path(str(files("recbole_mind.properties") / "sweep"))
_MAX_EVALS = 30  # where nobody says how many trials
# Settings that are not a sweep's to choose: they say where a run happens, or how it is judged.
_PLACE = frozenset({"model", "dataset", "seed", "checkpoint_dir", "show_progress"})
_JUDGE = keys.JUDGING | {"protocol", "eval_args", "metrics", "topk", "valid_metric", "mask_history", "eval_step",
                             "data_path", "load_col"}  # fmt: skip


Share = Annotated[float, Number(0, 2**16 - 1)]


class EarlyStop(Specification):
    """ASHA (Li et al. 2020): at ``grace`` × ``reduction``^k epochs the best 1 of ``reduction`` trials goes on."""

    grace: Whole = Field(description="Epochs after which trials are first compared.")
    reduction: Annotated[int, Number(2, 2**32 - 1)] = Field(description="Of so many trials one goes on.")


class Resources(Specification):
    """What a trial of a Ray cluster asks for."""

    cpu: Share | None = Field(None, description="CPUs; by default one.")
    gpu: Share | None = Field(None, description="GPUs; by default a fair share of them.")


def _trials(known: Mapping[str, Any]) -> int | None:
    return None if known.get("space") is None or known.get("algo") == "exhaustive" else _MAX_EVALS


class SweepSpec(Specification):
    """A sweep: a search in a space of settings, or curves along each of several settings."""

    named: Annotated[str, Allowed("a model's name")] = Field(
        "", alias="model", description="The model; it may be given on the command line, or drawn by the space."
    )
    dataset: Annotated[str, Allowed("a data set's name")] = Field(
        "", description="The data set; it may be given on the command line."
    )
    settings: Annotated[dict[Key, Any], Allowed("settings of all trials")] = Field(
        {}, description="Settings of all trials."
    )
    space: Annotated[Space | None, PlainValidator(parse, json_schema_input_type=Distributions)] = Field(
        None, description="What a search draws: settings, each with its distribution."
    )
    curves: Annotated[dict[Key, Values], Field(min_length=1), Allowed("settings, each with a list of values")] = Field(
        {}, description="Instead of a space: settings with the values to try, one setting at a time."
    )
    seeds: Seeds = Field((1,), description="Of training: the one of a search, or those of every point of a curve.")
    final_seeds: Annotated[tuple[Seed, ...], Listed("a list of whole numbers, each below 2**32")] = Field(
        (1, 2, 3), description="With which the winner is tested."
    )
    algo: Annotated[str, OneOf(ALGORITHMS)] = Field("tpe", description="How the search draws its trials.")
    max_evals: Whole | None = Field(
        default_factory=_trials, description=f"How many trials a search makes; by default {_MAX_EVALS}."
    )
    seed: Annotated[int, Number(0, 2**32 - 1)] = Field(1, description="Of the search.")
    metric: Annotated[str, Allowed("such as NDCG@10")] | None = Field(
        None, description="By which trials are judged on the validation set; by default valid_metric."
    )
    early_stop: Annotated[
        Annotated[EarlyStop, Allowed("{grace: epochs, reduction: 3}, or ~")] | None,
        BeforeValidator(lambda value: None if value is False else value),
    ] = Field(None, description="Ends bad trials early.")
    resources: Annotated[Resources, Allowed("{cpu: 1, gpu: 0.5}, of a Ray cluster")] = Field(
        Resources(), description="What a trial asks for."
    )
    threads: Whole = Field(1, description="Of torch, in each trial.")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        """A key that is null is as if it were left out."""
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {key: value for key, value in given.items() if value is not None or key not in known}

    @model_validator(mode="after")
    def _check(self) -> SweepSpec:
        given = self.model_fields_set
        one = len(given & {"space", "curves"}) == 1
        require(one, "space: one of 'space' (a search) and 'curves' (values to try) is needed")
        self._check_models()
        require(bool(self.dataset), "dataset: no data set is named; use --dataset=ml-100k")
        self._check_settings()
        setting_types.check_drawn(() if self.space is None else self.space.parameters, self.models)
        setting_types.check_curves(self.curves, self.models[0])
        for key in ("algo", "max_evals") if self.space is None else ():
            require(key not in given, f"{key}: curves are no search; take '{key}' out")
        one = self.space is None or len(self.seeds) == 1
        require(one, f"seeds: {list(self.seeds)} is not allowed: a search has one; final_seeds test its winner")
        varied = self.curves if self.space is None else self.space.names
        halved = self.early_stop is None or "epochs" not in varied
        require(halved, "early_stop: trials that differ in 'epochs' cannot be halved")
        return self

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The model, or each that the space draws."""
        drawn = [] if self.space is None else [each.values for each in self.space.parameters if each.name == "model"]
        return drawn[0] if drawn else (self.named,)

    def model(self, drawn: Mapping[str, Any]) -> str:
        """The model of a trial."""
        return str(drawn.get("model", self.models[0]))

    def overrides(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a trial, other than its seed."""
        known = keys.known_keys(self.model(drawn))
        merged = {key: value for key, value in self.settings.items() if key in known}
        if "data_path" in merged:
            merged["data_path"] = str(Path(merged["data_path"]).resolve())
        judged = {} if self.metric is None else {"valid_metric": self.metric}
        own = {key: value for key, value in drawn.items() if key != "model"}
        merged = without_effect.drop(self.model(drawn), merged, own)  # a fixed setting may be for other trials
        return {"show_progress": False} | merged | judged | own

    def _check_models(self) -> None:
        drawn = [] if self.space is None else [each for each in self.space.parameters if each.name == "model"]
        if drawn:
            require(not self.named, "model: it is named, and drawn by the space too; take one of them out")
            choice = drawn[0].kind == "choice" and not drawn[0].when
            require(choice, "space: model: it is not allowed so; allowed: {choice: [...]} without a condition")
        for name in self.models:
            keys.check_model(name)

    def _check_settings(self) -> None:
        """Refuse keys that a model does not read, and those that are not a sweep's to choose."""
        models, space, fixed = self.models, self.space, self.settings
        every = frozenset().union(*map(keys.known_keys, models))
        for key in fixed:
            require(
                key not in _PLACE, f"settings: '{key}' is a key of the sweep, or not for it, and not of its settings"
            )
            require(key in every, f"settings: unknown key '{key}' for {', '.join(models)}{nearest(key, every)}")
        where, names = ("space", space.names) if space is not None else ("curves", tuple(self.curves))
        for name in names:
            if name == "model" and space is not None:
                continue
            refused = f"{where}: '{name}' says how or where trials are judged and is the same for all"
            require(name not in _PLACE | _JUDGE, f"{refused}; set it under 'settings'")
            require(name not in fixed, f"{where}: '{name}' has a value under 'settings' too; take one of them out")
            require(name in every, f"{where}: unknown key '{name}' for {', '.join(models)}{nearest(name, every)}")
        for parameter in () if space is None else space.parameters:
            asked = parameter.when.get("model", models)
            for model in models:
                known = model not in asked or parameter.name in keys.known_keys(model) | {"model"}
                require(known, f"space: {parameter.name}: {model} has no such setting; add when: {{model: [...]}}")
            for key in parameter.when:
                known = key in every or key in ("model", "dataset") or key in names
                require(known, f"space: {parameter.name}: when: unknown key '{key}'{nearest(key, every)}")

    def check_read(self) -> None:
        """Raise :class:`InputError` for a setting that is drawn, or varied, in a trial that would not read it.

        A fixed one must be read by one trial at least.
        """
        varied = {name: list(values) for name, values in self.curves.items()}
        for name in self.settings:
            if not any(name not in self._idle(point, name) for point in self._points(name)):
                reason = self._idle(next(iter(self._points(name))), name)[name]
                raise InputError(f"settings: {name}: {self.settings[name]!r} has no effect in any trial: {reason}")
        for name in self.space.names if self.space is not None else varied:
            for point in self._points(name):
                reasons = self._idle(point, name) if name in point else {}
                if name in reasons:
                    asked = ", ".join(
                        f"{key}: [...]" for key in sorted(without_effect.deciders(self.model(point), name))
                    )
                    hint = f"; say when it is drawn: when: {{{asked}}}" if asked and not self.curves else ""
                    where = "curves" if self.curves else "space"
                    raise InputError(f"{where}: {name}: it would have no effect in some trials: {reasons[name]}{hint}")

    def _idle(self, point: Mapping[str, Any], name: str) -> dict[str, str]:
        """What the trial at ``point`` does not read, ``name`` fixed or drawn."""
        model = self.model(point)
        if name not in keys.known_keys(model):
            return {name: f"{model} has no such setting"}
        usual = loading.defaults("protocol", str(self.settings.get("protocol")))
        return without_effect.unread(model, usual | dict(self.settings) | dict(point))

    def _points(self, name: str) -> Iterator[dict[str, Any]]:
        """Trials that differ in what decides whether ``name`` is read: each combination of it once."""
        if self.space is None:
            yield from ({key: value} for key, values in self.curves.items() for value in values)
            return
        parameters = {parameter.name: parameter for parameter in self.space.parameters}
        deciding = set().union(*(without_effect.deciders(model, name) for model in self.models)) | {name, "model"}
        waiting = deciding & set(parameters)
        asked: set[str] = set()
        while waiting:
            asked |= waiting
            waiting = {key for each in waiting for key in parameters[each].when if key in parameters} - asked
        ordered = [parameter for parameter in self.space.parameters if parameter.name in asked]
        values = [parameter.some() if parameter.name != name else parameter.ends()[:1] for parameter in ordered]
        names = [parameter.name for parameter in ordered]
        for combination in itertools.product(*values):
            yield self.space.prune(dict(zip(names, combination, strict=True)))

    def mark(self) -> str:
        """A hash of what decides the trials: not of their number, nor of what happens to the winner."""
        parameters = None if self.space is None else self.space.parameters
        said: dict[str, Any] = {
            "models": self.models, "dataset": self.dataset, "settings": dict(self.settings), "curves": self.curves,
            "space": parameters and [[p.name, p.kind, list(p.values), dict(p.when)] for p in parameters],
            "seeds": self.seeds, "algo": self.algo, "seed": self.seed, "metric": self.metric, "threads": self.threads,
            "early_stop": self.early_stop and [self.early_stop.grace, self.early_stop.reduction],
        }  # fmt: skip
        said["settings"] = {key: value for key, value in said["settings"].items() if key != "data_path"}
        return hashlib.sha256(json_text.to_json(said).encode()).hexdigest()


def read_spec(source: str | Path | Mapping[str, Any], **given: Any) -> SweepSpec:
    """Read a sweep's file: YAML or JSON, or a ``hyper.test`` of RecBole; a name such as ``mind.yaml`` may be shipped.

    Args:
        source: the file, or its content.
        given: what wins over the file, where not ``None``: ``model``, ``dataset``, ``algo``, ``max_evals``, ``seed``
            and ``overrides``, settings of all trials.

    Raises:
        InputError: the file, a key or a value cannot be used.
    """
    if isinstance(source, Mapping):
        return _read(dict(source), given)
    path = _find(Path(source))
    plain_text = path.suffix not in (".yaml", ".yml", ".json")
    content = {"space": read_text(path)} if plain_text else loading.read_file(path)
    if path.parent == _SHIPPED:  # nobody has given what such a file sets
        model = str(given.get("model") or content["model"])
        content["settings"] = without_effect.drop(model, content["settings"], given.get("overrides") or {})
    return _read(content, given, f"sweep '{source}'")


def _read(content: dict[str, Any], given: Mapping[str, Any], where: str = "") -> SweepSpec:
    said = content | {key: value for key, value in given.items() if value is not None and key != "overrides"}
    fixed = said.get("settings")
    if given.get("overrides") and isinstance(fixed, dict | None):
        said["settings"] = (fixed or {}) | given["overrides"]
    return read(SweepSpec, said, where)


def _find(path: Path) -> Path:
    """The file, or the shipped one of that name."""
    if path.exists() or path.parent != Path():
        return path
    for name in (path.name, f"{path.name}.yaml"):
        if (_SHIPPED / name).is_file():
            return _SHIPPED / name
    names = ", ".join(sorted(file.name for file in _SHIPPED.glob("*.yaml")))
    raise InputError(f"sweep '{path}' cannot be read: there is no such file here, and those that ship are {names}")
