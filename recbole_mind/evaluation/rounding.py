"""Figures as they are: RecBole rounds each to four decimals where it is made, before any mean or comparison.

``metric_decimal_place: ~``, the default of our commands and models, leaves figures unrounded; a number is honoured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_mind.errors import require

EXACT = 16  # decimals that stand for all: a metric of the user's own that rounds by them loses nothing


def check(settings: Mapping[str, Any]) -> None:
    """Raise :class:`InputError` unless ``metric_decimal_place`` is a number of decimals or ``None``."""
    places = settings.get("metric_decimal_place")
    good = places is None or (isinstance(places, int) and not isinstance(places, bool) and 0 <= places <= EXACT)
    allowed = f"allowed: a whole number from 0 to {EXACT}, or ~ for figures that are not rounded"
    require(good, f"metric_decimal_place: {places!r} is not allowed; {allowed}")


def rounded(value: float, places: int | None = None) -> float:
    """``value`` to so many decimals; as it is for ``None`` and from :data:`EXACT` on."""
    return float(value) if places is None or places >= EXACT else round(value, places)
