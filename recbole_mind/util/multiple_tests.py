"""Several tests at once."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_mind.errors import require


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number by Holm's step-down method (1979), in the order given.

    The i-th smallest of m (i from 0) times m - i, at most 1, and never below the corrected one before it.

    Raises:
        InputError: a value is not within 0 and 1.
    """
    for p in p_values:
        require(0 <= p <= 1, f"p: {p} is not allowed; allowed: 0 to 1")
    corrected = [0.0] * len(p_values)
    lowest = 0.0
    for i, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        lowest = max(lowest, min(1.0, (len(p_values) - i) * p_values[place]))
        corrected[place] = lowest
    return corrected
