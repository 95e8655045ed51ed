"""The order of batches: torch's own, begun late, and shared by processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from recbole_mind.data.batch_order import BatchOrder
from recbole_mind.data.loaders import _Indices

# -- pieces -------------------------------------------------------------------------------------------------------


def orders(loader, epochs):
    return [[list(map(int, batch)) for batch in loader] for _ in range(epochs)]


@pytest.mark.parametrize(("n", "step"), [(10, 3), (9, 3), (1, 4), (7, 100)])
@pytest.mark.parametrize("seeded", [True, False])
def test_batches_come_in_torchs_order_epoch_after_epoch(n, step, seeded):
    """DataLoader draws a base seed, a permutation and, once that is used up, a second one."""
    states, results = [], []
    for ours in (False, True):
        torch.manual_seed(7)
        generator = torch.Generator().manual_seed(3) if seeded else None
        if ours:
            order = BatchOrder(n, step, True, generator)
            loader = DataLoader(_Indices(n), sampler=order, batch_size=None, generator=generator)
            assert len(loader) == len(order) == -(-n // step)
        else:
            loader = DataLoader(list(range(n)), batch_size=step, shuffle=True, generator=generator)
        results.append(orders(loader, 3))
        states.append((torch.get_rng_state(), generator and generator.get_state()))
    assert results[0] == results[1]
    assert torch.equal(states[0][0], states[1][0])
    if seeded:
        assert torch.equal(states[0][1], states[1][1])


def test_an_epoch_can_start_late_and_the_next_is_whole():
    whole = list(BatchOrder(10, 3, True, torch.Generator().manual_seed(3)))
    order = BatchOrder(10, 3, True, torch.Generator().manual_seed(3))
    order.skip(2)
    assert [list(batch) for batch in order] == [list(batch) for batch in whole[2:]]
    assert len(list(order)) == 4
    assert [list(batch) for batch in BatchOrder(5, 2, False, None)] == [[0, 1], [2, 3], [4]]
    with pytest.raises(ValueError, match="got num_samples=0"):
        BatchOrder(0, 3, True, None)


@pytest.mark.parametrize("world", [2, 3, 5])
def test_processes_share_each_batch_of_one_process(world):
    whole = list(BatchOrder(10, 4, True, torch.Generator().manual_seed(3)))
    ranks = [BatchOrder(10, 4, True, torch.Generator().manual_seed(3), rank, world) for rank in range(world)]
    for number, parts in enumerate(zip(*ranks, strict=True)):
        batch = whole[number]
        weights = [order.share(number).weight for order in ranks]
        assert sum(weights) == pytest.approx(world)
        real = [part for part, weight in zip(parts, weights, strict=True) if weight]
        assert sorted(np.concatenate(real)) == sorted(batch)
        assert all(list(part) == [batch[0]] for part, weight in zip(parts, weights, strict=True) if not weight)
        # the mean over processes of weight * mean over the part is the mean over the batch
        mean = sum(weight * part.mean() for part, weight in zip(parts, weights, strict=True)) / world
        assert mean == pytest.approx(batch.mean())
