"""The times of a request's behaviours: checked, and turned into the gaps that an encoder reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recbole_mind.errors import InputError, require
from recbole_mind.retrieval.types import Bools, Floats

Doubles = npt.NDArray[np.float64]


def checked(times: Any, length: int) -> Doubles | None:
    """The times ``[length]`` of a history, in float64; ``None`` where none are given.

    Raises:
        InputError: they are no finite numbers, not one for each item, or one lies before the one that it follows.
    """
    if times is None:
        return None
    allowed = "allowed: a list of finite numbers, one for each item of the history"
    good = isinstance(times, (Sequence, np.ndarray)) and not isinstance(times, (str, bytes))
    require(good, f"times: {type(times).__name__} is not allowed; {allowed}")
    require(len(times) == length, f"times: {len(times)} for a history of {length}; {allowed}")
    wrong = next((time for time in times if isinstance(time, bool) or not isinstance(time, (int, float, np.number))), 0)
    require(wrong == 0, f"times: {wrong!r} is not allowed; {allowed}")
    try:
        found = np.asarray(times, np.float64)
    except OverflowError:
        raise InputError(f"times: a number is too large; {allowed}") from None
    infinite = found[~np.isfinite(found)]
    require(not len(infinite), f"times: {infinite[0] if len(infinite) else 0} is not allowed; {allowed}")
    back = np.flatnonzero(np.diff(found) < 0)
    place = int(back[0]) + 2 if len(back) else 0
    require(not place, f"times: place {place} lies before place {place - 1}; a history stands oldest first")
    return found


def gaps(times: Doubles | None, known: Bools, longest: int, span: float | None) -> Floats | None:
    """The gaps ``[1, L]`` before the newest of the behaviours that are read, in spans of the training data's time.

    Args:
        times: ``[n]`` of all behaviours; ``None`` where nobody knows them: -1 each.
        known: ``[n]`` booleans: which items are in the catalogue.
        longest: how many of them are read, the newest ones.
        span: of the training data; ``None`` for a model that reads no times, and gets no gaps.
    """
    if span is None:
        return None
    if times is None:
        return np.full((1, min(int(known.sum()), longest)), -1, np.float32)
    read = times[known][-longest:]
    with np.errstate(over="ignore"):
        shares: Doubles = (read[-1:] - read) / span
    return np.minimum(shares, 1.0).astype(np.float32)[None]  # a longer gap than any in training counts as the longest
