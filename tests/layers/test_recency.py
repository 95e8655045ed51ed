import math

import pytest
import torch

from recbole_mind.errors import InputError
from recbole_mind.layers.recency import OCTAVES, Recency, recency_weights

LENGTHS = torch.tensor([1, 3, 0])


def test_recency_weights_by_hand():
    found = recency_weights(LENGTHS, 4, 0.5)
    assert found.tolist() == [[1, 0, 0, 0], [0.25, 0.5, 1, 0], [0, 0, 0, 0]]
    assert recency_weights(torch.tensor([2]), 3, 1.0).tolist() == [[1, 1, 0]]


@pytest.mark.parametrize("value", [1, 0.5])
def test_a_fixed_recency_is_one_curve_without_parameters(value):
    layer = Recency(value, start=0.4, max_length=9)
    assert not list(layer.parameters())
    assert layer.even == (value == 1)
    assert torch.equal(layer(LENGTHS, 4), recency_weights(LENGTHS, 4, value)[:, None])


def test_a_learned_curve_starts_as_a_power():
    layer = Recency("learned", start=0.4, max_length=9, curves=3)
    assert not layer.even
    assert layer.log_weights.shape == (1, 9)
    torch.testing.assert_close(layer(LENGTHS, 4), recency_weights(LENGTHS, 4, 0.4)[:, None])


def test_curves_of_interests_start_from_the_newest_to_the_whole_history():
    layer = Recency("per_interest", start=0.2, max_length=9, curves=3)
    expected = [recency_weights(LENGTHS, 4, start) for start in (0.2, 0.6, 1.0)]
    torch.testing.assert_close(layer(LENGTHS, 4), torch.stack(expected, 1))
    assert Recency("per_interest", start=0.2, max_length=9).log_weights.shape == (1, 9)


def test_a_weight_is_of_its_place_from_the_end_and_padding_has_none():
    layer = Recency("learned", start=1.0, max_length=4)
    layer.log_weights.data = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    torch.testing.assert_close(layer(LENGTHS, 4).log()[:, 0][1, :3], torch.tensor([2.0, 1.0, 0.0]))
    layer(LENGTHS, 4)[1].sum().backward()
    torch.testing.assert_close(
        layer.log_weights.grad, torch.tensor([[0.0, 1.0, 2.0, 0.0]]).exp() * torch.tensor([1, 1, 1, 0])
    )


# -- gaps of time ------------------------------------------------------------------------------------------------------


def weight_by_hand(layer, curve, after, gap):
    """One behaviour's weight: its place's, times exp of φ at log2 of its gap, between the two knots around it."""
    phi = layer.log_gap_weights[curve].tolist()
    place = float(layer.usual[after]) if gap < 0 else math.log2(min(max(gap, 2.0**-OCTAVES), 1.0)) + OCTAVES
    knot = min(math.floor(place), OCTAVES - 1)
    total = phi[knot] + (place - knot) * (phi[knot + 1] - phi[knot])
    if layer.log_weights is None:
        return layer.fixed**after * math.exp(total)
    return math.exp(layer.log_weights.detach()[curve, after].item() + total)


@pytest.mark.parametrize("recency", ["learned", "per_interest", 0.5, 1.0])
def test_weights_by_place_and_gap_are_those_made_one_by_one(recency):
    generator = torch.Generator().manual_seed(3)
    layer = Recency(recency, start=0.4, max_length=6, curves=3, time_gaps=True)
    assert not layer.even
    layer.log_gap_weights.data = torch.randn(layer.log_gap_weights.shape, generator=generator)
    layer.usual = OCTAVES * torch.rand(6, generator=generator)
    lengths, special = torch.tensor([6, 1, 4, 3]), torch.tensor([0.0, 2.0**-24, 2.0**-23, 1.0, 3.0, 1e-9, -1.0, 0.5])
    gaps = torch.cat([special, 10 ** (-8 * torch.rand(16, generator=generator))]).view(4, 6)
    found = layer(lengths, 6, gaps)
    assert found.shape == (4, 3 if recency == "per_interest" else 1, 6)
    for row, length in enumerate(lengths.tolist()):
        for curve in range(found.shape[1]):
            expected = [weight_by_hand(layer, curve, length - 1 - j, float(gaps[row, j])) for j in range(length)]
            torch.testing.assert_close(
                found[row, curve].tolist(), [*expected, *[0.0] * (6 - length)], rtol=1e-4, atol=0
            )
    unknown = torch.full_like(gaps, -1)
    assert torch.equal(layer(lengths, 6), layer(lengths, 6, unknown))
    assert not torch.equal(layer(lengths, 6), found)


def test_gaps_start_without_effect_and_are_learned():
    layer = Recency("learned", start=0.4, max_length=4, time_gaps=True)
    plain = Recency("learned", start=0.4, max_length=4)
    gaps = torch.tensor([[0.5, 0.25, 0.0], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(layer(LENGTHS, 3, gaps), plain(LENGTHS, 3))
    layer(LENGTHS, 3, gaps)[1].sum().backward()
    moved = layer.log_gap_weights.grad[0].nonzero()[:, 0].tolist()
    knot = math.floor(math.log2(0.1) + OCTAVES)
    assert moved == [knot, knot + 1]  # on padding nothing is learned


def test_the_usual_gap_is_the_median_at_its_place_and_reaches_beyond_the_longest_history():
    layer = Recency("learned", start=0.4, max_length=4, time_gaps=True)
    gaps = torch.tensor([[0.5, 0.25, 0.0], [0.125, 0.0, 9.0], [0.5, 0.0625, 0.0]])
    layer.set_usual(gaps, torch.tensor([3, 2, 3]))
    assert layer.usual.tolist() == [0, OCTAVES - 3, OCTAVES - 1, OCTAVES - 1]


@pytest.mark.parametrize(
    ("recency", "start", "key"),
    [(0.0, 0.4, "recency: 0.0"), (1.1, 0.4, "recency: 1.1"), ("late", 0.4, "recency: late"),
     ("learned", 0.0, "recency_start: 0.0"), ("per_interest", 1.5, "recency_start: 1.5")],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(recency, start, key):
    with pytest.raises(InputError, match=key):
        Recency(recency, start=start, max_length=3)
