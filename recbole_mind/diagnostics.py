"""What the interests of a model do: how many are active, and do they differ. Pure torch."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

COLLAPSED = 0.95  # interests whose cosines all lie above this are one interest under several names


@torch.no_grad()
def interest_statistics(batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Summarise the interests of many users.

    Args:
        batches: pairs of interests ``[B, K, D]`` and ``[B, K]`` booleans of the active ones.

    Returns:
        ``mean_active_interests``; of the users with two or more, ``collapsed_users`` (the share whose pairwise cosines
        all exceed :data:`COLLAPSED`) and ``mean_pairwise_cosine`` (the mean over users of the mean over pairs). The
        last two are absent when no user has two interests.
    """
    users = active_total = several = collapsed = 0
    cosine_total = 0.0
    for interests, active in batches:
        unit = torch.nn.functional.normalize(interests, dim=2)
        cosine = unit @ unit.transpose(1, 2)  # [B, K, K]
        pairs = (active[:, :, None] & active[:, None, :]).triu(diagonal=1)  # [B, K, K]
        number = pairs.sum((1, 2))  # [B]
        has_pairs = number > 0
        users += len(active)
        active_total += int(active.sum())
        several += int(has_pairs.sum())
        lowest = cosine.masked_fill(~pairs, 1.0).amin((1, 2))
        collapsed += int((has_pairs & (lowest > COLLAPSED)).sum())
        mean = (cosine * pairs).sum((1, 2)) / number.clamp(min=1)
        cosine_total += float(mean[has_pairs].double().sum())
    if not users:
        return {}
    result = {"mean_active_interests": active_total / users}
    if several:
        result |= {"collapsed_users": collapsed / several, "mean_pairwise_cosine": cosine_total / several}
    return result
