"""Numbers and times of data files: what a cell says, to the bit, or which cell says none."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

EXACT = 2.0**53  # whole numbers up to it are floats
_NUMBER = re.compile(r"\s*[-+]?(\d|\.\d|inf|nan)", re.IGNORECASE)
_DAY, _CLOCK = r"\d{4}-\d\d-\d\d", r"[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[-+]\d\d(:?\d\d)?)?"
_ISO = re.compile(f"{_DAY}({_CLOCK})?", re.ASCII)
_ALLOWED = "allowed: a number in any unit, or ISO 8601 such as 2024-05-31T12:00:00"


class WrongCellError(ValueError):
    """A cell that is no number or no time.

    Attributes:
        place: of the cell among those that were read.
        text: what it says.
        reason: ``number``, ``time``, ``missing``, ``mixed`` or ``fine``.
    """

    def __init__(self, place: int, text: str, reason: str) -> None:
        super().__init__(reason)
        self.place, self.text, self.reason = place, text, reason

    def said(self, field: str) -> str:
        """What is wrong, in words; ``field`` is the column's."""
        shown = repr(self.text if len(self.text) <= 40 else f"{self.text[:40]}…")
        return {
            "number": f"{shown} is no number, and '{field}' holds numbers",
            "time": f"{shown} is no time, and '{field}' orders the interactions; {_ALLOWED}",
            "missing": f"no time in '{field}', which orders the interactions; {_ALLOWED}",
            "mixed": f"{shown} stands in '{field}' among times of the other kind; {_ALLOWED}, but one kind in a file",
            "fine": f"{shown} in '{field}' is too near another time to be told apart in float64; use a larger unit",
        }[self.reason]


def numbers(texts: Sequence[str], missing: Collection[str]) -> Floats:
    """The numbers ``[n]`` that cells hold, to the nearest float64; NaN for those in ``missing``.

    Raises:
        WrongCellError: one holds none.
    """
    try:
        return np.array([np.nan if text in missing else float(text) for text in texts], np.float64)
    except ValueError:
        for place, text in enumerate(texts):
            try:
                float("nan" if text in missing else text)
            except ValueError:
                raise WrongCellError(place, text, "number") from None
        raise


class Reader:
    """Read a column of times, some cells at a time: numbers of any unit, or ISO 8601 as seconds since 1970.

    A time without a zone is UTC's. All cells of a file are of one kind.
    """

    def __init__(self) -> None:
        self.iso: bool | None = None  # what the cells so far are

    def read(self, texts: Sequence[str], needed: npt.NDArray[np.bool_]) -> Floats:
        """The times ``[n]``; NaN where a cell is not ``needed`` and says none.

        Raises:
            WrongCellError: one that is needed is no finite number and no time, or is of another kind than the others.
        """
        cells = [text.strip() for text in texts]
        if self.iso is None:
            self.iso = next((not _NUMBER.match(c) or bool(_ISO.fullmatch(c)) for c in compress(cells, needed)), None)
        result = np.full(len(cells), np.nan)
        places = np.flatnonzero(needed)
        wanted = [cells[place] for place in places]
        if self.iso:
            result[places] = self._dates(wanted, places, texts)
        else:
            result[places] = self._numbers(wanted, places, texts)
        return result

    def _numbers(self, wanted: list[str], places: npt.NDArray[np.intp], texts: Sequence[str]) -> Floats:
        try:
            found = numbers(wanted, ())
        except WrongCellError as error:
            self._refuse(error.place, wanted, places, texts)
        odd = np.flatnonzero(~np.isfinite(found))
        if len(odd):
            self._refuse(int(odd[0]), wanted, places, texts)
        large = np.flatnonzero(np.abs(found) >= EXACT)
        if len(large):
            _check_told_apart(wanted, found, places, large, [text.lstrip("+0") for text in wanted])
        return found

    def _dates(self, wanted: list[str], places: npt.NDArray[np.intp], texts: Sequence[str]) -> Floats:
        for place, text in enumerate(wanted):
            if not _ISO.fullmatch(text):
                self._refuse(place, wanted, places, texts)
        try:
            nanoseconds = _nanoseconds(wanted)
        except (ValueError, OverflowError):  # such as February 30th, or the year 3000
            for place, text in enumerate(wanted):
                try:
                    _nanoseconds([text])
                except (ValueError, OverflowError):
                    self._refuse(place, wanted, places, texts)
            raise
        found: Floats = nanoseconds / 1e9
        fine = np.flatnonzero(nanoseconds % 1000)  # microseconds can be told apart
        _check_told_apart(wanted, found, places, fine, nanoseconds)
        return found

    def _refuse(self, place: int, wanted: list[str], places: npt.NDArray[np.intp], texts: Sequence[str]) -> None:
        text = wanted[place]
        try:
            finite = math.isfinite(float(text))
        except ValueError:
            finite = False
        empty = not text or text.lower() in ("nan", "na", "n/a", "null", "none", "<na>")
        mixed = finite or (not self.iso and bool(_ISO.fullmatch(text)))
        reason = "missing" if empty else "mixed" if mixed else "time"
        raise WrongCellError(int(places[place]), texts[places[place]], reason)


def _nanoseconds(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """The nanoseconds since 1970 of times in ISO 8601."""
    moments = pd.to_datetime(pd.Series(texts, dtype=object), format="ISO8601", utc=True)
    return np.asarray(moments.dt.as_unit("ns").astype("int64"), np.int64)


def _check_told_apart(
    texts: Sequence[str], found: Floats, places: npt.NDArray[np.intp], among: npt.NDArray[np.intp], exact: Any
) -> None:
    """Refuse two times whose ``exact`` values differ and whose float64 does not: their order would be lost."""
    first: dict[float, Any] = {}
    for place in among.tolist():
        if first.setdefault(float(found[place]), exact[place]) != exact[place]:
            raise WrongCellError(int(places[place]), texts[place], "fine")
