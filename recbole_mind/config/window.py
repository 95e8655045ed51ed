"""Training windows: of a data set's interactions those of the last days, and those with items of a pool.

What a run makes of them is what it would make of a file that holds nothing else.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PlainValidator

from recbole_mind.config.checks import by_window
from recbole_mind.config.keys import WINDOW_KEYS
from recbole_mind.config.specification import Allowed, Number, OneOf, Specification, read
from recbole_mind.errors import InputError, require

KEYS = WINDOW_KEYS
DAY = 86400.0  # seconds
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9, "d": 1 / DAY}  # in a second
LATEST = 253402300800.0  # seconds from 1970 to the year 10000, which no date can name
_DATE, _TIME = r"\d{4}-\d\d-\d\d", r"[T ]\d\d:\d\d(:\d\d(\.\d{3}|\.\d{6})?)?(Z|[+-]\d\d:\d\d)?"


def _end(value: Any) -> Any:
    moment(value, 1.0)
    return value if isinstance(value, (int, float)) else str(value)


class Window(Specification):
    """The settings of a training window, which stand among a model's; its YAML describes them."""

    window_days: Annotated[float, Number(0, above=True, text=True, noun="a number of days")] | None = None
    window_end: (
        Annotated[
            Any,
            PlainValidator(_end, json_schema_input_type=float | Annotated[str, Field(pattern=f"^{_DATE}({_TIME})?$")]),
        ]
        | None
    ) = None
    window_unit: Annotated[str, OneOf(tuple(UNITS))] | None = None
    item_pool: Annotated[str, Field(min_length=1), Allowed("a file of item tokens, one a line, or ~")] | None = None


def check(in_force: dict[str, Any]) -> None:
    """Check and convert, in place, the settings of a window.

    Raises:
        InputError: one is out of range, or the data set is split in files.
    """
    in_force |= read(Window, {key: in_force[key] for key in KEYS if key in in_force}).model_dump(exclude_unset=True)
    split, key = in_force.get("benchmark_filename"), "window_days" if by_window(in_force) else "item_pool"
    whole = split is None or (in_force.get("item_pool") is None and not by_window(in_force))
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
