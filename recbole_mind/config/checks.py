"""What the settings that every model takes may be, and the checks that other files of settings share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from recbole_mind.errors import InputError, nearest, require


def check_types(given: Mapping[str, Any], default: Mapping[str, Any]) -> None:
    """Raise :class:`InputError` where a number or a truth value is the default and something else is given."""
    for key, value in given.items():
        usual = default.get(key)
        if isinstance(usual, bool):
            require(isinstance(value, bool), f"{key}: {value!r} is not allowed; allowed: True, False")
        elif isinstance(usual, (int, float)):
            good = isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
            require(good, f"{key}: {value!r} is not allowed; allowed: a number such as {usual}")
    for key, low in (("epochs", 0), ("train_batch_size", 1), ("eval_batch_size", 1), ("stopping_step", 0), ("seed", 0)):
        value = given.get(key, low)
        good = isinstance(value, int) and low <= value < 2**32
        require(good, f"{key}: {value!r} is not allowed; allowed: a whole number, at least {low}, below 2**32")
    for key in ("data_path", "checkpoint_dir"):
        require(isinstance(given.get(key, ""), str), f"{key}: {given.get(key)!r} is not allowed; allowed: a path")
    for key in ("dataset_save_path", "dataloaders_save_path"):
        value = given.get(key)
        require(value is None or isinstance(value, str), f"{key}: {value!r} is not allowed; allowed: a path, None")
    rate = given.get("learning_rate", 1)
    require(isinstance(rate, str) or rate > 0, f"learning_rate: {rate!r} is not allowed; allowed: a number above 0")


def number(settings: dict[str, Any], key: str, allowed: str, *, low: float, strict: bool, whole: bool = False) -> None:
    """Check and convert one number in place; ``low`` itself is allowed unless ``strict``."""
    value = settings[key]
    if isinstance(value, str):  # "inf", ".inf" and what a sweep hands over
        try:
            value = float(value.strip().lower().replace(".inf", "inf"))
        except ValueError:
            raise InputError(f"{key}: '{settings[key]}' is not a number; allowed: {allowed}") from None
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
    good = good and (value > low if strict else value >= low)
    good = good and (key == "p" or math.isfinite(value)) and (not whole or float(value).is_integer())
    require(good, f"{key}: {settings[key]!r} is not allowed; allowed: {allowed}")
    settings[key] = int(value) if whole else float(value)


def choice(settings: Mapping[str, Any], key: str, allowed: Iterable[str]) -> None:
    """Check that a value is one of those allowed."""
    allowed = list(allowed)
    value = settings[key]
    hint = f"{nearest(str(value), allowed)}; allowed: {', '.join(allowed)}"
    require(value in allowed, f"{key}: '{value}' is unknown{hint}")


def names(settings: dict[str, Any], key: str) -> None:
    """Check a list of field names and make it one, in place."""
    value = settings[key]
    value = [] if value is None else [value] if isinstance(value, str) else value
    good = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
    require(good, f"{key}: {settings[key]!r} is not allowed; allowed: a list of field names")
    require(len(set(value)) == len(value), f"{key}: {settings[key]!r} names a field twice")
    settings[key] = list(value)


def check_common(settings: dict[str, Any]) -> None:
    """Check, in place, the keys that every model takes through our commands."""
    for key in ("mask_history", "lazy_sequences"):
        if settings.get(key) is not None:
            require(isinstance(settings[key], bool), f"{key}: {settings[key]!r} is not allowed; allowed: True, False")
    if settings.get("checkpoint_minutes") is not None:
        number(settings, "checkpoint_minutes", "a number of minutes, at least 0, or ~", low=0, strict=False)
    pack = settings.get("packed")
    require(
        pack is None or pack is False or (isinstance(pack, str) and bool(pack)),
        f"packed: {pack!r} is not allowed; allowed: a folder, False, or None for the folder beside the file",
    )
    if settings.get("timestamp_order") is not None:
        choice(settings, "timestamp_order", ("data", "recbole"))
    search, parameters = settings.get("eval_search"), settings.get("search_parameters")
    search = "auto" if search is None else search
    allowed = "auto, dense, exact, or a FAISS factory string such as IVF512,Flat"
    require(isinstance(search, str) and bool(search), f"eval_search: {search!r} is not allowed; allowed: {allowed}")
    require(
        parameters is None or search not in ("auto", "dense"),
        f"search_parameters: {parameters!r} is for a FAISS index; eval_search '{search}' has none",
    )


def evaluated(metrics: Iterable[str], topk: Iterable[int]) -> list[str]:
    """Names of the figures that an evaluation gives."""
    whole = ("auc", "gauc", "logloss", "mae", "rmse")
    names = [n if n in whole else f"{n}@{k}" for n in (name.lower() for name in metrics) for k in topk]
    return list(dict.fromkeys(names))


def check_valid_metric(settings: Mapping[str, Any]) -> None:
    """Raise :class:`InputError` unless ``valid_metric`` is one of the figures that an evaluation gives."""
    given = evaluated(settings["metrics"], settings["topk"])
    metric = str(settings["valid_metric"]).lower()
    require(metric in given, f"valid_metric: '{metric}' is not evaluated; allowed: {', '.join(given)}")


def by_window(settings: Any) -> bool:
    """Whether the settings ask for a window of time."""
    return any(key in settings and settings[key] is not None for key in ("window_days", "window_end"))


def check_protocol(settings: dict[str, Any], given: Iterable[str], *, sequential: bool) -> None:
    """Raise :class:`InputError` for settings that contradict each other over history and time."""
    mode = settings["eval_args"].get("mode", "full") if isinstance(settings["eval_args"], dict) else "full"
    modes = set(mode.values()) if isinstance(mode, dict) else {mode}
    if settings.get("mask_history"):
        require(modes == {"full"}, f"mask_history: True ranks the whole catalogue; eval_args mode {mode!r} does not")
        repeatable = not sequential and settings.get("repeatable")
        require(not repeatable, "mask_history: True contradicts repeatable: True")
    if settings.get("TIME_FIELD") in (settings.get("numerical_features") or []):
        asked = "timestamp_order" in given and settings["timestamp_order"] == "data"
        require(not asked, "timestamp_order: 'data' needs TIME_FIELD to stay out of numerical_features")
        settings["timestamp_order"] = "recbole"
