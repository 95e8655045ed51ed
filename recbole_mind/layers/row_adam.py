"""Adam (Kingma and Ba, ICLR 2015) for an embedding table of which a step uses few rows. Pure torch.

Dense Adam moves every row at every step, also those without a gradient, by what is left of their momentum, so that a
step costs as much as the table is long. Here a row that is not used stands still and makes up for the steps that it
missed when it is used again. Without a gradient the moments only decay, so that the missed steps are a sum in closed
form, and the result is dense Adam's, to rounding. (ε is taken at its mean over the missed steps, which is felt where
gradients are as small as ε.)

Shape legend: N rows of the table, U rows in use, D size of a row.
"""

from __future__ import annotations

import math
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

from recbole_mind.errors import require
from recbole_mind.layers.allocator import zeros_like

BETAS = (0.9, 0.999)
EPS = 1e-8
_RATIOS = (BETAS[0] / math.sqrt(BETAS[1]), BETAS[0] / BETAS[1])  # per missed step, of a move and of its share of ε
_SETTLED = 1 << 15  # steps after which the bias corrections are 1 in every digit
_BLOCK = 1 << 14  # rows that a flush takes at a time


class RowAdam:
    """Adam's state for one table, advanced row by row.

    In each step: :meth:`take` the rows that the loss needs, call ``backward``, then :meth:`step`. :meth:`flush` brings
    all rows up to date, before the table is used as a whole.

    Args:
        weight: ``[N, D]``, the table; it gets no gradient of its own any more.
        learning_rate: at least 0.

    Several processes that hold the same table stay alike if each takes the same rows and the gradients of
    :attr:`rows` are averaged between ``backward`` and :meth:`step`.
    """

    def __init__(self, weight: Tensor, learning_rate: float) -> None:
        self.weight, self._rate = weight.requires_grad_(False), _checked(learning_rate)
        self.steps = 0  # done so far
        self.last = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
        self.rows: Tensor | None = None
        self._ids: Tensor
        self._taken: tuple[Tensor, Tensor]
        self._sums = _decay_sums().to(weight.device)
        self._logs = torch.tensor([*_RATIOS, *BETAS], dtype=torch.float64, device=weight.device).log()

    @property
    def learning_rate(self) -> float:
        """Of the steps to come. To set another brings every row up to date first: the steps that it missed were taken
        at the old one, so that the result stays dense Adam's.

        Raises:
            InputError: it is no number, at least 0.
        """
        return self._rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        if _checked(rate) != self._rate:
            self.flush()
            self._rate = float(rate)

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Both moments ``[N, D]``, each row's after step ``last``; made when first used: evaluation needs none."""
        self.weight.data = zeros_like(self.weight).copy_(self.weight.data)
        return zeros_like(self.weight), zeros_like(self.weight)

    @torch.no_grad()
    def take(self, ids: Tensor) -> Tensor:
        """Give the rows ``ids`` [U] up to date: ``[U, D]``, a leaf that collects their gradient.

        No id stands twice but 0, the padding, whose row never moves.
        """
        rows, self._taken = self._caught_up(ids)
        self._ids, self.rows = ids, rows.requires_grad_()
        return self.rows

    @torch.no_grad()
    def step(self) -> None:
        """Advance by one step, moving the rows that were taken by their gradient."""
        self.steps += 1
        if self.rows is None:
            return
        rows, gradient = self.rows.detach(), self.rows.grad
        if gradient is None:
            gradient = torch.zeros_like(rows)
        first, second = self._taken
        adam(
            [rows], [gradient], [first], [second], [], [torch.tensor(self.steps - 1.0, device=rows.device)],
            fused=True, lr=self._rate, beta1=BETAS[0], beta2=BETAS[1], eps=EPS, weight_decay=0.0,
            amsgrad=False, maximize=False,
        )  # fmt: skip
        self._put(self._ids, rows, first, second)
        self.rows = None

    def drop_padding(self) -> None:
        """Take what row 0 got out of the gradient, as an embedding does; :meth:`step` needs no such help."""
        if self.rows is not None and self.rows.grad is not None:
            self.rows.grad.masked_fill_((self._ids == 0)[:, None], 0)

    @torch.no_grad()
    def flush(self) -> None:
        """Bring every row of the table up to date."""
        for start in range(0, len(self.weight), _BLOCK):
            ids = torch.nonzero(self.last[start : start + _BLOCK] < self.steps)[:, 0] + start
            if len(ids):
                rows, moments = self._caught_up(ids)
                self._put(ids, rows, *moments)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the table itself."""
        first, second = self.moments
        return {"steps": self.steps, "last": self.last, "first": first, "second": second}

    def load_state_dict(self, state: dict[str, Any], learning_rate: float | None = None) -> None:
        """Go on from what :meth:`state_dict` gave, with the learning rate of the steps that its rows have missed.

        Raises:
            InputError: it is of a table of another shape.
        """
        found, own = list(state["first"].shape), list(self.weight.shape)
        require(found == own, f"the optimizer's state is of a table {found}, not {own}")
        self._rate = self._rate if learning_rate is None else _checked(learning_rate)
        self.steps, self.rows = int(state["steps"]), None
        for table, name in zip((self.last, *self.moments), ("last", "first", "second"), strict=True):
            table.copy_(state[name])

    def _caught_up(self, ids: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Rows ``ids`` and their moments, ``[U, D]`` each, after the steps that they have missed."""
        rows, first, second = (table.index_select(0, ids) for table in (self.weight, *self.moments))
        last = self.last.index_select(0, ids).long()
        moved, epsilon, *decays = self._factors(last).to(rows.dtype)[:, :, None]
        rows.addcdiv_(first * moved, second.sqrt().add_(epsilon), value=-self._rate)
        return rows, (first.mul_(decays[0]), second.mul_(decays[1]))

    def _factors(self, last: Tensor) -> Tensor:
        """What the missed steps of rows that stand at step ``last`` [U] sum to: ``[4, U]`` float64.

        Without a gradient, dense Adam's step s + k takes lr β1^k m / (1 - β1^(s+k)) over √(β2^k v) / q + ε, with
        q = √(1 - β2^(s+k)), off a row. That is lr m a_k / (√v + ε_k), where a_k = (β1 / √β2)^k q / (1 - β1^(s+k)) and
        ε_k = ε q / β2^(k/2). The factors are Σ a_k, the mean of ε_k under a_k, and β1 and β2 to the missed steps.
        """
        powers = (self._logs[:, None] * (self.steps - last)).exp()  # [4, U]
        begun = self._sums[:, last.clamp(max=_SETTLED)]  # [2, U]
        ended = self._sums[:, min(self.steps, _SETTLED)][:, None]
        total, weighted = begun - powers[:2] * ended
        mean = (weighted / total.clamp(min=1e-9)).clamp(min=1e-3)  # where no step was missed, anything but 0
        return torch.stack([total, EPS * mean, powers[2], powers[3]])

    def _put(self, ids: Tensor, rows: Tensor, first: Tensor, second: Tensor) -> None:
        for table, values in zip((self.weight, *self.moments), (rows, first, second), strict=True):
            table.data.index_copy_(0, ids, values)
            table.data[0] = 0  # padding
        self.last.index_fill_(0, ids, self.steps)


def _checked(rate: float) -> float:
    require(math.isfinite(rate) and rate >= 0, f"learning_rate: {rate!r} is not allowed; allowed: a number, at least 0")
    return float(rate)


@cache
def _decay_sums() -> Tensor:
    """Σ_{k ≥ 1} a_k and Σ_{k ≥ 1} a_k ε_k / ε of :meth:`RowAdam._factors` for s = 0 .. _SETTLED: [2, _SETTLED + 1].

    Steps s+1 .. t then sum to F(s) - ratio^(t-s) F(t), where ratio is that of the geometric part of the summands.
    """
    step = torch.arange(1, _SETTLED + 2, dtype=torch.float64)
    q = (1 - BETAS[1] ** step).sqrt()
    sums = []
    for ratio, summands in zip(_RATIOS, (torch.stack([q, q * q]) / (1 - BETAS[0] ** step)).tolist(), strict=True):
        following = ratio / (1 - ratio)  # where the corrections are 1
        found = []
        for summand in reversed(summands):
            following = ratio * (summand + following)
            found.append(following)
        sums.append(found[::-1])
    return torch.tensor(sums, dtype=torch.float64)
