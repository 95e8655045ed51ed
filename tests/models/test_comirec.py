"""ComiRec's layers: self-attentive pooling and the routing whose interests have maps of their own."""

from __future__ import annotations

import math

import pytest
import torch

from recbole_mind.errors import InputError
from recbole_mind.layers.attention import SelfAttentivePooling
from recbole_mind.layers.comirec_routing import MappedRouting
from tests.layers.test_routing import histories
from tests.support import references

both_maps = pytest.mark.parametrize("maps", ["position", "interest"])
scales = pytest.mark.parametrize("scale", [None, 5.0])
GAP = 10.0


def pooling(**changes):
    """A pooling layer with every argument named; its places are drawn, so that they are not the zeros they start as."""
    arguments = {"size": 8, "num_interests": 4, "max_length": 50, "hidden": 12, "positions": True} | changes
    torch.manual_seed(0)
    layer = SelfAttentivePooling(**arguments)
    for weight in (layer.inner.weight, layer.outer.weight, layer.positions):
        if weight is not None:
            torch.nn.init.normal_(weight)
    return layer


def routing(**changes):
    """A routing layer with every argument named; its maps are drawn, so that they differ between positions."""
    arguments = {"size": 8, "num_interests": 4, "max_length": 50, "iterations": 3, "maps": "position", "scale": None}
    torch.manual_seed(0)
    layer = MappedRouting(**(arguments | changes))
    layer.maps.data += torch.randn(layer.maps.shape) / layer.maps.shape[-2] ** 0.5
    return layer


def matrices(layer, j):
    """The maps [K][D][D] of position j, each to be multiplied with a behaviour from its right."""
    maps = layer.maps if layer.maps.dim() == 2 else layer.maps[j]  # [D, K·D]
    return maps.detach().T.reshape(layer.num_interests, *[len(maps)] * 2).tolist()


def layers(name, **changes):
    return pooling(**changes) if name == "pooling" else routing(**changes)


def interests_of(layer, behaviors, mask):
    return layer(behaviors, mask)[0]


both_layers = pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("pooling", {}),
        ("pooling", {"positions": False}),
        ("routing", {}),
        ("routing", {"maps": "interest"}),
        ("routing", {"scale": 5.0}),
    ],
    ids=["pooling", "without places", "routing", "a map for an interest", "scaled"],
)


# -- against the references --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize(("num_interests", "size", "hidden"), [(1, 8, 3), (4, 16, 64), (7, 3, 5)])
def test_pooling_equals_reference(positions, num_interests, size, hidden):
    layer = pooling(num_interests=num_interests, size=size, hidden=hidden, positions=positions)
    lengths = [1, 2, 3, 9, 17]
    behaviors, mask = histories(lengths, size=size, padded_to=19)
    interests, weights = layer(behaviors, mask)
    places = layer.positions.tolist() if positions else None
    for row, length in enumerate(lengths):
        real = behaviors[row, :length].tolist()
        expected = references.pool(real, layer.inner.weight.tolist(), layer.outer.weight.tolist(), places)
        torch.testing.assert_close(interests[row], torch.tensor(expected[0]), atol=1e-5, rtol=0)
        torch.testing.assert_close(weights[row, :, :length], torch.tensor(expected[1]), atol=1e-5, rtol=0)
        assert not weights[row, :, length:].any()


@both_maps
@scales
@pytest.mark.parametrize(("num_interests", "iterations", "size"), [(1, 3, 8), (4, 1, 8), (4, 3, 16), (7, 5, 3)])
def test_mapped_routing_equals_reference(maps, scale, num_interests, iterations, size):
    layer = routing(num_interests=num_interests, iterations=iterations, size=size, maps=maps, scale=scale)
    lengths = [1, 2, 3, 9, 17]
    behaviors, mask = histories(lengths, size=size, padded_to=19)
    found = layer(behaviors, mask)
    assert found.active.all()
    assert found.active.shape == (5, num_interests)
    for row, length in enumerate(lengths):
        real, own = behaviors[row, :length].tolist(), [matrices(layer, j) for j in range(length)]
        expected = references.route_mapped(real, own, iterations=iterations, scale=scale, gap=GAP)
        torch.testing.assert_close(found.interests[row], torch.tensor(expected[0]), atol=2e-4, rtol=0)
        torch.testing.assert_close(found.coupling[row, :, :length], torch.tensor(expected[1]), atol=2e-4, rtol=0)
        assert not found.coupling[row, :, length:].any()


# -- values by hand ----------------------------------------------------------------------------------------------------


def test_pooling_of_two_behaviours_by_hand():
    layer = SelfAttentivePooling(size=2, num_interests=2, max_length=2, hidden=1, positions=True)
    layer.inner.weight.data = torch.tensor([[1.0, 0.0]])
    layer.outer.weight.data = torch.tensor([[0.0], [math.log(3)]])
    behaviors, mask = torch.tensor([[[50.0, 0.0], [-50.0, 2.0]]]), torch.ones(1, 2, dtype=torch.bool)
    # tanh(±50) is ±1: the first interest weighs both alike, the second has logits ln 3 and -ln 3, so 9 : 1
    interests, weights = layer(behaviors, mask)
    torch.testing.assert_close(weights[0], torch.tensor([[0.5, 0.5], [0.9, 0.1]]))
    torch.testing.assert_close(interests[0], torch.tensor([[0.0, 1.0], [40.0, 0.2]]))
    layer.positions.data = torch.tensor(
        [[-100.0, 0.0], [100.0, 0.0]]
    )  # the second place now wins; the sum is as it was
    torch.testing.assert_close(layer(behaviors, mask)[0][0, 1], torch.tensor([-40.0, 1.8]))


def test_places_count_from_the_oldest_behaviour():
    layer = pooling()
    behaviors, mask = histories([5, 5], padded_to=9)
    before = interests_of(layer, behaviors, mask)
    layer.positions.data[5:] += 3
    assert torch.equal(interests_of(layer, behaviors, mask), before)
    layer.positions.data[0] += 3
    assert not torch.allclose(interests_of(layer, behaviors, mask), before)


def test_without_places_and_with_one_map_the_order_does_not_matter():
    behaviors, mask = histories([9])
    turned = behaviors.flip(1)
    for layer, sees in (
        (pooling(positions=False), False),
        (pooling(), True),
        (routing(maps="interest"), False),
        (routing(), True),
    ):
        same = torch.allclose(interests_of(layer, behaviors, mask), interests_of(layer, turned, mask), atol=1e-5)
        assert same != sees


def test_one_iteration_shares_every_behaviour_equally():
    # two interests, of which one sees behaviours doubled: half of each behaviour is (1.5, 2), and (3, 4)
    layer = MappedRouting(size=2, num_interests=2, max_length=3, iterations=1, maps="interest", scale=None)
    layer.maps.data = torch.cat([torch.eye(2), 2 * torch.eye(2)], dim=1)
    behaviors, mask = torch.tensor([[[3.0, 0.0], [0.0, 4.0]]]), torch.ones(1, 2, dtype=torch.bool)
    found = layer(behaviors, mask)
    torch.testing.assert_close(found.coupling, torch.full((1, 2, 2), 0.5))
    expected = [[6.25 / 7.25 * 0.6, 6.25 / 7.25 * 0.8], [25 / 26 * 0.6, 25 / 26 * 0.8]]
    torch.testing.assert_close(found.interests[0], torch.tensor(expected))


# -- the start ---------------------------------------------------------------------------------------------------------


@both_maps
def test_interests_start_apart_but_beside_their_behaviours(maps):
    """Logits start at zero, so that equal maps would leave all interests equal for ever."""
    torch.manual_seed(0)
    arguments = {"size": 16, "num_interests": 4, "max_length": 50, "iterations": 3, "maps": maps, "scale": 5.0}
    layer = MappedRouting(**arguments)
    behaviors, mask = histories([20] * 50, size=16)
    interests = torch.nn.functional.normalize(layer(behaviors, mask).interests, dim=2)
    cosine = (interests @ interests.transpose(1, 2)).detach()
    others = cosine[:, ~torch.eye(4, dtype=torch.bool)]
    assert others.max() < 0.99
    behaviors = torch.nn.functional.normalize(behaviors, dim=2)
    nearest = (interests @ behaviors.transpose(1, 2)).amax(2)
    assert nearest.mean() > 0.5
    layer.maps.data = torch.eye(16).repeat(1, 4).expand_as(layer.maps).clone()
    alike = layer(behaviors, mask)
    torch.testing.assert_close(alike.coupling, torch.full_like(alike.coupling, 0.25))
    torch.testing.assert_close(alike.interests, alike.interests[:, :1].expand(-1, 4, -1))


def test_maps_of_all_positions_start_as_those_of_one():
    starts = []
    for maps in ("position", "interest"):
        torch.manual_seed(3)
        starts.append(MappedRouting(size=4, num_interests=2, max_length=5, iterations=3, maps=maps, scale=None).maps)
    assert torch.equal(starts[0], starts[1].expand(5, -1, -1))


def test_weights_start_alike_for_the_same_seed():
    for make in (pooling, routing):
        first, second = make().state_dict(), make().state_dict()
        assert all(torch.equal(first[key], second[key]) for key in first)


# -- gradients ---------------------------------------------------------------------------------------------------------


@both_maps
@scales
def test_gradients_flow_through_the_last_iteration_only(maps, scale):
    """Those of the squashed sums, with the coupling as it stands."""
    layer = routing(maps=maps, scale=scale)
    behaviors, mask = histories([3, 9, 17])
    behaviors.requires_grad_()
    found = layer(behaviors, mask)
    assert not found.coupling.requires_grad
    inputs = (behaviors, layer.maps)
    found = torch.autograd.grad(found.interests.square().sum(), inputs)
    votes = layer.vote(behaviors)
    sums = (layer(behaviors, mask).coupling[..., None] * votes).sum(2)
    length = sums.norm(dim=2, keepdim=True)
    expected = torch.autograd.grad((sums * length / (1 + length**2)).square().sum(), inputs)
    for one, other in zip(found, expected, strict=True):
        assert one.abs().sum() > 0
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_every_iteration_counts():
    behaviors, mask = histories([9, 17])
    found = [routing(iterations=iterations, scale=5.0)(behaviors, mask).coupling for iterations in (1, 2, 3)]
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[1], found[2])


def test_gradient_of_pooling_equals_finite_differences():
    layer = pooling(size=3, num_interests=2, hidden=4).double()
    behaviors, mask = histories([1, 4], size=3)
    weights = torch.randn(2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(
        lambda h: (layer(h, mask)[0] * weights).sum(), behaviors.double().requires_grad_(), raise_exception=True
    )


# -- padding -----------------------------------------------------------------------------------------------------------


@both_layers
def test_padding_to_8_or_20_or_50_gives_equal_interests(name, changes):
    layer, lengths = layers(name, **changes), [1 + n % 8 for n in range(100)]
    short, middle, long = (interests_of(layer, *histories(lengths, padded_to=L)) for L in (8, 20, 50))
    torch.testing.assert_close(short, long, atol=1e-5, rtol=0)
    torch.testing.assert_close(middle, long, atol=1e-5, rtol=0)


@both_layers
def test_what_stands_in_the_padding_does_not_matter(name, changes):
    layer = layers(name, **changes)
    behaviors, mask = histories([1, 5, 11], padded_to=20)
    dirty = torch.where(mask[:, :, None], behaviors, 1e6).requires_grad_()
    found = interests_of(layer, dirty, mask)
    torch.testing.assert_close(found, interests_of(layer, behaviors, mask), atol=1e-6, rtol=0)
    found.sum().backward()
    assert not dirty.grad[~mask].any()


@both_layers
def test_a_row_of_only_padding_gives_zeros_and_zero_gradients(name, changes):
    layer = layers(name, **changes)
    behaviors, mask = histories([0, 6])
    behaviors.requires_grad_()
    found = interests_of(layer, behaviors, mask)
    found.sum().backward()
    assert not found[0].any()
    assert not behaviors.grad[0].any()
    assert torch.isfinite(behaviors.grad).all()


@both_layers
def test_a_history_shorter_than_k_has_k_interests(name, changes):
    """Each has a direction, however sharply the routing shares one behaviour out."""
    layer = layers(name, **changes)
    behaviors, mask = histories([1, 2, 3])
    for times in (1, 30):
        unit = torch.nn.functional.normalize(interests_of(layer, behaviors * times, mask), dim=2)
        torch.testing.assert_close(unit.norm(dim=2), torch.ones(3, 4))


@both_layers
def test_two_calls_are_bit_equal(name, changes):
    layer = layers(name, **changes)
    behaviors, mask = histories([5, 12, 50])
    assert torch.equal(interests_of(layer, behaviors, mask), interests_of(layer, behaviors, mask))


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("pooling", {"num_interests": 0}, "K: 0 is not allowed"),
        ("pooling", {"hidden": 0}, "attention_size: 0 is not allowed"),
        ("routing", {"num_interests": 0}, "K: 0 is not allowed"),
        ("routing", {"iterations": 0}, "routing_iterations: 0 is not allowed"),
        ("routing", {"maps": "user"}, "routing_maps: 'user' is unknown; allowed: position, interest"),
    ],
)
def test_a_bad_argument_is_refused_by_name(name, changes, message):
    with pytest.raises(InputError, match=message):
        layers(name, **changes)


@both_layers
def test_a_history_longer_than_the_longest_is_refused(name, changes):
    with pytest.raises(InputError, match="a history of 9 behaviours is too long; MAX_ITEM_LIST_LENGTH is 8"):
        interests_of(layers(name, max_length=8, **changes), *histories([9]))
