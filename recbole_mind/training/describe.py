"""What a record says of training data and of interests."""

from __future__ import annotations

from typing import Any

import torch

from recbole_mind.config.model_names import is_ours
from recbole_mind.layers.interest_statistics import interest_statistics


def popularity(train_data: Any) -> Any:
    """How often each item stands in the training data, ``[N]``: as a target, or as the first of a history."""
    data = train_data._dataset
    rows = data.inter_feat
    items = rows[data.iid_field]
    if getattr(data, "item_list_length_field", None) in rows.columns:
        first = rows[rows[data.item_list_length_field] == 1][data.item_id_list_field][:, 0]
        items = torch.cat([items, first])
    return torch.bincount(items, minlength=data.item_num).numpy()


def describe_interests(model: Any, eval_data: Any) -> dict[str, float]:
    """Statistics of the interests on the histories of ``eval_data``; empty for a single-vector model."""
    if not is_ours(type(model)) or model.num_interests is None:
        return {}
    device = next(model.parameters()).device
    return interest_statistics(model.interests(batch[0].to(device)) for batch in eval_data)
