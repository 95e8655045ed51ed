"""The softmax that the losses share, block by block, so that no matrix of all logits exists."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CELLS = {"cpu": 1 << 21, "cuda": 1 << 26}  # logits that exist at a time: what a cache holds, what keeps a GPU busy


class BlockedSoftmax(torch.autograd.Function):
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
