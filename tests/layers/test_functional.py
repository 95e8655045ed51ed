"""Dropout, distinct ids, forks and vectors of a length, against plain torch."""

import pytest
import torch

from recbole_mind.layers.functional import different, different_padded, dropout, fork, keep_mask, unit

# -- each different item once ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), (40,), (9, 7), (4, 3, 5)])
@pytest.mark.parametrize("high", [1, 2, 10, 10_000])
def test_different_ids_are_found_with_their_places_on_both_devices_ways(shape, high):
    ids = torch.randint(0, high, shape, generator=torch.Generator().manual_seed(high))
    expected = sorted(set(ids.flatten().tolist()))
    for function in (different, different_padded):
        values, place = function(ids)
        assert place.shape == shape
        assert torch.equal(values[place], ids)
        assert values[: len(expected)].tolist() == expected
    assert len(different(ids)[0]) == len(expected)
    padded, place = different_padded(ids)
    assert len(padded) == ids.numel()
    assert not padded[len(expected) :].any()
    assert torch.equal(place, different(ids)[1])


# -- dropout -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probability", [0.1, 0.2, 0.5, 0.9, 0.995])
def test_dropout_keeps_as_many_as_it_says_and_the_mean(probability):
    n = 1_000_003
    found = dropout(torch.ones(n), probability, torch.Generator().manual_seed(3))
    kept = found != 0
    assert float(kept.double().mean()) == pytest.approx(1 - probability, abs=1 / 512 + 3e-3)
    assert float(found.double().mean()) == pytest.approx(1, abs=0.06 if probability > 0.99 else 0.02)
    (scale,) = found[kept].unique().tolist()
    assert 1 / scale == pytest.approx(1 - probability, abs=1 / 512 + 1e-9)
    assert scale * float(kept.double().mean()) == pytest.approx(1, abs=0.06 if probability > 0.99 else 0.02)


def test_dropout_decides_every_byte_on_its_own():
    kept = (dropout(torch.ones(80_000), 0.5, torch.Generator().manual_seed(0)) != 0).view(-1, 8).double()
    torch.testing.assert_close(kept.mean(0), torch.full((8,), 0.5, dtype=torch.float64), atol=0.02, rtol=0)
    together = torch.corrcoef(kept.T) - torch.eye(8)
    assert together.abs().max() < 0.05
    assert abs(float(torch.corrcoef(torch.stack([kept[1:, 0], kept[:-1, 0]]))[0, 1])) < 0.05


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 4), (0, 4)])
def test_dropout_is_decided_by_its_generator_and_passes_gradients_where_it_keeps(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
    found = [dropout(x, 0.4, torch.Generator().manual_seed(seed)) for seed in (2, 2)]
    assert torch.equal(found[0], found[1])
    found[0].sum().backward()
    torch.testing.assert_close(found[0].detach(), x.detach() * x.grad)


def test_dropout_of_0_gives_the_same_and_draws_nothing():
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    x = torch.randn(4, 5)
    assert torch.equal(dropout(x, 0.0, generator), x)
    assert torch.equal(generator.get_state(), state)
    dropout(x, 0.3, generator)
    assert not torch.equal(generator.get_state(), state)
    assert dropout(x.bfloat16(), 0.3, generator).dtype == torch.bfloat16


@pytest.mark.parametrize("probability", [0.0, 0.4])
def test_a_fork_is_a_product_and_a_lookup_with_the_sum_of_their_gradients(probability):
    generator = torch.Generator().manual_seed(0)
    vectors, place = torch.randn(6, 3, generator=generator), torch.tensor([4, 1, 4, 0, 5, 4])
    mask = keep_mask(vectors.shape, probability, generator)
    assert (mask is None) == (probability == 0)
    found = []
    for joined in (True, False):
        leaf = vectors.clone().requires_grad_()
        every, rows = fork(leaf, mask, place) if joined else (leaf if mask is None else leaf * mask, leaf[place])
        (every.sin().sum() + (rows * torch.arange(1.0, 4)).square().sum()).backward()
        found.append((every.detach(), rows.detach(), leaf.grad))
    torch.testing.assert_close(found[0], found[1])
    one = [vectors.clone().requires_grad_() for _ in range(2)]
    fork(one[0], mask, place)[0].sum().backward()  # one of the two may go unused
    fork(one[1], mask, place)[1].sum().backward()
    torch.testing.assert_close(one[0].grad, torch.ones(6, 3) if mask is None else mask)
    torch.testing.assert_close(one[1].grad, torch.bincount(place, minlength=6).float()[:, None].expand(6, 3))


# -- vectors of a length -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 5.0])
@pytest.mark.parametrize("shape", [(7,), (4, 7), (2, 3, 7)])
def test_unit_is_torchs_normalize_with_its_gradient(shape, scale):
    generator = torch.Generator().manual_seed(0)
    x, outer = torch.randn(shape, generator=generator) * 3, torch.randn(shape, generator=generator)
    if len(shape) > 1:
        x.view(-1, 7)[1] = 0
    found = []
    for function in (lambda v: unit(v, scale), lambda v: scale * torch.nn.functional.normalize(v, dim=-1)):
        leaf = x.clone().requires_grad_()
        (function(leaf) * outer).sum().backward()
        found.append((function(leaf).detach(), leaf.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)


def test_the_gradient_of_unit_is_its_derivative():
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: unit(v, 2.5), (x,))


def test_unit_of_zero_and_of_extremes_is_finite():
    x = torch.tensor([[0.0, 0.0], [3e-30, 4e-30], [3e15, -4e15]], requires_grad=True)
    unit(x, 5.0).sum().backward()
    assert torch.equal(unit(x)[0], torch.zeros(2))
    torch.testing.assert_close(unit(x)[2].detach(), torch.tensor([0.6, -0.8]))
    assert torch.isfinite(x.grad).all()
