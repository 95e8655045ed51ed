"""A training window applied to a data set's interactions: the last days, or the items of a pool."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from recbole_mind.config.checks import by_window
from recbole_mind.config.window import DAY, LATEST, UNITS, moment
from recbole_mind.errors import require
from recbole_mind.util.files import read_lines


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
        newest / units < LATEST,
        f"window_unit: '{field}' of '{name}' goes up to {newest:.16g}, which is after the year 9999 in units of "
        f"'{config['window_unit'] or 's'}'; allowed: {', '.join(UNITS)}",
    )
    last = newest if end is None else moment(end, units)
    config["window_end"] = last
    begin = -math.inf if days is None else last - days * DAY * units
    kept = (times > begin) & (times <= last)
    what = f"up to {last:.16g}" if days is None else f"from {begin:.16g} to {last:.16g}"
    require(
        bool(kept.any()), f"{key}: no interaction of '{name}' is {what}; '{field}' is {first:.16g} to {newest:.16g}"
    )
    return kept


def read_pool(path: str | Path) -> list[str]:
    """The item tokens of a file in UTF-8, one a line; empty lines count for nothing.

    Raises:
        InputError: it cannot be read, or holds no token.
    """
    tokens = [line for line in read_lines(path, "item_pool:") if line]
    require(bool(tokens), f"item_pool: '{path}' holds no item")
    return tokens
