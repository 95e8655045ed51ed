"""Patches of RecBole's metrics and of what collects their input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from recbole_mind.evaluation.rounding import EXACT, rounded
from recbole_mind.plugin.patches.patch import Patch, Replace, Wrap


def collected_struct(original: Callable[..., Any], collector: Any) -> Any:
    """What was collected, numbers that are no tensors too; the original moves everything to the CPU."""
    data = collector.data_struct._data_dict
    numbers = {key: value for key, value in data.items() if not isinstance(value, torch.Tensor)}
    for key in numbers:
        del data[key]
    struct = original(collector)
    for part in (collector.data_struct, struct):
        part._data_dict.update(numbers)
    return struct


COUNTS = Patch("counts", since="RecBole 1.2.1",
    fault="ItemCoverage, AveragePopularity, GiniIndex and TailPercentage fail on numbers that are no tensors",
    cure="they work",
    changes=(Wrap("recbole.evaluator.collector:Collector.get_data_struct", collected_struct),))  # fmt: skip


def exact_metric(original: Callable[..., None], metric: Any, config: Any) -> None:
    """Initialise a metric that rounds only where ``metric_decimal_place`` says so."""
    original(metric, config)
    metric.decimal_place = EXACT if metric.decimal_place is None else metric.decimal_place


def exact_means(trainer: Any, result: Mapping[str, float], num_sample: int) -> dict[str, float]:
    """Means over processes, weighted by their samples, in float64; RecBole's are in float32."""
    rows = torch.tensor([*result.values(), 1.0], dtype=torch.float64, device=trainer.device) * num_sample
    gathered = [torch.zeros_like(rows) for _ in range(trainer.config["world_size"])]
    torch.distributed.all_gather(gathered, rows)
    *sums, samples = torch.stack(gathered).sum(0).tolist()
    places = trainer.config["metric_decimal_place"]
    return {key: rounded(total / samples, places) for key, total in zip(result, sums, strict=True)}


ROUNDING = Patch("rounding", since="RecBole 1.2.1",
    fault="metrics are rounded to four decimals before anything is made of them",
    cure="unrounded (metric_decimal_place: ~)",
    changes=(
    Replace("recbole.evaluator.base_metric:round", rounded),  # in place of Python's
    Replace("recbole.evaluator.metrics:round", rounded),
    Wrap("recbole.evaluator.base_metric:AbstractMetric.__init__", exact_metric),
    Replace("recbole.trainer.trainer:Trainer._map_reduce", exact_means),
))  # fmt: skip
