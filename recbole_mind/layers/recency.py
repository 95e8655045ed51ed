"""How much a behaviour counts by its place in the history and its age: a fixed power, or curves that are learned.

Pure torch. The paper (Li et al., CIKM 2019, §6) names the time of behaviours as its future work.

Shape legend: B users, L history length (padded), K interests, C curves: 1, or K.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_mind.errors import require

RECENCY = ("learned", "per_interest")
OCTAVES = 24  # halvings of the data's span of time among which gaps are told apart: seconds, of a year


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

    With ``time_gaps`` a weight is also multiplied by exp(φ(t)), with t the time from the behaviour to the newest one of
    the history and φ a learned function, one or one for each interest: linear in log t between knots at each halving
    of the data's span of time, 0 at the start. A gap that nobody tells counts as the one that is usual at its place
    (:meth:`set_usual`). Source: the buckets of log time of HSTU (Zhai et al., ICML 2024, §3), here without steps, so
    that rounding moves no behaviour to another bucket.

    Args:
        recency: γ, above 0, at most 1; ``"learned"``; or ``"per_interest"``.
        start: s, above 0, at most 1.
        max_length: the longest history L.
        curves: how many are learned where ``recency`` is ``"per_interest"``.
        time_gaps: whether the time between behaviours counts too.
    """

    usual: Tensor  # [max_length], log gaps

    def __init__(
        self, recency: float | str, *, start: float, max_length: int, curves: int = 1, time_gaps: bool = False
    ) -> None:
        super().__init__()
        self.fixed: float | None = None
        self.even = recency == 1 and not time_gaps  # all behaviours count alike
        self.log_gap_weights: nn.Parameter | None = None  # [C, OCTAVES + 1], φ at its knots
        if time_gaps:
            each = curves if recency == "per_interest" else 1
            self.log_gap_weights = nn.Parameter(torch.zeros(each, OCTAVES + 1))
            self.register_buffer("usual", torch.zeros(max_length))
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

    def forward(self, lengths: Tensor, L: int, gaps: Tensor | None = None) -> Tensor:
        """The weights ``[B, C, L]`` of histories of ``lengths`` [B], 0 on padding.

        Args:
            lengths: ``[B]`` real lengths.
            L: the padded one.
            gaps: ``[B, L]``, the time from each behaviour to the newest, in spans of the data's time; below 0 where it
                is not known. They count with ``time_gaps`` alone.
        """
        if self.log_weights is None and self.log_gap_weights is None:
            return recency_weights(lengths, L, self.fixed or 1.0)[:, None]
        after = lengths[:, None] - 1 - torch.arange(L, device=lengths.device)  # [B, L], negative on padding
        real, after = (after >= 0)[:, :, None], after.clamp(min=0)
        if self.log_weights is None:
            weights = recency_weights(lengths, L, self.fixed or 1.0)[:, :, None]
            return (weights * self._by_gap(after, gaps).exp()).transpose(1, 2)
        theta = _rows(self.log_weights, after)  # [B, L, C]
        if self.log_gap_weights is not None:
            theta = theta + self._by_gap(after, gaps)
        return (theta.exp() * real).transpose(1, 2)

    def _by_gap(self, after: Tensor, gaps: Tensor | None) -> Tensor:
        """φ ``[B, L, C]`` of behaviours with ``after`` [B, L] others after them, ``gaps`` [B, L] before the newest."""
        place = self.usual.index_select(0, after.flatten()).view(after.shape)
        if gaps is not None:
            place = torch.where(gaps >= 0, log_gaps(gaps).to(place.dtype), place)
        knot = place.detach().floor().clamp(max=OCTAVES - 1).long()
        low, high = _rows(self.log_gap_weights, knot), _rows(self.log_gap_weights, knot + 1)
        return low + (place - knot)[:, :, None] * (high - low)

    @torch.no_grad()
    def set_usual(self, gaps: Tensor, lengths: Tensor) -> None:
        """Take the median gap of each place from histories that show what is usual.

        Args:
            gaps: ``[B, L]``, as in :meth:`forward`, all known.
            lengths: ``[B]``. A place that no history reaches is like the last that one does.
        """
        after = lengths[:, None] - 1 - torch.arange(gaps.shape[1], device=gaps.device)
        found = self.usual.new_zeros(())
        for place in range(len(self.usual)):
            there = log_gaps(gaps[after == place])
            found = there.median().to(found) if len(there) else found
            self.usual[place] = found

    def shares(self, lengths: Tensor, L: int, gaps: Tensor | None = None) -> Tensor:
        """The weights ``[B, C, L]``, of which those of a history sum to 1."""
        weights: Tensor = self(lengths, L, gaps)
        return weights / weights.sum(2, keepdim=True).clamp(min=1e-12)

    def extra_repr(self) -> str:
        words = f"{self.fixed}" if self.log_weights is None else f"curves={len(self.log_weights)}"
        return words if self.log_gap_weights is None else f"{words}, time_gaps=True"


def log_gaps(gaps: Tensor) -> Tensor:
    """Where gaps, in spans of the data's time, lie among the knots: 0 to :data:`OCTAVES`, in the shape of ``gaps``."""
    return gaps.clamp(min=2.0**-OCTAVES, max=1.0).log2() + OCTAVES


def _rows(table: Tensor | None, index: Tensor) -> Tensor:
    """The columns of ``table`` [C, n] that ``index`` [B, L] names, ``[B, L, C]``."""
    assert table is not None  # noqa: S101 - for the type checker
    # rows chosen by index_select, whose gradient is summed in a fixed order
    return table.T.index_select(0, index.flatten()).view(*index.shape, -1)
