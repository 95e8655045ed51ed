"""Shares of a batch, against one process that has it all."""

import numpy as np
import pytest
import torch

from recbole_mind.layers.batch_shards import Share


def parts(rows, world):
    return [Share(rank, world, rows) for rank in range(world)]


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("rows", [1, 2, 6, 10])
def test_shares_hold_every_row_once_and_their_weights_make_the_mean(rows, world):
    whole = torch.arange(1.0, rows + 1)
    shares = parts(rows, world)
    mine = [share.mine(whole) for share in shares]
    real = [part for part, share in zip(mine, shares, strict=True) if share.weight]
    assert sorted(torch.cat(real).tolist()) == whole.tolist()
    assert all(part.tolist() == [1.0] for part, share in zip(mine, shares, strict=True) if not share.weight)
    mean = sum(share.weight * part.mean() for part, share in zip(mine, shares, strict=True)) / world
    assert float(mean) == pytest.approx(float(whole.mean()))
    assert {share.total(len(part)) for share, part in zip(shares, mine, strict=True)} == {rows}


def test_a_share_finds_its_rows_again_among_those_of_all():
    whole = np.arange(10)
    shares = parts(10, 4)
    everything = torch.from_numpy(np.concatenate([share.mine(whole) for share in shares]))
    for share in shares:
        assert share.own(everything).tolist() == share.mine(whole).tolist()
    few = parts(2, 3)
    everything = torch.tensor([0, 1])
    assert [share.own(everything).tolist() for share in few] == [[0], [1], [0]]  # the last has a row of weight 0


def test_one_process_has_it_all():
    share, whole = Share(), torch.arange(5)
    assert share.weight == 1.0
    assert share.mine(whole) is share.everywhere(whole) is share.own(whole) is whole
    assert share.total(5) == 5
