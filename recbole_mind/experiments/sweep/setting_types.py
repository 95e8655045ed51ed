"""Whether what a sweep draws is of its setting's type, as RecBole's files of defaults and ours state it.

The ranges of our models' settings, and what of them goes together, are seen when a trial's settings are built.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from recbole_mind.config import keys, loading
from recbole_mind.config.model_names import MODELS
from recbole_mind.errors import require
from recbole_mind.experiments.sweep.space import CHOICE, Parameter

_LINE = re.compile(r"^(\w+): *([^#\n]*?) *# *\(([a-z ]+)\)", re.MULTILINE)  # key: default  # (type) meaning
WHOLE, NUMBER, TEXT, TRUTH, LIST = "a whole number", "a number", "text", "True or False", "a list"
# what RecBole's models take, which check no range before they are built: part of the key, lowest, highest
_RANGES = (("dropout", 0, 1), ("drop_ratio", 0, 1), ("size", 1, None), ("weight_decay", 0, None))
_TYPES: dict[str, tuple[str, Any]] = {
    "int": (WHOLE, int),
    "float": (NUMBER, (int, float)),
    "str": (TEXT, str),
    "bool": (TRUTH, bool),
}


@cache
def types(model: str) -> dict[str, str]:
    """What each setting of ``model`` is, of those whose default agrees with what its file says of it."""
    recbole = keys.recbole_folder() / "properties"
    paths = (recbole / "overall.yaml", recbole / f"model/{model}.yaml", *loading.model_files(model))
    found: dict[str, str] = {}
    for path in paths:
        for key, default, kind in _LINE.findall(path.read_text("utf-8") if path.is_file() else ""):
            word, python = (LIST, list) if kind.startswith("list of") else _TYPES.get(kind, ("", ()))
            value = math.inf if default == ".inf" else loading.parse_value(default)  # as YAML has it
            agrees = isinstance(value, python) and isinstance(value, bool) == (word == TRUTH)
            found.pop(key, None)
            # some weights are said to be whole because their default is
            if agrees and not (word == WHOLE and "weight" in key):
                found[key] = word
    return found


def check_drawn(parameters: Iterable[Parameter], models: Iterable[str]) -> None:
    """Raise :class:`InputError` for a distribution of another type than its setting, before any trial."""
    for parameter in parameters:
        for model in parameter.when.get("model", models):
            word = types(model).get(parameter.name)
            if word is None:
                continue
            where = f"space: {parameter.name}: {parameter.kind}"
            if parameter.kind == CHOICE:
                _check_values(where, parameter.values, word, model)
                continue
            numbers = ", ".join(f"{value:g}" for value in parameter.values)
            _check_range(f"{where}: [{numbers}]", parameter.name, parameter.ends(), model)
            said = f"{where}: [{numbers}] draws numbers, and '{parameter.name}' of {model} is {word}"
            require(word in (WHOLE, NUMBER), f"{said}; allowed: {{choice: [...]}}")
            said = f"{where}: [{numbers}] draws fractions, and '{parameter.name}' of {model} is {word}"
            steps = "{int: [low, high]}, {choice: [...]}, or bounds and a step that are whole"
            require(word != WHOLE or parameter.whole, f"{said}; allowed: {steps}")


def check_curves(curves: dict[str, tuple[Any, ...]], model: str) -> None:
    """Raise :class:`InputError` for a value of another type than its setting, before any trial."""
    for name, values in curves.items():
        word = types(model).get(name)
        if word is not None:
            _check_values(f"curves: {name}", values, word, model)


def _check_values(where: str, values: Iterable[Any], word: str, model: str) -> None:
    if model in MODELS:
        return  # their settings are built with each value
    name = where.split(": ")[1]
    for given in values:
        value = loading.parse_value(given) if isinstance(given, str) and word != TEXT else given
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        good = {
            WHOLE: number and isinstance(value, int),
            NUMBER: number or str(value).strip().lower() in ("inf", ".inf"),
            TEXT: isinstance(value, str),
            TRUTH: isinstance(value, bool),
            LIST: isinstance(value, (list, tuple)),
        }[word]
        require(value is None or good, f"{where}: {given!r} is not allowed for {model}; allowed: {word}")
        if number and word in (WHOLE, NUMBER):
            _check_range(f"{where}: {given!r}", name, (value,), model)


def _check_range(where: str, name: str, values: Iterable[Any], model: str) -> None:
    for part, low, high in _RANGES:
        if part in name:
            good = all(low <= value and (high is None or value <= high) for value in values)
            allowed = f"at least {low}" if high is None else f"{low} to {high}"
            require(good, f"{where} is not allowed for {model}; allowed: {allowed}")
