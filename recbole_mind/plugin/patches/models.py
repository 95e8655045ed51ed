"""Patches of RecBole's models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recbole_mind.plugin.patches.patch import Patch, Wrap


def float32_relations(original: Callable[..., None], model: Any, config: Any, dataset: Any) -> None:
    """Build KSR with its pretrained relations ``[R, K]`` in float32."""
    original(model, config, dataset)
    model.relation_Matrix = model.relation_Matrix.float()


KSR_RELATIONS = Patch("ksr_relations", since="RecBole 1.2.1",
    fault="KSR multiplies its float32 states by pretrained relations in float64, which torch refuses",
    cure="they are float32 as its pretrained items are",
    changes=(Wrap("recbole.model.sequential_recommender.ksr:KSR.__init__", float32_relations),))  # fmt: skip
