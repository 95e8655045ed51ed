"""Label-aware attention (Li et al., CIKM 2019, §3.4, Eq. 10). Pure torch.

Shape legend: B users, K interests, D embedding size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from recbole_mind.errors import InputError, require

ATTENTION_FORMS = ("pow", "scale")
_SMALL = 1e-6  # for p < 1 the derivative of |a|^p is infinite at 0; below this |a| it is taken as 0
_HARD = 1e30  # a sharper attention than this is hard in every number format


def attention_weights(
    scores: Tensor, active: Tensor, *, p: float, form: str = "pow", temperature: float = 1.0
) -> Tensor:
    """Weigh a user's interests by their agreement with the label item.

    ``p = 0`` is uniform over the active interests, ``p = inf`` is one-hot at the largest *raw* score (hard attention:
    an even power of it would pick the largest absolute value). In between

    .. math:: w = softmax_k(sign(a_k) |a_k|^p) \\ (pow), \\qquad w = softmax_k(p a_k / \\tau) \\ (scale).

    ``pow`` is the paper's Eq. 10 with a sign, which an even power would lose. With cosine similarity |a| <= 1, so that
    a power above 1 flattens; ``scale`` has the paper's limits (uniform, then ever sharper) for every similarity.

    Args:
        scores: ``[B, K]`` raw scores a_k = v_k·e_label.
        active: ``[B, K]`` booleans, at least one true in each row.
        p: from 0 to ``math.inf``.
        form: ``"pow"`` or ``"scale"``.
        temperature: τ of ``scale``.

    Returns:
        ``[B, K]`` weights that sum to 1; 0 on inactive interests.

    Raises:
        InputError: ``p`` is negative or not a number, or ``form`` is unknown.
    """
    if not p >= 0:
        raise InputError(f"p: {p} is not allowed; p is a number from 0 to inf")
    if form not in ATTENTION_FORMS:
        raise InputError(f"attention_form: '{form}' is unknown; allowed: {', '.join(ATTENTION_FORMS)}")
    if p == 0:
        return active.to(scores.dtype) / active.sum(1, keepdim=True)
    best = scores.detach().masked_fill(~active, -math.inf).argmax(1)  # [B]
    one_hot = nn.functional.one_hot(best, scores.shape[1]).to(scores.dtype)
    if p > _HARD * min(temperature, 1.0):
        return one_hot
    # A logit beyond e^69 has left every softmax behind: the limit is the largest raw score.
    if form == "scale":
        limit = min(math.exp(69) * temperature / p, 1e38)
        logits = scores.clamp(-limit, limit) * (p / temperature)
    else:
        limit = math.exp(min(69 / p, 87))
        size = scores.abs().clamp(min=_SMALL if p < 1 else 0, max=limit).pow(p)
        exact = scores.detach().abs().clamp(max=limit).pow(p)
        logits = scores.sign() * (size + (exact - size.detach()))
    top = scores.detach().gather(1, best[:, None])  # [B, 1]
    weights = logits.masked_fill(~active, -math.inf).softmax(1)
    return torch.where(top.abs() < limit, weights, one_hot)


class LabelAwareAttention(nn.Module):
    """One vector for a user and a label: the interests, weighted by :func:`attention_weights`.

    Args:
        p: sharpness, from 0 (uniform) to ``math.inf`` (hard).
        form: ``"pow"`` (the paper's) or ``"scale"``.
        temperature: τ of ``"scale"``.
    """

    def __init__(self, *, p: float, form: str = "pow", temperature: float = 1.0) -> None:
        super().__init__()
        self.p, self.form, self.temperature = p, form, temperature

    def forward(self, interests: Tensor, active: Tensor, label: Tensor) -> Tensor:
        """Attend to ``interests`` [B, K, D] with ``label`` [B, D] as the query; returns [B, D]."""
        scores = (interests * label[:, None]).sum(2).float()  # a power soon leaves half precision
        weights = attention_weights(scores, active, p=self.p, form=self.form, temperature=self.temperature)
        return (weights.to(interests.dtype)[:, :, None] * interests).sum(1)

    def extra_repr(self) -> str:
        return f"p={self.p}, form={self.form}"


class SelfAttentivePooling(nn.Module):
    """Several interests per user by self-attention: each is a weighted sum of the behaviours.

    .. math:: A = softmax_j(W_2^\\top \\tanh(W_1 (H + P)^\\top)), \\qquad V = A H

    Source: ComiRec-SA (Cen et al., KDD 2020, §3.2), after Lin et al. (ICLR 2017). P holds a learned vector for each
    place in the history, the oldest behaviour first; it starts at zero. It decides on the weights alone: the sum is of
    the behaviours themselves, so that an interest stays among the item vectors that it is compared with.

    Args:
        size: D.
        num_interests: K.
        max_length: the longest history L.
        hidden: rows of W_1.
        positions: whether there is a P.
    """

    def __init__(self, *, size: int, num_interests: int, max_length: int, hidden: int, positions: bool) -> None:
        super().__init__()
        require(num_interests >= 1, f"K: {num_interests} is not allowed; the number of interests is at least 1")
        require(hidden >= 1, f"attention_size: {hidden} is not allowed; it is at least 1")
        self.max_length = max_length
        self.positions = nn.Parameter(torch.zeros(max_length, size)) if positions else None
        self.inner = nn.Linear(size, hidden, bias=False)  # W_1
        self.outer = nn.Linear(hidden, num_interests, bias=False)  # W_2

    def forward(self, behaviors: Tensor, mask: Tensor, counts: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pool ``behaviors`` [B, L, D], real where ``mask`` [B, L] is true.

        Args:
            behaviors: ``[B, L, D]``.
            mask: ``[B, L]`` booleans.
            counts: ``[B, 1, L]``, what each behaviour counts in the softmax; all alike by default.

        Returns:
            interests ``[B, K, D]`` and the weights ``[B, K, L]``, 0 on padding; a row of only padding gives zeros.

        Raises:
            InputError: L is longer than ``max_length``.
        """
        L = behaviors.shape[1]
        require(
            self.max_length >= L, f"a history of {L} behaviours is too long; MAX_ITEM_LIST_LENGTH is {self.max_length}"
        )
        placed = behaviors if self.positions is None else behaviors + self.positions[:L]
        logits = self.outer(self.inner(placed).tanh()).transpose(1, 2)  # [B, K, L]
        if counts is not None:
            logits = logits + counts.clamp(min=torch.finfo(logits.dtype).tiny).log()
        allowed = mask[:, None, :]  # [B, 1, L]
        # a large finite number: a row that is wholly barred must not divide by zero
        weights = logits.masked_fill(~allowed, torch.finfo(logits.dtype).min).softmax(2) * allowed
        return weights @ behaviors, weights
