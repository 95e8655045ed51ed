"""Values that RecBole passes over with a warning at most, or takes others in place of: here they are refused."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from recbole_mind.errors import InputError, nearest, require

LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop")  # RecBole takes any other for adam, or fails in training
STATES = ("info", "debug", "warning", "error", "critical")
_INTERVALS = tuple(f"{kind}_num_interval" for kind in ("user_inter", "item_inter", "entity_kg", "relation_kg"))


def check(given: Mapping[str, Any]) -> None:
    """Raise :class:`InputError` for a value among the ``given`` settings that RecBole itself would pass over."""
    _check_names("learner", given.get("learner"), LEARNERS)
    _check_names("state", given.get("state"), STATES)
    _check_intervals(given)
    _check_sampling(given.get("train_neg_sample_args"))
    keep = given.get("rm_dup_inter")
    require(keep in (None, "first", "last"), f"rm_dup_inter: {keep!r} is not allowed; allowed: first, last, or ~")


def _check_sampling(given: Any) -> None:
    """Raise :class:`InputError` for a part of ``train_neg_sample_args`` that the other parts leave unread."""
    if not isinstance(given, Mapping):
        return
    for key, usual, read, words in (
        ("alpha", 1, str(given.get("distribution")).lower() == "popularity", "distribution popularity"),
        ("candidate_num", 0, bool(given.get("dynamic")), "dynamic True"),
    ):
        what = f"train_neg_sample_args: {key}: {given.get(key)!r} has no effect: it takes {words}; leave it out"
        require(read or given.get(key, usual) == usual, what)


def _check_names(key: str, value: Any, allowed: tuple[str, ...]) -> None:
    hint = f"{nearest(str(value), allowed)}; allowed: {', '.join(allowed)}"
    require(value is None or str(value).lower() in allowed, f"{key}: '{value}' is unknown{hint}")


def _check_intervals(given: Mapping[str, Any]) -> None:
    for key in _INTERVALS:
        if given.get(key) is not None:
            _check_interval(key, given[key])
    chosen = given.get("val_interval")
    for field, wanted in (chosen or {}).items():
        good = isinstance(wanted, (str, list, tuple, set))
        allowed = "an interval such as '[3,inf)', or a list of tokens"
        require(good, f"val_interval: {field}: {wanted!r} is not allowed; allowed: {allowed}")
    for field, interval in (chosen or {}).items():
        if isinstance(interval, str):
            _check_interval(f"val_interval: {field}", interval)


def _check_interval(key: str, value: Any) -> None:
    """Raise :class:`InputError` unless ``value`` is one interval or several with ``;`` between them."""
    number = r"\s*([-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|\.\d+|inf))\s*"
    for part in str(value).split(";"):
        found = re.fullmatch(rf"[\[(]{number},{number}[\])]", part.strip(), re.I)
        good = found is not None and float(found[1]) <= float(found[2])
        require(good, f"{key}: '{value}' is not allowed; allowed: an interval such as [5,inf), [2,10] or (0,3.5)")


class Strict(logging.Filter):
    """Make an error of RecBole's warning that it passes over a value, or takes another in its place."""

    words = (
        "will not be normalized",
        "will not be handled by preload matrix",
        "can not be set in `unused_col`",
        "No columns has been loaded",
        "is adjusted to",
        "It is changed to",
        "must shuffle the data",
    )

    def filter(self, record: logging.LogRecord) -> bool:
        text = re.sub(r"\x1b\[[0-9;]*m", "", " ".join(record.getMessage().split()))
        if record.levelno == logging.WARNING and any(words in text for words in self.words):
            raise InputError(f"settings: RecBole would pass over a value: {text}")
        return True
