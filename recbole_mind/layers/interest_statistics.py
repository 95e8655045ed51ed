"""What the interests of a model do: how many are active, do they differ, what is each made of. Pure torch.

Shape legend: B users, L history length (padded), K interests, D embedding size.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

COLLAPSED = 0.95  # interests whose cosines all lie above this are one interest under several names
ONE_ITEM = 0.9  # an interest with more of its weight than this on one behaviour is that behaviour


# -- one value for each user --------------------------------------------------------------------------------------


def pairwise_cosine(interests: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the lowest cosine over pairs of active interests: ``[B]`` each, NaN where there is no pair.

    Args:
        interests: ``[B, K, D]``.
        active: ``[B, K]`` booleans.
    """
    unit = torch.nn.functional.normalize(interests, dim=2)
    cosine = unit @ unit.transpose(1, 2)  # [B, K, K]
    pairs = (active[:, :, None] & active[:, None, :]).triu(diagonal=1)  # [B, K, K]
    number = pairs.sum((1, 2))  # [B]
    mean = (cosine * pairs).sum((1, 2)) / number  # 0 / 0 is NaN
    lowest = cosine.masked_fill(~pairs, 1.0).amin((1, 2))
    return mean, lowest.masked_fill(number == 0, torch.nan)


def history_shares(weights: Tensor) -> Tensor:
    """The share of the history that each interest takes: ``[B, K]``, rows that sum to 1.

    Each behaviour counts alike and shares itself out among the interests in proportion to ``weights`` [B, K, L]. Where
    these are Algorithm 1's coupling coefficients they are the shares themselves; where each interest shares itself out
    among behaviours instead (``routing_softmax: behaviors``, ComiRec-SA), every interest has the same mass, and only
    the proportions within a behaviour tell which interest takes it. A row without any weight gives zeros.
    """
    whole = weights.sum(1, keepdim=True)  # [B, 1, L]
    shares = (weights / whole.clamp(min=torch.finfo(weights.dtype).tiny)).sum(2)  # [B, K]
    return shares / shares.sum(1, keepdim=True).clamp(min=1e-12)


def effective_interests(shares: Tensor) -> Tensor:
    """The effective number of interests ``[B]``: exp of the entropy of ``shares`` [B, K], 1 to K."""
    result: Tensor = torch.special.entr(shares).sum(1).exp()
    return result


def one_item_interests(weights: Tensor, active: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Which interests have collapsed onto one behaviour, of those that need not have.

    Args:
        weights: ``[B, K, L]``.
        active: ``[B, K]`` booleans.
        lengths: ``[B]`` real lengths.

    Returns:
        ``[B, K]`` booleans: more than :data:`ONE_ITEM` of the interest's weight lies on one behaviour; and ``[B, K]``
        booleans, which interests were asked: the active ones of users with more behaviours than active interests.
    """
    asked = active & (lengths > active.sum(1))[:, None]
    return asked & (weights.amax(2) > ONE_ITEM * weights.sum(2)), asked


# -- one figure for many users ------------------------------------------------------------------------------------


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
        mean, lowest = pairwise_cosine(interests, active)
        users += len(active)
        active_total += int(active.sum())
        several += int(mean.isfinite().sum())
        collapsed += int((lowest > COLLAPSED).sum())
        cosine_total += float(mean[mean.isfinite()].double().sum())
    if not users:
        return {}
    result = {"mean_active_interests": active_total / users}
    if several:
        result |= {"collapsed_users": collapsed / several, "mean_pairwise_cosine": cosine_total / several}
    return result


@torch.no_grad()
def coupling_statistics(interests: Tensor, active: Tensor, weights: Tensor, lengths: Tensor) -> dict[str, float]:
    """What training shows of a sample of users; the arguments are those of the functions above.

    Returns:
        ``active`` and ``effective_number``, means over users; of those with two active interests or more, ``cosine``;
        of those that :func:`one_item_interests` asks, ``one_item_share``, a share of interests. The last two are absent
        where nobody is left.
    """
    result = {
        "active": float(active.sum(1).double().mean()),
        "effective_number": float(effective_interests(history_shares(weights)).double().mean()),
    }
    mean, _ = pairwise_cosine(interests, active)
    if bool(mean.isfinite().any()):
        result["cosine"] = float(mean[mean.isfinite()].double().mean())
    alone, asked = one_item_interests(weights, active, lengths)
    if bool(asked.any()):
        result["one_item_share"] = int(alone.sum()) / int(asked.sum())
    return result
