"""Where the values of a setting lie on an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from matplotlib.ticker import MaxNLocator

FEW = 7  # numbers that all get a tick


@dataclass(frozen=True)
class Scale:
    """Where the values of a setting lie on an axis from 0 to 1: numbers evenly or by logarithm, as they lie themselves;
    behind them, apart, infinity, words and the lack of a value. With fewer than two numbers everything is a word.

    Attributes:
        finite: the distinct finite numbers.
        apart: the values behind them, in order; None is the lack of one.
        log: whether numbers lie by logarithm.
    """

    finite: tuple[float, ...]
    apart: tuple[Value | None, ...]
    log: bool

    @classmethod
    def of(cls, values: Iterable[Value | None]) -> Scale:
        """The scale on which ``values`` can be placed."""
        distinct = set(values)
        known = sorted((value for value in distinct if value is not None), key=order)
        finite = [value for value in known if not isinstance(value, str) and math.isfinite(value)]
        finite = finite if len(finite) > 1 else []
        apart = [value for value in known if value not in finite]
        return cls(tuple(finite), (*apart, *([None] if None in distinct else [])), _logarithmic(finite))

    @property
    def room(self) -> float:
        """The part of the axis that numbers take."""
        return 1 - min(0.15 * len(self.apart), 0.5) if self.finite else 0.0

    def place(self, value: Value | None) -> float:
        """A value's place, 0 to 1."""
        if value in self.apart:
            place, last = self.apart.index(value), len(self.apart) - 1
            if self.finite:
                return 1 - (1 - self.room) * (last - place) / (last + 1)
            return place / last if last else 0.5
        number = cast(float, value)
        low, high, x = (math.log(v) if self.log else v for v in (self.finite[0], self.finite[-1], number))
        return self.room * (x - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """Places and labels: every number if there are few, else round ones; all that lies apart."""
        numbers = self.finite if len(self.finite) <= FEW else _round_numbers(self.finite[0], self.finite[-1], self.log)
        return [(self.place(value), text(value)) for value in numbers] + [
            (self.place(value), "unused" if value is None else text(value)) for value in self.apart
        ]


def _logarithmic(numbers: Sequence[float]) -> bool:
    """Whether positive numbers over more than a decade have their median nearer to the geometric middle."""
    if not numbers or numbers[0] <= 0 or numbers[-1] < 10 * numbers[0]:
        return False
    low, middle, high = numbers[0], float(np.median(numbers)), numbers[-1]
    by_log = math.log(middle / low) / math.log(high / low)
    return abs(by_log - 0.5) < abs((middle - low) / (high - low) - 0.5)


def _round_numbers(low: float, high: float, log: bool) -> list[float]:
    """A few round numbers from ``low`` to ``high``."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) if log else range(0)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        found = [step * 10.0**decade for decade in decades for step in steps]
        found = [value for value in found if low <= value <= high]
        if len(found) >= 3:
            return found[:: 1 + len(found) // FEW]
    return [float(value) for value in MaxNLocator(4).tick_values(low, high) if low <= value <= high]


Value = float | str  # of a setting: a number, infinite ones too, or a word


def text(value: Value) -> str:
    """A setting's value in few letters."""
    if isinstance(value, str):
        return " ".join(value.split())
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def order(value: Value) -> tuple[int, float, str]:
    """Numbers before words, infinity behind the other numbers."""
    return (1, 0.0, value) if isinstance(value, str) else (0, value, "")
