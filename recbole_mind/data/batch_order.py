"""The order of an epoch's batches, and each process' share of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from recbole_mind.data.splits import Ints
from recbole_mind.layers.batch_shards import Share


class BatchOrder:
    """Which samples each batch of an epoch holds, as arrays: the order of torch's ``RandomSampler``, bit for bit.

    The generator is drawn from as ``DataLoader(shuffle=True)`` draws, and at the same moments, so that a run is the
    same whichever of the two feeds it.

    Args:
        n: samples.
        step: samples of a batch, of all processes together.
        shuffle: whether each epoch has an order of its own.
        generator: what shuffles, seeded alike in all processes; ``None`` for one seeded by torch's own.
        rank, world: this process among all; it gets every ``world``-th sample of a batch.

    Raises:
        ValueError: there is nothing to shuffle.
    """

    def __init__(
        self, n: int, step: int, shuffle: bool, generator: torch.Generator | None, rank: int = 0, world: int = 1
    ) -> None:
        if shuffle and n <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={n}")
        self.n, self.step, self.shuffle, self.generator = n, step, shuffle, generator
        self.rank, self.world = rank, world
        self._skipped = 0

    def __len__(self) -> int:
        return -(-self.n // self.step)

    def __iter__(self) -> Iterator[Ints]:
        """The samples of each batch, 64-bit integers; a process whose share is empty gets the batch's first."""
        first, self._skipped = self._skipped, 0
        generator = self.generator
        if self.shuffle and generator is None:
            generator = torch.Generator().manual_seed(int(torch.empty((), dtype=torch.int64).random_()))
        order = self._permutation(generator) if self.shuffle else None
        for batch in range(len(self)):
            begin, end = batch * self.step, min((batch + 1) * self.step, self.n)
            if end - begin < self.step and self.shuffle:
                self._permutation(generator)  # RandomSampler's second, of which it takes nothing
            samples = np.arange(begin, end) if order is None else order[begin:end]
            if batch >= first:
                yield self.share(batch).mine(samples).astype(np.int64)
        if self.n % self.step == 0 and self.shuffle:
            self._permutation(generator)

    def skip(self, batches: int) -> None:
        """Leave out the first ``batches`` of the next epoch, and of no other."""
        self._skipped = batches

    def _permutation(self, generator: torch.Generator | None) -> Ints:
        dtype = torch.int32 if self.n < 2**31 else torch.int64  # the same draws, half the memory
        return torch.randperm(self.n, generator=generator, dtype=dtype).numpy()

    def set_epoch(self, epoch: int) -> None:
        """Nothing: the generator goes on from epoch to epoch. RecBole's trainer calls it for several processes."""

    def share(self, batch: int) -> Share:
        """This process's part of a batch."""
        return Share(self.rank, self.world, min(self.step, self.n - batch * self.step))
