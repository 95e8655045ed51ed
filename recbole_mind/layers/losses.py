"""Training losses as functions of tensors (Li et al., CIKM 2019, §3.5). Pure torch.

Shape legend: B rows of a batch, K interests, N items, n negatives, D embedding size. A score is v·e/τ.

Every loss compares ``user``, a row's vector that its label has attended to, with the label. The other items meet the
same vector, as in the paper, or, where a loss is given ``interests``, the interest that is nearest to each: what ranks
them (Eq. 3) is then what is trained, and an interest that lies near what the user does not choose is moved even if the
label is not its own. Source: the maximum over a user's vectors for positive and negative alike, Weston et al.,
"Nonlinear Latent Factorization by Embedding Multiple User Interests", RecSys 2013.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from recbole_mind.layers.blocked_softmax import BlockedSoftmax

LOSSES = ("CE", "sampled", "BPR")
SAMPLED_FORMS = ("softmax", "nce")
NEGATIVE_INTEREST = ("label", "nearest")


class ActiveInterests(NamedTuple):
    """A user's ``vectors`` [B, K, D], of which those count that are ``active`` [B, K]: the first one, and any other."""

    vectors: Tensor
    active: Tensor


def full_softmax(
    user: Tensor, items: Tensor, target: Tensor, *, temperature: float, interests: ActiveInterests | None = None
) -> Tensor:
    """Cross-entropy over the whole catalogue; the logits ``[B, N]`` never exist at once.

    Args:
        user: ``[B, D]`` user vectors, already attended by the label.
        items: ``[N, D]`` item vectors; row 0 is padding and takes no probability.
        target: ``[B]`` item ids in 1 .. N-1.
        temperature: τ > 0.
        interests: what the other items meet; ``user`` by default.

    Returns:
        the mean negative log-likelihood, a scalar.
    """
    # the gradient of items[target] would be summed by threads in no fixed order
    positive = (user * items.index_select(0, target)).sum(1) / temperature
    rows = torch.arange(len(target), device=target.device)
    barred = (torch.cat([rows, rows]), torch.cat([target, torch.zeros_like(target)]))
    loss: Tensor = BlockedSoftmax.apply(  # type: ignore[no-untyped-call]
        *_met(user, interests), items, positive, None, None, barred, 1 / temperature
    )
    return loss


def _met(user: Tensor, interests: ActiveInterests | None) -> tuple[Tensor, Tensor | None]:
    """The vectors ``[B, K, D]`` that items other than the label meet, and which of them count."""
    return (user[:, None], None) if interests is None else interests


def sampled_softmax(
    user: Tensor,
    positive: Tensor,
    negatives: Tensor,
    target: Tensor,
    negative_ids: Tensor,
    *,
    temperature: float,
    log_expected: Tensor,
    interests: ActiveInterests | None = None,
) -> Tensor:
    """An estimate of :func:`full_softmax` from the target and n negatives drawn from a proposal Q.

    .. math:: -s_t + \\log \\Big( e^{s_t} + \\sum_{j \\neq t} e^{s_j - \\log(n Q_j)} \\Big)

    The sum over drawn negatives, those that are the row's target (accidental hits) left out, is an unbiased estimate by
    importance sampling of the full softmax's sum over all other items (Bengio and Senécal, "Quick Training of
    Probabilistic Neural Nets by Importance Sampling", AISTATS 2003). The target itself is not drawn: it is always
    there, so that its logit is not corrected ("Correcting the LogQ Correction", RecSys 2025). Loss and gradient tend to
    the full softmax's with n; in expectation the loss lies below it by O(1/n), since a logarithm is concave.

    Args:
        user: ``[B, D]``.
        positive: ``[B, D]`` vectors of the targets.
        negatives: ``[n, D]``, shared by the batch, or ``[B, n, D]``, each row's own.
        target: ``[B]`` ids of the targets.
        negative_ids: ``[n]`` or ``[B, n]``.
        temperature: τ > 0.
        log_expected: like ``negative_ids``: log(n Q_j), how often the n draws are expected to give that item.
        interests: what the negatives meet; ``user`` by default.

    Returns:
        the mean negative log-likelihood, a scalar.
    """
    return _among(user, positive, negatives, target, negative_ids, temperature, None, log_expected, interests)


def ranking_nce(
    user: Tensor,
    positive: Tensor,
    negatives: Tensor,
    target: Tensor,
    negative_ids: Tensor,
    *,
    temperature: float,
    log_q_target: Tensor,
    log_q_negatives: Tensor,
    interests: ActiveInterests | None = None,
) -> Tensor:
    """Noise-contrastive estimation by ranking: which of 1 + n candidates is the target, and which n come from Q?

    .. math:: -\\log \\frac{e^{s_t - \\log Q_t}}{e^{s_t - \\log Q_t} + \\sum_{j \\neq t} e^{s_j - \\log Q_j}}

    Not an estimate of the full softmax: the odds against the target come out n Q_t times as large, so that the gradient
    of a rare target is damped, and does not tend to the full softmax's with n. What it does estimate are the scores: a
    model that can express log p up to a constant for each history is best at them, for any n (Ma and Collins, "Noise
    Contrastive Estimation and Negative Sampling for Conditional Models: Consistency and Statistical Efficiency", EMNLP
    2018). It departs from the paper in that accidental hits are left out.

    Args:
        log_q_target: ``[B]`` log-probability with which one draw gives the target.
        log_q_negatives: the same of the negatives, like ``negative_ids``.

    The other arguments and the result are those of :func:`sampled_softmax`.
    """
    return _among(
        user, positive, negatives, target, negative_ids, temperature, log_q_target, log_q_negatives, interests
    )


def _among(
    user: Tensor,
    positive: Tensor,
    negatives: Tensor,
    target: Tensor,
    negative_ids: Tensor,
    temperature: float,
    less_target: Tensor | None,
    less_negatives: Tensor,
    interests: ActiveInterests | None,
) -> Tensor:
    """Cross-entropy of the target among itself and its negatives but for hits, whose logits are made less."""
    positive_logit = (user * positive).sum(1) / temperature
    if negatives.dim() == 2:
        barred = _hits(target, negative_ids)
        loss: Tensor = BlockedSoftmax.apply(  # type: ignore[no-untyped-call]
            *_met(user, interests), negatives, positive_logit, less_target, less_negatives, barred, 1 / temperature
        )
        return loss
    logits = _own_scores(user, negatives, interests) / temperature - less_negatives
    positive_logit = positive_logit if less_target is None else positive_logit - less_target
    logits = logits.masked_fill(negative_ids == target[:, None], -math.inf)
    logits = torch.cat([positive_logit[:, None], logits], dim=1)  # [B, 1 + n]
    return (logits.logsumexp(1) - positive_logit).mean()


def _own_scores(user: Tensor, negatives: Tensor, interests: ActiveInterests | None) -> Tensor:
    """The products ``[B, n]`` of each row with its own negatives ``[B, n, D]``."""
    vectors, active = _met(user, interests)
    scores = torch.einsum("bkd,bnd->bkn", vectors, negatives)
    # chosen by index: of two interests that are as near, the gradient goes to the first, as in BlockedSoftmax
    nearest = scores.detach() if active is None else scores.detach().masked_fill(~active[:, :, None], -math.inf)
    return scores.gather(1, nearest.argmax(1, keepdim=True))[:, 0]


def bpr(
    user: Tensor, positive: Tensor, negatives: Tensor, *, temperature: float, interests: ActiveInterests | None = None
) -> Tensor:
    """Bayesian personalised ranking, the mean of -log sigmoid(s+ - s-) (Rendle et al., UAI 2009).

    Args:
        user: ``[B, D]``.
        positive: ``[B, D]``.
        negatives: ``[B, n, D]``, each row's own.
        temperature: τ > 0.
        interests: what the negatives meet; ``user`` by default.
    """
    positive_score = (user * positive).sum(1, keepdim=True)
    negative_score = _own_scores(user, negatives, interests)
    return -nn.functional.logsigmoid((positive_score - negative_score) / temperature).mean()


def _hits(target: Tensor, ids: Tensor) -> tuple[Tensor, Tensor] | Tensor:
    """Where ``ids`` [n] equal ``target`` [B]: rows and columns; on a GPU, which must not wait, ``[B, n]`` booleans."""
    if target.device.type != "cpu":
        return ids == target[:, None]
    ordered, column = ids.sort()
    first = torch.searchsorted(ordered, target)
    counts = torch.searchsorted(ordered, target, right=True) - first
    rows = torch.arange(len(target)).repeat_interleave(counts)
    offset = torch.arange(len(rows)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return rows, column[first.repeat_interleave(counts) + offset]


def routing_regularization(weights: Tensor, mask: Tensor) -> Tensor:
    """How unevenly each user's interests draw on the behaviours: ``[B]``, 0 where every behaviour weighs alike.

    .. math:: \\| diag(C) \\|_F^2, \\qquad C = \\frac{1}{n} (A - \\bar A) (A - \\bar A)^\\top

    Source: REMI (Xie et al., RecSys 2023, §3.3), against interests that collapse onto one behaviour. Its sum over the
    batch is left to the caller, who takes the mean, so that it does not grow with the batch.

    Args:
        weights: A ``[B, K, L]``, each interest's weights of the n real behaviours, which sum to 1.
        mask: ``[B, L]`` booleans, the real behaviours.
    """
    weights = weights.float()
    n = mask.sum(1).clamp(min=1)[:, None]  # [B, 1]
    variance = ((weights - 1 / n[:, :, None]).square() * mask[:, None]).sum(2) / n  # [B, K]
    return variance.square().sum(1)
