"""RowAdam against torch's Adam on the dense table, and against Adam's recurrence written as a loop in float64."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from recbole_mind.errors import InputError
from recbole_mind.layers.row_adam import RowAdam

N, D = 40, 3


def table(rows=N, size=D, seed=0):
    """A table [rows, size] with a zero row 0."""
    weight = torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))
    weight[0] = 0
    return torch.nn.Parameter(weight)


class Dense:
    """torch's own Adam on the whole table, in double precision; row 0 has no gradient, as with ``padding_idx``."""

    def __init__(self, weight, learning_rate):
        self.weight = torch.nn.Parameter(weight.detach().double())
        self.optimizer = torch.optim.Adam([self.weight], lr=learning_rate)

    def step(self, ids, gradient):
        self.weight.grad = torch.zeros_like(self.weight)
        self.weight.grad[ids] = gradient.double()
        self.weight.grad[0] = 0
        self.optimizer.step()


def used(generator, step):
    """The ids of a step: few, ascending, some of them seldom used, sometimes with the padding, sometimes none."""
    if step % 17 == 5:
        return torch.empty(0, dtype=torch.int64)
    some = torch.rand(N, generator=generator) < 4 / N
    some[N - 5 :] &= step % 97 == 1  # rows that miss a hundred steps at a time
    some[N - 1] = step in (0, 398)  # and one that misses nearly all
    some[0] = step % 2 == 0
    return some.nonzero()[:, 0]


def advance(sparse, dense, steps, *, scale, seed=1, start=0):
    """Take ``steps`` steps with both; what sparse gives out must be up to date each time."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(start, start + steps):
        ids = used(generator, step)
        gradient = torch.randn(len(ids), D, generator=generator) * scale
        rows = sparse.take(ids)
        if dense is not None:
            torch.testing.assert_close(rows.detach().double(), dense.weight.detach()[ids], atol=2e-5, rtol=0)
            dense.step(ids, gradient)
        (rows * gradient).sum().backward()
        sparse.step()


@pytest.mark.parametrize("learning_rate", [0.001, 0.05])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_hundreds_of_sparse_steps_are_dense_adams(scale, learning_rate):
    weight = table()
    start = weight.detach().clone()
    dense = Dense(weight, learning_rate)
    sparse = RowAdam(weight, learning_rate)
    advance(sparse, dense, 400, scale=scale)
    sparse.flush()
    moved = dense.weight.detach() - start
    assert moved[1:-5].abs().min() > 0  # all of them were used
    found = weight.detach().double() - start
    torch.testing.assert_close(found, moved, atol=learning_rate * 1e-3 + 4e-6, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-6, 1e-7])
def test_gradients_near_epsilon_move_rows_as_dense_adam_does_within_a_hundredth(scale):
    weight = table()
    start = weight.detach().clone()
    dense = Dense(weight, 0.01)
    sparse = RowAdam(weight, 0.01)
    generator = torch.Generator().manual_seed(2)
    for step in range(300):
        ids = used(generator, step)
        gradient = torch.randn(len(ids), D, generator=generator) * scale
        dense.step(ids, gradient)
        (sparse.take(ids) * gradient).sum().backward()
        sparse.step()
    sparse.flush()
    moved = dense.weight.detach() - start
    torch.testing.assert_close(weight.detach().double() - start, moved, atol=0.01 * float(moved.abs().max()), rtol=0)


def test_an_unused_row_goes_on_moving_after_its_gradient_as_in_dense_adam():
    """One step, then nothing: by hand, row 1 moves at once by the learning rate and then by what momentum is left."""
    weight = torch.nn.Parameter(torch.zeros(3, 1))
    sparse = RowAdam(weight, 0.1)
    (sparse.take(torch.tensor([1, 2])) * torch.tensor([[2.0], [0.0]])).sum().backward()
    sparse.step()
    assert float(weight[1]) == pytest.approx(-0.1)
    for _ in range(2):
        sparse.step()
    sparse.flush()
    expected, m, v = 0.0, 0.2, 0.004  # after the first step: (1 - β1) 2, (1 - β2) 4
    for t in (1, 2, 3):
        expected -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        m, v = 0.9 * m, 0.999 * v
    assert float(weight[1]) == pytest.approx(expected, rel=1e-5)
    assert float(weight[2]) == 0


def test_row_0_never_moves_and_keeps_no_moments():
    weight = table()
    sparse = RowAdam(weight, 0.1)
    for ids in (torch.tensor([0, 1, 2]), torch.tensor([0]), torch.tensor([0, 0, 0, 5])):
        rows = sparse.take(ids)
        assert not rows[ids == 0].any()
        (rows * 3 + 1).square().sum().backward()
        assert rows.grad[ids == 0].any()
        sparse.step()
        assert not weight[0].any()
        assert not sparse.state_dict()["first"][0].any()
        assert not sparse.state_dict()["second"][0].any()
    sparse.flush()
    assert not weight[0].any()


def test_rows_taken_without_a_gradient_move_by_their_momentum_alone():
    weight = table()
    dense = Dense(weight, 0.05)
    sparse = RowAdam(weight, 0.05)
    advance(sparse, dense, 10, scale=1.0)
    ids = torch.arange(1, 30)
    sparse.take(ids)  # and the loss does not use them
    sparse.step()
    dense.step(ids, torch.zeros(29, D))
    sparse.flush()
    torch.testing.assert_close(weight.detach().double(), dense.weight.detach(), atol=1e-5, rtol=0)


def test_taking_rows_alone_changes_nothing():
    weight = table()
    sparse = RowAdam(weight, 0.05)
    advance(sparse, None, 20, scale=1.0)
    before = weight.detach().clone()
    state = {key: copy.deepcopy(value) for key, value in sparse.state_dict().items()}
    rows = sparse.take(torch.arange(1, N))
    assert not torch.equal(rows.detach(), before[1:])  # they were behind
    assert torch.equal(weight, before)
    for key, value in sparse.state_dict().items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(state[key])), key


def test_a_second_flush_changes_nothing_and_take_then_gives_the_table():
    weight = table(rows=(1 << 14) + 50)  # more than one block
    sparse = RowAdam(weight, 0.05)
    ids = torch.tensor([1, 7, (1 << 14) - 1, 1 << 14, (1 << 14) + 49])
    sparse.take(ids).square().sum().backward()
    sparse.step()
    sparse.step()
    before = weight.detach().clone()
    sparse.flush()
    assert (weight != before).any(1).nonzero()[:, 0].tolist() == ids.tolist()
    flushed = {"weight": weight.detach().clone()} | copy.deepcopy(sparse.state_dict())
    sparse.flush()
    for key, value in {"weight": weight.detach(), **sparse.state_dict()}.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(flushed[key])), key
    assert torch.equal(sparse.take(ids).detach(), weight[ids])


def test_flushing_between_steps_changes_nothing_but_rounding():
    finals = []
    for often in (False, True):
        weight = table()
        sparse = RowAdam(weight, 0.01)
        for step in range(0, 120, 3):
            advance(sparse, None, 3, scale=1.0, seed=step, start=step)
            if often:
                sparse.flush()
        sparse.flush()
        finals.append(weight.detach())
    torch.testing.assert_close(finals[0], finals[1], atol=1e-5, rtol=0)


def test_a_saved_state_goes_on_bit_equal():
    weight = table()
    whole = RowAdam(weight, 0.02)
    advance(whole, None, 100, scale=1.0, seed=3)
    saved = copy.deepcopy({"weight": weight.detach(), "state": whole.state_dict()})
    advance(whole, None, 100, scale=1.0, seed=4, start=100)
    whole.flush()

    other = table(seed=9)
    resumed = RowAdam(other, 0.02)
    advance(resumed, None, 5, scale=1.0, seed=5)  # has a past of its own, to be forgotten
    other.data.copy_(saved["weight"])
    resumed.load_state_dict(saved["state"])
    advance(resumed, None, 100, scale=1.0, seed=4, start=100)
    resumed.flush()
    assert torch.equal(other, weight)
    assert not torch.equal(other, saved["weight"])
    for key, value in whole.state_dict().items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(resumed.state_dict()[key])), key


@pytest.mark.parametrize("shape", [(N + 1, D), (N, D + 1), (N,)])
def test_a_state_of_another_shape_is_refused_by_both_shapes(shape):
    state = RowAdam(table(), 0.1).state_dict() | {"first": torch.zeros(shape), "second": torch.zeros(shape)}
    with pytest.raises(InputError) as error:
        RowAdam(table(), 0.1).load_state_dict(state)
    assert str(list(shape)) in str(error.value)
    assert str([N, D]) in str(error.value)
    assert "\n" not in str(error.value)


# -- long after the start ----------------------------------------------------------------------------------------------


def loop(weight, first, second, last, steps, learning_rate):
    """Dense Adam without gradients from step ``last`` [N] to ``steps``, one step at a time, in float64."""
    weight, first, second = (np.array(part, dtype=np.float64) for part in (weight, first, second))
    for t in range(min(last) + 1, steps + 1):
        behind = np.array(last) < t
        first[behind] *= 0.9
        second[behind] *= 0.999
        size = np.sqrt(second[behind] / (1 - 0.999**t)) + 1e-8
        weight[behind] -= learning_rate * first[behind] / (1 - 0.9**t) / size
    return weight, first, second


@pytest.mark.parametrize(
    ("last", "steps"),
    [
        ([0, 1, 2, 5, 10, 11], 12),
        ([0, 1, 10, 100, 1000, 2999], 3000),
        ([31000, 32000, 32767, 32768, 32769, 33500], 33501),  # around the end of the table of sums
        ([32767, 32768], 32768),
        ([40000, 41000, 41990, 41999, 42000], 42000),
        ([1, 3, 40, 5000], 36000),  # missed for very long
    ],
    ids=lambda value: str(value)[:30],
)
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_missed_steps_equal_a_loop_at_any_step(last, steps, scale):
    generator = torch.Generator().manual_seed(steps)
    rows = len(last)
    # weights of 0, so that nothing hides how far they move
    first = torch.cat([torch.zeros(1, D), torch.randn(rows, D, generator=generator) * scale])
    second = torch.cat([torch.zeros(1, D), torch.rand(rows, D, generator=generator) * scale**2 + 0.1 * scale**2])
    expected = loop(np.zeros((rows, D)), first[1:], second[1:], last, steps, 0.1)
    weight = torch.nn.Parameter(torch.zeros(rows + 1, D))
    for flushed in (False, True):
        sparse = RowAdam(weight, 0.1)
        sparse.load_state_dict(
            {"steps": steps, "last": torch.tensor([0, *last], dtype=torch.int32), "first": first, "second": second}
        )
        if flushed:
            sparse.flush()
            state = sparse.state_dict()
            assert state["last"][1:].tolist() == [steps] * rows
            found = weight.detach()[1:], state["first"][1:], state["second"][1:]
        else:
            found = (sparse.take(torch.arange(1, rows + 1)).detach(),)
        for mine, reference in zip(found, expected, strict=False):
            # a row that missed nothing must stand exactly, one that missed some must be close in proportion
            torch.testing.assert_close(mine.double(), torch.from_numpy(reference), rtol=2e-5, atol=1e-9 * scale)


def test_steps_long_after_the_start_are_dense_adams():
    """From step 50,000 on, with torch's Adam set to the same step."""
    weight = table()
    dense, sparse = Dense(weight, 0.01), RowAdam(weight, 0.01)
    advance(sparse, dense, 1, scale=1.0)
    sparse.flush()
    for state in dense.optimizer.state.values():
        state["step"].fill_(50_000)
        first, second = state["exp_avg"].float(), state["exp_avg_sq"].float()
    state = {"steps": 50_000, "last": torch.full((N,), 50_000), "first": first, "second": second}
    sparse.load_state_dict(state)
    advance(sparse, dense, 300, scale=1.0, seed=7)
    sparse.flush()
    torch.testing.assert_close(weight.detach().double(), dense.weight.detach(), atol=2e-5, rtol=0)


# -- the learning rate from outside ---------------------------------------------------------------------------------


def test_a_learning_rate_that_is_changed_is_dense_adams_from_there_on():
    weight = table()
    dense, sparse = Dense(weight, 0.05), RowAdam(weight, 0.05)
    for turn, rate in enumerate((0.05, 0.002, 0.0, 0.03)):
        dense.optimizer.param_groups[0]["lr"] = sparse.learning_rate = rate
        advance(sparse, dense, 40, scale=1.0, seed=turn)  # most rows are behind when it changes
    sparse.flush()
    assert sparse.learning_rate == 0.03
    torch.testing.assert_close(weight.detach().double(), dense.weight.detach(), atol=5e-5, rtol=0)


def test_a_learning_rate_that_is_changed_between_take_and_step_counts_for_that_step():
    weight = torch.nn.Parameter(torch.zeros(3, 1))
    sparse = RowAdam(weight, 0.1)
    (sparse.take(torch.tensor([1])) * 2.0).sum().backward()
    sparse.learning_rate = 0.5
    sparse.step()
    assert float(weight[1]) == pytest.approx(-0.5)


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf")])
def test_a_learning_rate_that_is_none_is_refused(rate):
    sparse = RowAdam(table(), 0.1)
    with pytest.raises(InputError, match=r"learning_rate: .* is not allowed; allowed: a number, at least 0"):
        sparse.learning_rate = rate
    assert sparse.learning_rate == 0.1
