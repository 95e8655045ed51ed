"""The whole history as one vector, and how much of it joins each interest. Pure torch.

Shape legend: B users, L history length (padded), U different items, D embedding size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from recbole_mind.layers.recency import Recency

_SMALL = 1e-12


class WholeVector(nn.Module):
    """A mean of the behaviours with a learned weight for each place, and the share with which it joins an interest.

    The share is exp(β + w·f), with f what tells users of one interest from users of many: the logarithm of the
    history's length, and how alike its behaviours are, |Σ_j c_j e_j| / Σ_j c_j |e_j|. It starts at ``share`` for all.

    Args:
        start: where the curve of weights starts, as in :class:`~recbole_mind.layers.recency.Recency`.
        max_length: the longest history L.
        share: the share at first.
    """

    def __init__(self, *, start: float, max_length: int, share: float = 1.0) -> None:
        super().__init__()
        self.recency = Recency("learned", start=start, max_length=max_length)
        self.log_share = nn.Parameter(torch.tensor(math.log(share)))  # β
        self.slope = nn.Parameter(torch.zeros(2))  # w

    def forward(self, behaviors: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The mean ``[B, D]`` of ``behaviors`` [B, L, D], zero on padding, and its share ``[B]``."""
        weights = self.recency.shares(lengths, behaviors.shape[1])  # [B, 1, L]
        norms = torch.linalg.vector_norm(behaviors, dim=2, keepdim=True)  # [B, L, 1]
        mean = (weights @ behaviors)[:, 0]
        return mean, self._share(mean, (weights @ norms)[:, 0, 0], lengths)

    def of_places(self, vectors: Tensor, place: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What :meth:`forward` gives, of the behaviours in rows ``place`` [B, L] of ``vectors`` [U, D]."""
        weights = self.recency.shares(lengths, place.shape[1])[:, 0].to(vectors.dtype)
        both = torch.cat([vectors, torch.linalg.vector_norm(vectors, dim=1, keepdim=True)], 1)
        found = nn.functional.embedding_bag(place, both, per_sample_weights=weights, mode="sum")  # [B, D + 1]
        mean = found[:, :-1]
        return mean, self._share(mean, found[:, -1], lengths)

    def _share(self, mean: Tensor, norms: Tensor, lengths: Tensor) -> Tensor:
        alike = torch.linalg.vector_norm(mean, dim=1) / norms.clamp(min=_SMALL)  # [B], from 0 to 1
        told = torch.stack([lengths.clamp(min=1).to(mean.dtype).log() - 2, alike - 0.5], 1)
        return (self.log_share + (told * self.slope).sum(1)).exp()
