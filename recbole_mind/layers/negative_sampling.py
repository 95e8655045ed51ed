"""Proposal distributions for sampled softmax, with their log-probabilities. Pure torch.

Every sampler draws from a ``torch.Generator`` that the caller passes in, never draws item 0 (padding), and tells
log Q(i), with which the losses of :mod:`recbole_mind.layers.losses` correct their logits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_mind.errors import InputError

PROPOSALS = ("uniform", "popularity", "log_uniform", "in_batch", "sampler")


class NegativeSampler(nn.Module):
    """Draw item ids from a fixed distribution over the catalogue.

    Args:
        probability: ``[N]`` non-negative weights, entry 0 (padding) zero; need not be normalised.
    """

    cumulative: Tensor
    log_q: Tensor

    def __init__(self, probability: Tensor) -> None:
        super().__init__()
        probability = probability.double() / probability.double().sum()
        self.register_buffer("cumulative", probability.cumsum(0), persistent=False)
        self.register_buffer("log_q", probability.log().float(), persistent=False)  # -inf where never drawn

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` ids with replacement: ``[n]`` int64."""
        device = self.cumulative.device
        point = torch.rand(n, generator=generator, dtype=torch.float64, device=device) * self.cumulative[-1]
        # side "right" steps over items of probability 0; the last item takes what rounding leaves
        return torch.searchsorted(self.cumulative, point, right=True).clamp(max=len(self.cumulative) - 1)


class RejectionSampler(NegativeSampler):
    """A distribution that each row draws from again while it draws its own target, as RecBole's sampler does.

    A row's own distribution is then Q over the other items, Q_j / (1 - Q_t).
    """

    def log_accepted(self, target: Tensor) -> Tensor:
        """log(1 - Q_t) ``[B]`` for the targets ``[B]``."""
        return torch.log1p(-self.log_q[target].exp())


def proposal(name: str, counts: Tensor, *, alpha: float = 1.0) -> NegativeSampler:
    """Build the proposal called ``name``.

    ``uniform``: each item alike. ``popularity``: ∝ count^α (an item never seen counts as seen once, so that each has
    a finite log Q). ``log_uniform``: ∝ log((r + 2) / (r + 1)) for popularity rank r = 0, 1, ... (ties by lower id),
    the Zipf-like proposal of sampled-softmax fame. ``in_batch``: ∝ count, which is what the other rows' targets follow:
    an item that is never a target is never drawn.

    Args:
        name: one of :data:`PROPOSALS` other than ``sampler``, which RecBole feeds.
        counts: ``[N]`` how often each item is a training target; entry 0 (padding) is ignored.
        alpha: the power of ``popularity``; 0 is uniform.

    Raises:
        InputError: the name is unknown.
    """
    seen = counts.double().clamp(min=1)
    if name == "uniform":
        weight = torch.ones_like(seen)
    elif name == "popularity":
        weight = seen.pow(alpha)
    elif name == "in_batch":
        weight = counts.double().clone()
    elif name == "log_uniform":
        rank = torch.empty_like(counts, dtype=torch.float64)
        order = counts[1:].argsort(descending=True, stable=True) + 1
        rank[order] = torch.arange(len(order), dtype=torch.float64, device=counts.device)
        rank[0] = 0
        weight = ((rank + 2) / (rank + 1)).log()
    else:
        raise InputError(f"negatives: '{name}' is unknown; allowed: {', '.join(PROPOSALS[:-1])}")
    weight[0] = 0
    return NegativeSampler(weight)
