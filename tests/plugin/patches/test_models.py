"""RecBole's models, without each patch and with it."""

from __future__ import annotations

import pytest
import torch

from benchmarks.recbole_models import settings_of, write_data
from recbole_mind.plugin.patches.models import KSR_RELATIONS
from recbole_mind.training import build


def test_ksr_relations(tmp_path):
    write_data(tmp_path)
    (given,) = settings_of("KSR", "sequential")
    config = build.build_config("KSR", "made", overrides=given | {"data_path": str(tmp_path)})
    _, train, *_ = build.build_data(config)
    batch = next(iter(train))
    with KSR_RELATIONS.off(), pytest.raises(RuntimeError, match="dtype"):
        build.build_model(config, train).calculate_loss(batch)
    model = build.build_model(config, train)
    assert torch.isfinite(model.calculate_loss(batch))
    vectors = torch.from_numpy(train._dataset.get_preload_weight("rel_id"))
    assert torch.equal(model.relation_Matrix, vectors[: len(model.relation_Matrix)].float())
