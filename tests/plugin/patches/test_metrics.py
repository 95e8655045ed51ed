"""RecBole's metrics, without each patch and with it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recbole.config import Config  # noqa: F401 - after which the patches are applied
from recbole.evaluator.collector import Collector, DataStruct
from recbole.evaluator.metrics import Recall
from recbole.trainer import Trainer

from recbole_mind.plugin.patches.metrics import COUNTS, ROUNDING


def test_counts():
    def collected():
        struct = DataStruct()
        struct.set("data.num_items", 50)
        struct.set("rec.items", torch.tensor([[1, 2]]))
        return Collector.get_data_struct(SimpleNamespace(data_struct=struct))

    with COUNTS.off(), pytest.raises(AttributeError, match="cpu"):
        collected()
    assert collected()["data.num_items"] == 50
    assert collected()["rec.items"].tolist() == [[1, 2]]


def recall(places):
    """The recall of three users with one hit."""
    struct = DataStruct()
    struct.set("rec.topk", torch.tensor([[1, 1], [0, 1], [0, 1]]))
    return Recall({"topk": [1], "metric_decimal_place": places}).calculate_metric(struct)["recall@1"]


def test_rounding(process_group):
    trainer = SimpleNamespace(device="cpu", config={"world_size": 1, "metric_decimal_place": None})
    with ROUNDING.off():
        assert recall(4) == 0.3333
        assert recall(None) == 0
        trainer.config["metric_decimal_place"] = 4
        assert Trainer._map_reduce(trainer, {"recall@1": np.float64(1 / 3)}, 3) == {"recall@1": 0.3333}
    trainer.config["metric_decimal_place"] = None
    assert recall(None) == 1 / 3
    assert recall(4) == 0.3333
    assert Trainer._map_reduce(trainer, {"recall@1": 1 / 3}, 3) == {"recall@1": 1 / 3}
