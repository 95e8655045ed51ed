"""Training windows: of a data set's interactions those of the last days, and those with items of a pool.

What a run makes of them is what it would make of a file that holds nothing else.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from recbole_mind.config.checks import by_window, choice, number
from recbole_mind.config.keys import WINDOW_KEYS
from recbole_mind.errors import InputError, require

KEYS = WINDOW_KEYS


DAY = 86400.0  # seconds


UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9, "d": 1 / DAY}  # in a second


LATEST = 253402300800.0  # seconds from 1970 to the year 10000, which no date can name


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
        moment(end, 1.0)
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


def moment(value: Any, units: float) -> float:
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
