"""Tables and other parameters in one optimizer."""

from __future__ import annotations

import copy

import torch

from recbole_mind.layers.embeddings import Table
from recbole_mind.training.optimizer import TableOptimizer, catch_up


class TwoParts(torch.nn.Module):
    """A table and a parameter that is none."""

    def __init__(self):
        super().__init__()
        self.items, self.scale = Table(6, 2), torch.nn.Parameter(torch.ones(2))

    def advance(self, optimizer, ids):
        optimizer.zero_grad()
        ((self.items(torch.tensor(ids)) * self.scale) - 1).square().sum().backward()
        optimizer.step()


def test_tables_follow_the_learning_rate_of_param_groups_and_of_a_checkpoint():
    def adam(parameters):
        return torch.optim.Adam(parameters, lr=0.05)

    torch.manual_seed(0)
    sparse, dense = TwoParts(), TwoParts()
    dense.load_state_dict(sparse.state_dict())
    optimizers = TableOptimizer(sparse, 0.05, adam), adam(list(dense.parameters()))
    for ids, rate in (([1, 2], 0.05), ([2, 3], 0.05), ([1, 3], 0.2), ([3, 4], 0.01)):
        for model, optimizer in zip((sparse, dense), optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = rate
            model.advance(optimizer, ids)
    resumed = TwoParts()
    resumed.load_state_dict(sparse.state_dict())
    again = TableOptimizer(resumed, 0.7, adam)  # another rate than the checkpoint's
    again.load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    assert again.tables["items"].learning_rate == again.param_groups[0]["lr"] == 0.01
    caught_up = TwoParts()
    caught_up.load_state_dict(sparse.state_dict())
    catch_up(caught_up, optimizers[0].state_dict())
    torch.testing.assert_close(caught_up.items.weight, dense.items.weight, atol=1e-6, rtol=0)
    for model, optimizer in ((sparse, optimizers[0]), (resumed, again), (dense, optimizers[1])):
        optimizer.param_groups[0]["lr"] = 0.1
        model.advance(optimizer, [1, 5])
    for model, optimizer in ((sparse, optimizers[0]), (resumed, again)):
        optimizer.flush()
        torch.testing.assert_close(model.items.weight, dense.items.weight, atol=1e-6, rtol=0)
        torch.testing.assert_close(model.scale, dense.scale, atol=1e-6, rtol=0)
