"""How much a behaviour counts by its place in the history: a fixed power, or curves that are learned. Pure torch.

The paper (Li et al., CIKM 2019, §6) names the time of behaviours as its future work.

Shape legend: B users, L history length (padded), K interests, C curves: 1, or K.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_mind.errors import require

RECENCY = ("learned", "per_interest")


def recency_weights(lengths: Tensor, L: int, recency: float) -> Tensor:
    """What each behaviour of a history counts: ``[B, L]``, γ^a with a the number of behaviours after it, 0 on padding.

    Args:
        lengths: ``[B]`` real lengths.
        L: the padded one.
        recency: γ, above 0, at most 1; 1 counts all alike.
    """
    after = lengths[:, None] - 1 - torch.arange(L, device=lengths.device)  # [B, L], negative on padding
    if recency == 1:
        return (after >= 0).float()
    return torch.where(after >= 0, recency ** after.clamp(min=0), 0.0)


class Recency(nn.Module):
    """The weight of each behaviour, by the number a of behaviours after it.

    Fixed, it is γ^a. Learned, it is a curve exp(θ_a) with a free θ for each place, one for all interests or one for
    each: an interest then is told apart not only by what it is about, but by how long it lasts. A curve starts at s^a,
    those of K interests at s_1 = s to s_K = 1 in equal steps: from the newest behaviours to the whole history.

    Args:
        recency: γ, above 0, at most 1; ``"learned"``; or ``"per_interest"``.
        start: s, above 0, at most 1.
        max_length: the longest history L.
        curves: how many are learned where ``recency`` is ``"per_interest"``.
    """

    def __init__(self, recency: float | str, *, start: float, max_length: int, curves: int = 1) -> None:
        super().__init__()
        self.fixed: float | None = None
        self.even = recency == 1  # all behaviours count alike
        self.log_weights: nn.Parameter | None = None  # [C, max_length], θ
        if recency not in RECENCY:
            good = isinstance(recency, (int, float)) and 0 < recency <= 1
            require(good, f"recency: {recency} is not allowed; it is above 0 and at most 1, {' or '.join(RECENCY)}")
            self.fixed = float(recency)
            return
        require(0 < start <= 1, f"recency_start: {start} is not allowed; it is above 0 and at most 1")
        curves = curves if recency == "per_interest" else 1
        starts = torch.linspace(start, 1, curves) if curves > 1 else torch.tensor([float(start)])
        self.log_weights = nn.Parameter(starts.log()[:, None] * torch.arange(max_length))

    def forward(self, lengths: Tensor, L: int) -> Tensor:
        """The weights ``[B, C, L]`` of histories of ``lengths`` [B], 0 on padding."""
        if self.log_weights is None:
            return recency_weights(lengths, L, self.fixed or 1.0)[:, None]
        after = lengths[:, None] - 1 - torch.arange(L, device=lengths.device)  # [B, L], negative on padding
        # rows chosen by index_select, whose gradient is summed in a fixed order
        theta = self.log_weights.T.index_select(0, after.clamp(min=0).flatten())
        weights = theta.view(*after.shape, -1).exp() * (after >= 0)[:, :, None]  # [B, L, C]
        return weights.transpose(1, 2)

    def shares(self, lengths: Tensor, L: int) -> Tensor:
        """The weights ``[B, C, L]``, of which those of a history sum to 1."""
        weights: Tensor = self(lengths, L)
        return weights / weights.sum(2, keepdim=True).clamp(min=1e-12)

    def extra_repr(self) -> str:
        return f"{self.fixed}" if self.log_weights is None else f"curves={len(self.log_weights)}"
