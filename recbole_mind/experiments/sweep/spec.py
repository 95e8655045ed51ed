"""What a sweep's file says: the model, the space or the curves, and how trials are made."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from recbole_mind.config import keys, loading, without_effect
from recbole_mind.errors import InputError, nearest, require
from recbole_mind.experiments.sweep import setting_types
from recbole_mind.experiments.sweep.space import Space, parse, read_text
from recbole_mind.experiments.sweep.suggest import ALGORITHMS
from recbole_mind.util import json_text
from recbole_mind.util.json_text import same

KEYS = (
    "model", "dataset", "settings", "space", "curves", "seeds", "final_seeds", "algo", "max_evals", "seed", "metric",
    "early_stop", "resources", "threads",
)  # fmt: skip
_SHIPPED = Path(str(files("recbole_mind.properties") / "sweep"))
_MAX_EVALS = 30  # where nobody says how many trials
# Settings that are not a sweep's to choose: they say where a run happens, or how it is judged.
_PLACE = frozenset({"model", "dataset", "seed", "checkpoint_dir", "show_progress"})
_JUDGE = keys.JUDGING | {"protocol", "eval_args", "metrics", "topk", "valid_metric", "mask_history", "eval_step",
                             "data_path", "load_col"}  # fmt: skip


@dataclass(frozen=True)
class EarlyStop:
    """ASHA (Li et al. 2020): at ``grace`` × ``reduction``^k epochs the best 1 of ``reduction`` trials goes on."""

    grace: int
    reduction: int


@dataclass(frozen=True)
class Spec:
    """A sweep.

    Attributes:
        models: the model, or each that the space draws.
        dataset: its name.
        settings: of all trials.
        space: what is drawn, or ``None`` where there are ``curves``: settings with the values to try, one at a time.
        seeds: of training: the one of a search, or those that every point of a curve is run with.
        final_seeds: with which the winner is tested.
        algo, max_evals, seed: of the search.
        metric: by which trials are judged on the validation set; ``None`` for ``valid_metric``.
        early_stop: ends bad trials early.
        cpu, gpu: what a trial of a Ray cluster asks for; ``None`` for a CPU and a fair share of the GPUs.
        threads: of torch, in each trial.
    """

    models: tuple[str, ...]
    dataset: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    space: Space | None = None
    curves: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    seeds: tuple[int, ...] = (1,)
    final_seeds: tuple[int, ...] = (1, 2, 3)
    algo: str = "tpe"
    max_evals: int | None = None
    seed: int = 1
    metric: str | None = None
    early_stop: EarlyStop | None = None
    cpu: float | None = None
    gpu: float | None = None
    threads: int = 1

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


def read_spec(source: str | Path | Mapping[str, Any], **given: Any) -> Spec:
    """Read a sweep's file: YAML or JSON, or a ``hyper.test`` of RecBole; a name such as ``mind.yaml`` may be shipped.

    Args:
        source: the file, or its content.
        given: what wins over the file, where not ``None``: ``model``, ``dataset``, ``algo``, ``max_evals``, ``seed``
            and ``overrides``, settings of all trials.

    Raises:
        InputError: the file, a key or a value cannot be used.
    """
    if isinstance(source, Mapping):
        return _spec(dict(source), given)
    path = _find(Path(source))
    plain_text = path.suffix not in (".yaml", ".yml", ".json")
    content = {"space": read_text(path)} if plain_text else loading.read_file(path)
    if path.parent == _SHIPPED:  # nobody has given what such a file sets
        model = str(given.get("model") or content["model"])
        content["settings"] = without_effect.drop(model, content["settings"], given.get("overrides") or {})
    try:
        return _spec(content, given)
    except InputError as error:
        raise InputError(f"sweep '{source}': {error}") from None


def _find(path: Path) -> Path:
    """The file, or the shipped one of that name."""
    if path.exists() or path.parent != Path():
        return path
    for name in (path.name, f"{path.name}.yaml"):
        if (_SHIPPED / name).is_file():
            return _SHIPPED / name
    names = ", ".join(sorted(file.name for file in _SHIPPED.glob("*.yaml")))
    raise InputError(f"sweep '{path}' cannot be read: there is no such file here, and those that ship are {names}")


def _spec(content: dict[str, Any], given: Mapping[str, Any]) -> Spec:
    for key in content:
        require(key in KEYS, f"unknown key '{key}'{nearest(key, KEYS)}; allowed: {', '.join(KEYS)}")
    overrides = given.get("overrides") or {}
    said = content | {key: value for key, value in given.items() if value is not None and key != "overrides"}
    has = [key for key in ("space", "curves") if said.get(key) is not None]
    require(len(has) == 1, "space: one of 'space' (a search) and 'curves' (values to try) is needed")
    space = parse(said["space"]) if has == ["space"] else None
    models = _models(said, space)
    dataset: Any = said.get("dataset")
    require(isinstance(dataset, str) and bool(dataset), "dataset: no data set is named; use --dataset=ml-100k")
    fixed = said.get("settings") or {}
    good = isinstance(fixed, dict) and all(isinstance(key, str) for key in fixed)
    require(good, f"settings: {fixed!r} is not allowed; allowed: settings of all trials")
    fixed = fixed | overrides
    curves = _curves(said.get("curves"))
    _check_settings(fixed, models, space, curves)
    setting_types.check_drawn(() if space is None else space.parameters, models)
    setting_types.check_curves(curves, models[0])
    listed = [key for key in ("seeds", "final_seeds") if said.get(key) is not None]
    seeds: dict[str, Any] = {key: _seeds(key, said[key]) for key in listed}
    require(len(seeds.get("seeds", ())) > 0 or "seeds" not in seeds, "seeds: [] is not allowed; allowed: one or more")
    if space is None:
        for key in ("algo", "max_evals"):
            require(said.get(key) is None, f"{key}: curves are no search; take '{key}' out")
    else:
        one = len(seeds.get("seeds", (1,))) == 1
        require(one, f"seeds: {said.get('seeds')!r} is not allowed: a search has one; final_seeds test its winner")
    lows = {"max_evals": 1, "seed": 0, "threads": 1}
    numbers: dict[str, Any] = {
        key: _whole(key, said[key], low) for key, low in lows.items() if said.get(key) is not None
    }
    algo = said.get("algo") or "tpe"
    known = f"algo: '{algo}' is unknown{nearest(algo, ALGORITHMS)}; allowed: {', '.join(ALGORITHMS)}"
    require(algo in ALGORITHMS, known)
    if space is not None and algo != "exhaustive":
        numbers.setdefault("max_evals", _MAX_EVALS)
    metric = said.get("metric")
    require(metric is None or isinstance(metric, str), f"metric: {metric!r} is not allowed; allowed: such as NDCG@10")
    more = _resources(said.get("resources"))
    early = _early_stop(said.get("early_stop"))
    varied = set(curves) | set(space.names if space else ())
    require(early is None or "epochs" not in varied, "early_stop: trials that differ in 'epochs' cannot be halved")
    return Spec(models, dataset, fixed, space, curves, algo=algo, metric=metric, early_stop=early, **seeds, **numbers,
                **more)  # fmt: skip


def _models(said: Mapping[str, Any], space: Space | None) -> tuple[str, ...]:
    drawn = [] if space is None else [each for each in space.parameters if each.name == "model"]
    if not drawn:
        return (keys.check_model(said.get("model")),)
    require(said.get("model") is None, "model: it is named, and drawn by the space too; take one of them out")
    choice = drawn[0].kind == "choice" and not drawn[0].when
    require(choice, "space: model: it is not allowed so; allowed: {choice: [...]} without a condition")
    return tuple(keys.check_model(name) for name in drawn[0].values)


def _curves(given: Any) -> dict[str, tuple[Any, ...]]:
    if given is None:
        return {}
    good = isinstance(given, dict) and bool(given)
    require(good, f"curves: {given!r} is not allowed; allowed: settings, each with a list of values")
    for name, values in given.items():
        good = isinstance(values, list) and bool(values)
        require(good, f"curves: {name}: {values!r} is not allowed; allowed: a list of values")
        require(len({same(v) for v in values}) == len(values), f"curves: {name}: {values!r} names one twice")
    return {name: tuple(values) for name, values in given.items()}


def _check_settings(
    fixed: Mapping[str, Any], models: tuple[str, ...], space: Space | None, curves: Mapping[str, Any]
) -> None:
    """Refuse keys that a model does not read, and those that are not a sweep's to choose."""
    every = frozenset().union(*map(keys.known_keys, models))
    for key in fixed:
        require(key not in _PLACE, f"settings: '{key}' is a key of the sweep, or not for it, and not of its settings")
        require(key in every, f"settings: unknown key '{key}' for {', '.join(models)}{nearest(key, every)}")
    where, names = ("space", space.names) if space is not None else ("curves", tuple(curves))
    for name in names:
        if name == "model" and space is not None:
            continue
        refused = f"{where}: '{name}' says how or where trials are judged and is the same for all"
        require(name not in _PLACE | _JUDGE, f"{refused}; set it under 'settings'")
        require(name not in fixed, f"{where}: '{name}' has a value under 'settings' too; take one of them out")
        require(name in every, f"{where}: unknown key '{name}' for {', '.join(models)}{nearest(name, every)}")
    for parameter in space.parameters if space is not None else ():
        asked = parameter.when.get("model", models)
        for model in models:
            known = model not in asked or parameter.name in keys.known_keys(model) | {"model"}
            require(known, f"space: {parameter.name}: {model} has no such setting; add when: {{model: [...]}}")
        for key in parameter.when:
            known = key in every or key in ("model", "dataset") or key in space.names  # type: ignore[union-attr]
            require(known, f"space: {parameter.name}: when: unknown key '{key}'{nearest(key, every)}")


def _seeds(key: str, given: Any) -> tuple[int, ...]:
    values = given if isinstance(given, list) else [given]
    good = all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**32 for seed in values)
    require(good, f"{key}: {given!r} is not allowed; allowed: a list of whole numbers, each below 2**32")
    require(len(set(values)) == len(values), f"{key}: {given!r} names one twice")
    return tuple(values)


def _whole(key: str, value: Any, low: int) -> int:
    good = isinstance(value, int) and not isinstance(value, bool) and low <= value < 2**32
    require(good, f"{key}: {value!r} is not allowed; allowed: a whole number, at least {low}")
    return int(value)


def _early_stop(given: Any) -> EarlyStop | None:
    if given is None or given is False:
        return None
    good = isinstance(given, dict) and set(given) == {"grace", "reduction"}
    require(good, f"early_stop: {given!r} is not allowed; allowed: {{grace: epochs, reduction: 3}}, or ~")
    return EarlyStop(
        _whole("early_stop: grace", given["grace"], 1), _whole("early_stop: reduction", given["reduction"], 2)
    )


def _resources(given: Any) -> dict[str, Any]:
    given = {} if given is None else given
    good = isinstance(given, dict) and set(given) <= {"cpu", "gpu"}
    good = good and all(isinstance(n, (int, float)) and not isinstance(n, bool) and 0 <= n < 2**16
                        for n in given.values())  # fmt: skip
    require(good, f"resources: {given!r} is not allowed; allowed: {{cpu: 1, gpu: 0.5}}, of a Ray cluster")
    return {key: float(value) for key, value in given.items()}
