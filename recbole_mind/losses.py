"""Training losses as functions of tensors (Li et al., CIKM 2019, §3.5). Pure torch.

Shape legend: B rows of a batch, N items, n negatives, D embedding size. A score is v·e/τ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from recbole_mind.errors import require

LOSSES = ("CE", "sampled", "BPR")


def full_softmax(user: Tensor, items: Tensor, target: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy over the whole catalogue.

    Args:
        user: ``[B, D]`` user vectors, already attended by the label.
        items: ``[N, D]`` item vectors; row 0 is padding and takes no probability.
        target: ``[B]`` item ids in 1 .. N-1.
        temperature: τ > 0.

    Returns:
        the mean negative log-likelihood, a scalar.
    """
    logits = user @ items.T / temperature  # [B, N]
    logits[:, 0] = -math.inf
    return nn.functional.cross_entropy(logits, target)


def sampled_softmax(
    user: Tensor,
    positive: Tensor,
    negatives: Tensor,
    target: Tensor,
    negative_ids: Tensor,
    *,
    temperature: float,
    log_q_target: Tensor | None = None,
    log_q_negatives: Tensor | None = None,
) -> Tensor:
    """Cross-entropy over the target and n drawn negatives.

    Every logit is corrected by the logarithm of its proposal probability, s - log Q, so that the loss is an estimate
    of the full softmax for any proposal (Bengio and Senécal, 2008); an accidental hit, a negative that is the row's
    own target, is left out.

    Args:
        user: ``[B, D]``.
        positive: ``[B, D]`` vectors of the targets.
        negatives: ``[n, D]``, shared by the batch, or ``[B, n, D]``, each row's own.
        target: ``[B]`` ids of the targets.
        negative_ids: ``[n]`` or ``[B, n]``.
        temperature: τ > 0.
        log_q_target: ``[B]`` log-probability with which the proposal draws the target.
        log_q_negatives: like ``negative_ids``; both or neither.

    Returns:
        the mean negative log-likelihood, a scalar.
    """
    require((log_q_target is None) == (log_q_negatives is None), "log_q_target and log_q_negatives go together")
    positive_logit = torch.einsum("bd,bd->b", user, positive) / temperature
    if negatives.dim() == 2:
        logits = user @ negatives.T / temperature  # [B, n]
    else:
        logits = torch.einsum("bd,bnd->bn", user, negatives) / temperature
    if log_q_target is not None and log_q_negatives is not None:
        positive_logit = positive_logit - log_q_target
        logits = logits - log_q_negatives
    logits = logits.masked_fill(negative_ids == target[:, None], -math.inf)
    logits = torch.cat([positive_logit[:, None], logits], dim=1)  # [B, 1 + n]
    return (logits.logsumexp(1) - positive_logit).mean()


def bpr(user: Tensor, positive: Tensor, negatives: Tensor, *, temperature: float) -> Tensor:
    """Bayesian personalised ranking, the mean of -log sigmoid(s+ - s-) (Rendle et al., UAI 2009).

    Args:
        user: ``[B, D]``.
        positive: ``[B, D]``.
        negatives: ``[B, n, D]``, each row's own.
        temperature: τ > 0.
    """
    positive_score = torch.einsum("bd,bd->b", user, positive)[:, None]
    negative_score = torch.einsum("bd,bnd->bn", user, negatives)
    return -nn.functional.logsigmoid((positive_score - negative_score) / temperature).mean()
