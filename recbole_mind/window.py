"""Training windows: of a data set's interactions those of the last days, and those with items of a pool.

What a run makes of them is what it would make of a file that holds nothing else.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recbole_mind.errors import InputError, require
from recbole_mind.files import read_lines
from recbole_mind.settings import WINDOW_KEYS, by_window, choice, number

KEYS = WINDOW_KEYS
DAY = 86400.0  # seconds
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9, "d": 1 / DAY}  # in a second
_LATEST = 253402300800.0  # seconds from 1970 to the year 10000, which no date can name
_DATE, _TIME = r"\d{4}-\d\d-\d\d", r"[T ]\d\d:\d\d(:\d\d(\.\d{3}|\.\d{6})?)?(Z|[+-]\d\d:\d\d)?"


def check(in_force: dict[str, Any]) -> None:
    """Check and convert, in place, the settings of a window.

    Raises:
        InputError: one is out of range, or the data set is split in files.
    """
    if in_force.get("window_days") is not None:
        number(in_force, "window_days", "a number of days above 0, or ~", low=0, strict=True)
    if in_force.get("window_unit") is not None:
        choice(in_force, "window_unit", UNITS)
    end = in_force.get("window_end")
    if end is not None:
        _moment(end, 1.0)
        in_force["window_end"] = end if isinstance(end, (int, float)) else str(end)
    pool = in_force.get("item_pool")
    good = pool is None or (isinstance(pool, str) and bool(pool))
    require(good, f"item_pool: {pool!r} is not allowed; allowed: a file of item tokens, one a line, or ~")
    split, key = in_force.get("benchmark_filename"), "window_days" if by_window(in_force) else "item_pool"
    whole = split is None or (pool is None and not by_window(in_force))
    require(whole, f"{key} chooses among interactions, and benchmark_filename {split} is split; leave one out")


def asked(in_force: Any) -> dict[str, Any]:
    """The settings of a window that are in force, empty if all interactions are."""
    given = {key: in_force[key] for key in KEYS if in_force[key] is not None and key != "window_unit"}
    return {
        key: int(value) if isinstance(value, float) and value.is_integer() else value for key, value in given.items()
    }


def check_same(in_force: Any, trained: Mapping[str, Any], what: str) -> None:
    """Raise :class:`InputError` unless ``what`` was trained in the window that the settings ask for."""
    for key in KEYS:
        found = trained.get(key)
        require(
            found == in_force[key], f"{what} was trained with {key} {found}, not {in_force[key]}; set {key}={found}"
        )


def apply_window(dataset: Any) -> None:
    """Leave in a data set of RecBole, whose files have been read, the interactions of the window.

    The end of the window is written into the settings, so that a checkpoint's data stays the same when the file grows.

    Raises:
        InputError: nothing is left, or there is no time.
    """
    if by_window(dataset.config):
        _keep(dataset, _within(dataset.config, dataset.dataset_name, dataset.inter_feat))


def apply_pool(dataset: Any) -> None:
    """Leave in a data set of RecBole, whose files have been read, the items of ``item_pool`` and what happened to them.

    Raises:
        InputError: nothing is left, or the pool cannot be read.
    """
    named, items = dataset.config["item_pool"], dataset.iid_field
    if named is None:
        return
    pool = read_pool(named)
    kept = dataset.inter_feat[items].isin(pool).to_numpy()
    require(bool(kept.any()), f"item_pool: '{named}' leaves no interaction of '{dataset.dataset_name}'")
    _keep(dataset, kept)
    if dataset.item_feat is not None:
        dataset.item_feat = dataset.item_feat[dataset.item_feat[items].isin(pool)].reset_index(drop=True)


def _keep(dataset: Any, kept: Any) -> None:
    if not kept.all():
        dataset.inter_feat = dataset.inter_feat[kept].reset_index(drop=True)  # RecBole takes labels for places


def _within(config: Any, name: str, frame: Any) -> Any:
    """Which interactions are of the time that the settings ask for: after its start, up to its end."""
    field, days, end = config["TIME_FIELD"], config["window_days"], config["window_end"]
    key = "window_days" if days is not None else "window_end"
    numbers = field in frame and frame[field].dtype.kind == "f"
    require(numbers, f"{key}: '{name}' has no float field '{field}'; see TIME_FIELD and load_col")
    times = frame[field].to_numpy()
    require(bool(np.isfinite(times).any()), f"{key}: '{name}' has no time in field '{field}'")
    units = UNITS[config["window_unit"] or "s"]
    first, newest = float(np.nanmin(times)), float(np.nanmax(times))
    require(
        newest / units < _LATEST,
        f"window_unit: '{field}' of '{name}' goes up to {newest:.16g}, which is after the year 9999 in units of "
        f"'{config['window_unit'] or 's'}'; allowed: {', '.join(UNITS)}",
    )
    last = newest if end is None else _moment(end, units)
    config["window_end"] = last
    begin = -math.inf if days is None else last - days * DAY * units
    kept = (times > begin) & (times <= last)
    what = f"up to {last:.16g}" if days is None else f"from {begin:.16g} to {last:.16g}"
    require(
        bool(kept.any()), f"{key}: no interaction of '{name}' is {what}; '{field}' is {first:.16g} to {newest:.16g}"
    )
    return kept


def _moment(value: Any, units: float) -> float:
    """The last moment of a window in the field's units, ``units`` of them a second; a day lasts until its end."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    text, wrong = str(value), f"window_end: {str(value)!r} is not allowed; allowed: a date such as 2024-05-31, a time "
    wrong += "such as 2024-05-31T12:00 (UTC), a number in the units of TIME_FIELD, or ~"
    require(isinstance(value, (str, dt.date)) and bool(re.fullmatch(f"{_DATE}({_TIME})?", text)), wrong)
    try:
        moment = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.timezone.utc)
        if len(text) > len("2024-05-31"):
            return moment.timestamp() * units
        return float(np.nextafter((moment.timestamp() + DAY) * units, -math.inf))
    except (ValueError, OverflowError):
        raise InputError(wrong) from None


def read_pool(path: str | Path) -> list[str]:
    """The item tokens of a file in UTF-8, one a line; empty lines count for nothing.

    Raises:
        InputError: it cannot be read, or holds no token.
    """
    tokens = [line for line in read_lines(path, "item_pool:") if line]
    require(bool(tokens), f"item_pool: '{path}' holds no item")
    return tokens
