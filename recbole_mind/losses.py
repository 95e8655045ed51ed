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
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LOSSES = ("CE", "sampled", "BPR")
SAMPLED_FORMS = ("softmax", "nce")
NEGATIVE_INTEREST = ("label", "nearest")
CELLS = {"cpu": 1 << 21, "cuda": 1 << 26}  # logits that exist at a time: what a cache holds, what keeps a GPU busy


class Interests(NamedTuple):
    """A user's ``vectors`` [B, K, D], of which those count that are ``active`` [B, K]: the first one, and any other."""

    vectors: Tensor
    active: Tensor


def full_softmax(
    user: Tensor, items: Tensor, target: Tensor, *, temperature: float, interests: Interests | None = None
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
    loss: Tensor = _Softmax.apply(  # type: ignore[no-untyped-call]
        *_met(user, interests), items, positive, None, None, barred, 1 / temperature
    )
    return loss


def _met(user: Tensor, interests: Interests | None) -> tuple[Tensor, Tensor | None]:
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
    interests: Interests | None = None,
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
    interests: Interests | None = None,
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
    interests: Interests | None,
) -> Tensor:
    """Cross-entropy of the target among itself and its negatives but for hits, whose logits are made less."""
    positive_logit = (user * positive).sum(1) / temperature
    if negatives.dim() == 2:
        barred = _hits(target, negative_ids)
        loss: Tensor = _Softmax.apply(  # type: ignore[no-untyped-call]
            *_met(user, interests), negatives, positive_logit, less_target, less_negatives, barred, 1 / temperature
        )
        return loss
    logits = _own_scores(user, negatives, interests) / temperature - less_negatives
    positive_logit = positive_logit if less_target is None else positive_logit - less_target
    logits = logits.masked_fill(negative_ids == target[:, None], -math.inf)
    logits = torch.cat([positive_logit[:, None], logits], dim=1)  # [B, 1 + n]
    return (logits.logsumexp(1) - positive_logit).mean()


def _own_scores(user: Tensor, negatives: Tensor, interests: Interests | None) -> Tensor:
    """The products ``[B, n]`` of each row with its own negatives ``[B, n, D]``."""
    vectors, active = _met(user, interests)
    scores = torch.einsum("bkd,bnd->bkn", vectors, negatives)
    # chosen by index: of two interests that are as near, the gradient goes to the first, as in _Softmax
    nearest = scores.detach() if active is None else scores.detach().masked_fill(~active[:, :, None], -math.inf)
    return scores.gather(1, nearest.argmax(1, keepdim=True))[:, 0]


def bpr(
    user: Tensor, positive: Tensor, negatives: Tensor, *, temperature: float, interests: Interests | None = None
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


class _Softmax(torch.autograd.Function):
    """The mean over rows of -log softmax of a positive among items, by blocks of rows.

    A block's logits are turned into probabilities in place and from there into gradients, all while they are in the
    cache; only the gradients of the inputs outlive it. Float32 also under autocast.

    Inputs: ``vectors`` [B, K, D], of which an item meets the nearest; ``active`` [B, K], or ``None`` for K = 1;
    ``items`` [N, D]; ``positive`` [B] logits; by how much the logits of the positives ``[B]`` and of the items ``[N]``
    are lessened, or ``None``; where an item does not count for a row; the factor that turns a product into a logit.
    """

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        active: Tensor | None,
        items: Tensor,
        positive: Tensor,
        less_positive: Tensor | None,
        less: Tensor | None,
        barred: tuple[Tensor, Tensor] | Tensor,
        scale: float,
    ) -> Tensor:
        (B, K, _), N = vectors.shape, len(items)
        with torch.autocast(vectors.device.type, enabled=False):
            vectors, items, positive = vectors.detach().float(), items.detach().float(), positive.detach().float()
            # exp(s - c) = exp(s) exp(-c), so that the logits need no correction of their own
            weighted = items if less is None else items * (-less).exp()[:, None]
            weight = items.new_ones(N) if less is None else (-less).exp()
            own = positive.new_ones(B) if less_positive is None else (-less_positive).exp()
            d_vectors, d_items, d_positive = (
                torch.zeros_like(vectors),
                torch.zeros_like(items),
                torch.empty_like(positive),
            )
            loss = vectors.new_zeros(())
            scaled = vectors * scale
            height = max(16, CELLS["cuda" if vectors.is_cuda else "cpu"] // N)
            for start in range(0, B, height):
                block = slice(start, start + height)
                logits = scaled[block, 0] @ items.T  # [b, N]
                taken = [
                    _nearer(logits, scaled[block, k], items, active[block, k], wait=not isinstance(barred, Tensor))
                    for k in range(1, K)
                    if active is not None
                ]
                if isinstance(barred, Tensor):
                    logits.masked_fill_(barred[block], -math.inf)
                else:
                    inside = (barred[0] >= start) & (barred[0] < start + height)
                    logits[barred[0][inside] - start, barred[1][inside]] = -math.inf
                top = torch.maximum(logits.amax(1), positive[block])  # [b]
                mass = logits.sub_(top[:, None]).exp_()
                share = (positive[block] - top).exp() * own[block]
                total = mass @ weight + share
                loss += (total.log() + top - positive[block]).sum()
                factor = (scale / B) / total[:, None]
                # an item is the last interest's that came nearer, or else the first's
                for k in range(K - 1, 0, -1):
                    rows, nearer = taken[k - 1]
                    part = mass[rows] * nearer
                    mass[rows] -= part
                    d_vectors[block, k][rows] = part @ weighted * factor[rows]
                    d_items.addmm_(part.T, vectors[block, k][rows] * factor[rows])
                d_vectors[block, 0] = mass @ weighted * factor
                d_items.addmm_(mass.T, vectors[block, 0] * factor)
                d_positive[block] = (share / total - 1) / B
            if less_positive is not None:
                loss += less_positive.sum()
            if less is not None:
                d_items *= weight[:, None]
        ctx.save_for_backward(d_vectors, d_items, d_positive)
        return loss / B

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        d_vectors, d_items, d_positive = ctx.saved_tensors
        return gradient * d_vectors, None, gradient * d_items, gradient * d_positive, None, None, None, None


def _nearer(
    logits: Tensor, scaled: Tensor, items: Tensor, active: Tensor, *, wait: bool
) -> tuple[Tensor | slice, Tensor]:
    """Raise ``logits`` [b, N] to those of one more interest ``scaled`` [b, D] where it is ``active`` [b] and nearer.

    Returns:
        the rows that have it (all of them on a GPU, which must not ``wait``), and where it is nearer, ``[rows, N]``.
    """
    if not wait:
        found = (scaled @ items.T).masked_fill_(~active[:, None], -math.inf)
        nearer = found > logits
        torch.maximum(logits, found, out=logits)
        return slice(None), nearer
    rows = active.nonzero()[:, 0]
    found, before = scaled[rows] @ items.T, logits[rows]
    nearer = found > before
    logits[rows] = torch.maximum(before, found)
    return rows, nearer
