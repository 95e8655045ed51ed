"""How several processes share a batch. Torch and numpy only."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy.typing as npt
import torch
from torch import Tensor

Rows = TypeVar("Rows", Tensor, npt.NDArray[Any])


class Share(NamedTuple):
    """This process's part of a batch: rows ``rank``, ``rank + world``, ... of ``rows``.

    All processes draw the randomness of the whole batch from equal generators and keep their part of it, so that they
    compute what one process would. A process that no row falls to computes row 0 with weight 0.
    """

    rank: int = 0
    world: int = 1
    rows: int = 0

    @property
    def weight(self) -> float:
        """What a mean over this part counts in the mean of all parts' means."""
        return 1.0 if self.world == 1 else self._count(self.rank) * self.world / self.rows

    def total(self, rows: int) -> int:
        """Rows of the whole batch, where this part has ``rows``."""
        return rows if self.world == 1 else self.rows

    def mine(self, whole: Rows) -> Rows:
        """This process's rows of ``whole``."""
        if self.world == 1:
            return whole
        return whole[self.rank :: self.world] if self._count(self.rank) else whole[:1]

    def everywhere(self, part: Tensor) -> Tensor:
        """The rows of all parts, process by process; every process must call it."""
        if self.world == 1:
            return part
        most = self._count(0)
        padded = part.new_zeros((most, *part.shape[1:]))
        padded[: len(part)] = part
        gathered = [torch.empty_like(padded) for _ in range(self.world)]
        torch.distributed.all_gather(gathered, padded)
        return torch.cat([rows[: self._count(rank)] for rank, rows in enumerate(gathered)])

    def own(self, everything: Tensor) -> Tensor:
        """This process's rows of what :meth:`everywhere` gave."""
        if self.world == 1:
            return everything
        start = sum(self._count(rank) for rank in range(self.rank))
        count = self._count(self.rank)
        return everything[start : start + count] if count else everything[:1]

    def _count(self, rank: int) -> int:
        return max(0, -(-(self.rows - rank) // self.world))


ALONE = Share()  # of a process that has the batch to itself
