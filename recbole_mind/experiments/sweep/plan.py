"""What a sweep will do: its settings checked, its space bound to them, its trials counted."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recbole_mind.config.without_effect import unread
from recbole_mind.data import columns, reading
from recbole_mind.errors import InputError, require
from recbole_mind.experiments.sweep.space import Space
from recbole_mind.experiments.sweep.spec import SweepSpec
from recbole_mind.experiments.trial import fingerprint
from recbole_mind.training import build
from recbole_mind.util.json_text import plain, same

_COUNTED = 100_000  # combinations that are counted at most


@dataclass(frozen=True)
class Plan:
    """A sweep before its first trial.

    Attributes:
        spec: the sweep's file, its space bound to the settings.
        config: RecBole's ``Config`` of a trial that draws nothing.
        metric, bigger: what trials are judged by on the validation set, and whether more of it is better.
        points: of curves, the drawn settings and the seed of each trial; empty for a search.
        base: the settings of curves at their default.
        total: how many trials there will be.
        mark: what must stay the same for a sweep to go on.
    """

    spec: SweepSpec
    config: Any
    metric: str
    bigger: bool
    points: list[tuple[dict[str, Any], int]]
    base: dict[str, Any]
    total: int
    mark: dict[str, Any]

    @classmethod
    def of(cls, spec: SweepSpec) -> Plan:
        """The plan of a sweep's file.

        Raises:
            InputError: settings or values that the model refuses, a data set that is not there.
        """
        config = build.build_config(spec.models[0], spec.dataset, overrides=spec.overrides({}))
        _check_data(config)
        require(config["eval_step"] == 1, "eval_step: a sweep looks at every epoch; allowed: 1")
        early = spec.early_stop
        longest = f"early_stop: grace: {early and early.grace} is more than a trial's {config['epochs']} epochs"
        require(early is None or early.grace <= config["epochs"], longest)
        spec = spec.model_copy(update={"space": _bind(spec, config)})
        spec.check_read()
        points = _curve_points(spec, config)
        total = _total(spec, points)
        _check_values(spec)
        return cls(
            spec=spec,
            config=config,
            metric=str(config["valid_metric"]).lower(),
            bigger=bool(config["valid_metric_bigger"]),
            points=points,
            base={name: config[name] for name in spec.curves},
            total=total,
            mark=fingerprint(config, spec.threads),
        )


def _check_data(config: Any) -> None:
    where, name = Path(config["data_path"]), config["dataset"]
    require(
        any(where.glob(f"{name}.*")),
        f"dataset: there is no file '{where / name}.inter'; data_path is the folder that holds it",
    )
    if config["eval_args"]["order"] == "TO" and (where / f"{name}.inter").is_file():
        columns.check_time(config)
    reading.check_files(config)


def _check_values(spec: SweepSpec) -> None:
    """Build the settings of a trial for each end of each parameter's values."""

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


def _total(spec: SweepSpec, points: list[tuple[dict[str, Any], int]]) -> int:
    """How many trials there will be."""
    if spec.space is None:
        return len(points)
    most = spec.max_evals or _COUNTED
    if any(parameter.size is None for parameter in spec.space.parameters):
        return most
    count = sum(1 for _ in itertools.islice(spec.space.combinations(), most + 1))
    require(spec.max_evals is not None or count <= most, f"max_evals: above {most:,} combinations; name a number")
    return min(count, most)


def _bind(spec: SweepSpec, config: Any) -> Space | None:
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


def _curve_points(spec: SweepSpec, config: Any) -> list[tuple[dict[str, Any], int]]:
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
