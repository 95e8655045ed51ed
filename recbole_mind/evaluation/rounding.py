"""Figures as they are: RecBole rounds each to four decimals where it is made, before any mean or comparison.

``metric_decimal_place: ~``, the default of our commands and models, leaves figures unrounded; a number is honoured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import torch

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


def mend(wrap: Callable[[Any, str], Callable[[Callable[..., Any]], None]]) -> None:
    """Have RecBole's metrics and its means over processes round only where ``metric_decimal_place`` says so."""
    base, metrics = import_module("recbole.evaluator.base_metric"), import_module("recbole.evaluator.metrics")
    base.round = metrics.round = rounded  # type: ignore[attr-defined]  # in place of Python's

    @wrap(base.AbstractMetric, "__init__")
    def metric(original: Callable[..., Any], self: Any, config: Any) -> None:
        original(self, config)
        self.decimal_place = EXACT if self.decimal_place is None else self.decimal_place

    def map_reduce(self: Any, result: Mapping[str, float], num_sample: int) -> dict[str, float]:
        """Means over processes, weighted by their samples; RecBole's are in float32."""
        rows = torch.tensor([*result.values(), 1.0], dtype=torch.float64, device=self.device) * num_sample
        gathered = [torch.zeros_like(rows) for _ in range(self.config["world_size"])]
        torch.distributed.all_gather(gathered, rows)
        *sums, samples = torch.stack(gathered).sum(0).tolist()
        places = self.config["metric_decimal_place"]
        return {key: rounded(total / samples, places) for key, total in zip(result, sums, strict=True)}

    import_module("recbole.trainer.trainer").Trainer._map_reduce = map_reduce
