import pytest
import torch

from recbole_mind.errors import InputError
from recbole_mind.layers.recency import Recency, recency_weights

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


@pytest.mark.parametrize(
    ("recency", "start", "key"),
    [(0.0, 0.4, "recency: 0.0"), (1.1, 0.4, "recency: 1.1"), ("late", 0.4, "recency: late"),
     ("learned", 0.0, "recency_start: 0.0"), ("per_interest", 1.5, "recency_start: 1.5")],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(recency, start, key):
    with pytest.raises(InputError, match=key):
        Recency(recency, start=start, max_length=3)
