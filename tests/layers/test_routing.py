import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_mind.errors import InputError
from recbole_mind.layers.routing import (
    BehaviorToInterestRouting,
    active_interests,
    interest_counts,
    seed_similarities,
    squash,
)
from tests.support import references

EXTREMES = [0.0, -0.0, 1e-45, -1e-40, 1e-23, 1e-19, -1e-6, 1.0, -1.0, 1e4, -1e15, 1e15]
numbers = st.sampled_from(EXTREMES) | st.floats(-(2.0**50), 2.0**50, width=32)
softmaxes = pytest.mark.parametrize("softmax", ["interests", "behaviors"])
inits = pytest.mark.parametrize("init", ["random", "kmeans++"])


def routing(**changes):
    """A routing layer with every argument named; S is drawn, so that it is not the identity it starts as."""
    arguments = {
        "size": 8,
        "num_interests": 4,
        "max_length": 50,
        "iterations": 3,
        "sigma": 1.0,
        "softmax": "interests",
        "init": "random",
        "scale": None,
        "recency": 1.0,
        "adaptive": True,
        "seed": 0,
    }
    layer = BehaviorToInterestRouting(**(arguments | changes))
    draw = torch.randn(layer.bilinear.weight.shape, generator=torch.Generator().manual_seed(1))
    layer.bilinear.weight.data = draw / draw.shape[0] ** 0.5
    return layer.eval()


def histories(lengths, *, size=8, padded_to=None, seed=2):
    """Behaviours [B, L, D] of about unit length, zeros after each row's length, and their mask [B, L]."""
    lengths = torch.tensor(lengths)
    L = padded_to or int(lengths.max())
    mask = torch.arange(L) < lengths[:, None]
    longest = int(lengths.max())  # drawn to the longest row only: the same data for every padded_to
    draw = torch.randn(len(lengths), longest, size, generator=torch.Generator().manual_seed(seed)) / size**0.5
    behaviors = torch.zeros(len(lengths), L, size)
    behaviors[:, :longest] = draw
    return behaviors * mask[:, :, None], mask


def reference(layer, behaviors, mask):
    return references.route_batch(
        behaviors.tolist(),
        mask.sum(1).tolist(),
        layer.bilinear.weight.tolist(),
        layer.initial_logits[:, : mask.shape[1]].expand(len(mask), -1, -1).tolist(),
        iterations=layer.iterations,
        softmax_over=layer.softmax,
        adaptive=layer.adaptive,
        init=layer.init,
        scale=layer.scale,
        recency=layer.recency.fixed or layer.recency.log_weights.exp().tolist(),
        whole=None if layer.share_logit is None else layer.whole_share().tolist(),
    )


# -- squash ------------------------------------------------------------------------------------------------------------


def test_squash_of_3_4_has_length_25_over_26():
    # |z| = 5, so squash(z) = 25/26 · (3/5, 4/5)
    torch.testing.assert_close(squash(torch.tensor([3.0, 4.0])), torch.tensor([15 / 26, 20 / 26]))
    torch.testing.assert_close(squash(torch.tensor([0.0, -1.0])), torch.tensor([0.0, -0.5]))


def test_squash_equals_reference():
    z = torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(0)) * 3
    expected = [[references.squash(vector) for vector in row] for row in z.tolist()]
    torch.testing.assert_close(squash(z), torch.tensor(expected), atol=1e-5, rtol=0)


def test_squash_of_zero_is_zero_with_zero_gradient():
    z = torch.zeros(2, 3, requires_grad=True)
    squash(z).sum().backward()
    assert torch.equal(squash(z), torch.zeros(2, 3))
    assert torch.equal(z.grad, torch.zeros(2, 3))


@settings(max_examples=200, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=6))
def test_squash_keeps_direction_and_stays_within_the_unit_ball(values):
    z = torch.tensor(values, requires_grad=True)
    u = squash(z)
    u.sum().backward()
    assert torch.isfinite(u).all()
    assert torch.isfinite(z.grad).all()
    assert u.norm() <= 1 + 1e-6
    exact = torch.tensor(references.squash([float(x) for x in z.detach()]))
    torch.testing.assert_close(u.detach(), exact, atol=1e-6, rtol=1e-5)
    assert (u * z >= 0).all()


# -- how many interests ------------------------------------------------------------------------------------------------


def test_interest_count_is_the_floored_logarithm_between_1_and_k():
    lengths = torch.tensor([1, 2, 3, 4, 7, 8, 15, 16, 1000])
    by_hand = {
        1: [1, 1, 1, 1, 1, 1, 1, 1, 1],
        2: [1, 1, 1, 2, 2, 2, 2, 2, 2],
        3: [1, 1, 1, 2, 2, 3, 3, 3, 3],
        4: [1, 1, 1, 2, 2, 3, 3, 4, 4],
        5: [1, 1, 1, 2, 2, 3, 3, 4, 5],
        6: [1, 1, 1, 2, 2, 3, 3, 4, 6],
        7: [1, 1, 1, 2, 2, 3, 3, 4, 7],
    }
    for num_interests, expected in by_hand.items():
        assert interest_counts(lengths, num_interests).tolist() == expected
        assert [references.interest_count(n, num_interests) for n in lengths.tolist()] == expected


def test_interest_count_equals_reference_around_every_power_of_two():
    lengths = sorted({2**e + d for e in range(21) for d in (-1, 0, 1)})
    expected = [references.interest_count(n, 30) for n in lengths]
    assert interest_counts(torch.tensor(lengths), 30).tolist() == expected


def test_active_interests_stand_first_and_are_all_unless_adaptive():
    lengths = torch.tensor([0, 1, 4, 100])
    adaptive = active_interests(lengths, 3, adaptive=True)
    assert adaptive.tolist() == [[True, False, False], [True, False, False], [True, True, False], [True, True, True]]
    assert active_interests(lengths, 3, adaptive=False).all()


# -- routing against the reference -------------------------------------------------------------------------------------


@softmaxes
@inits
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("scale", [None, 5.0])
@pytest.mark.parametrize("recency", [1.0, 0.7, "learned", "per_interest"])
@pytest.mark.parametrize(("num_interests", "iterations", "size"), [(1, 3, 8), (4, 1, 8), (4, 3, 16), (7, 5, 3)])
@pytest.mark.parametrize("whole_share", [0, 0.3])
def test_routing_equals_reference(
    softmax, init, adaptive, scale, recency, num_interests, iterations, size, whole_share
):
    layer = routing(
        recency=recency,
        recency_start=0.6,
        whole_share=whole_share,
        softmax=softmax,
        init=init,
        adaptive=adaptive,
        scale=scale,
        num_interests=num_interests,
        iterations=iterations,
        size=size,
        sigma=0.7,
    )
    behaviors, mask = histories([1, 2, 3, 4, 9, 17], size=size, padded_to=19)
    found = layer(behaviors, mask)
    interests, coupling = reference(layer, behaviors, mask)
    torch.testing.assert_close(found.interests, torch.tensor(interests), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.coupling, torch.tensor(coupling), atol=1e-5, rtol=0)


@softmaxes
def test_one_iteration_of_one_interest_is_squash_of_the_behaviours(softmax):
    layer = routing(num_interests=1, iterations=1, softmax=softmax, size=2)
    torch.nn.init.eye_(layer.bilinear.weight)
    behaviors, mask = torch.tensor([[[3.0, 0.0], [0.0, 4.0]]]), torch.ones(1, 2, dtype=torch.bool)
    layer.initial_logits.zero_()
    # the one interest takes the whole of each behaviour (sum 3, 4), or an equal share of both (mean 1.5, 2)
    expected = [15 / 26, 20 / 26] if softmax == "interests" else [6.25 / 7.25 * 0.6, 6.25 / 7.25 * 0.8]
    torch.testing.assert_close(layer(behaviors, mask).interests[0, 0], torch.tensor(expected))


def test_scale_makes_the_length_of_behaviours_irrelevant():
    layer = routing(scale=5.0)
    behaviors, mask = histories([9, 17])
    torch.testing.assert_close(layer(behaviors * 100, mask).interests, layer(behaviors, mask).interests)


def test_lengths_are_those_of_capsules_before_squash():
    layer = routing(scale=0.5)
    found = layer(*histories([9, 17]))
    torch.testing.assert_close(found.lengths**2 / (1 + found.lengths**2), found.interests.norm(dim=2))
    assert torch.equal(found.lengths > 0, found.active)


# -- the K-means++-like start ------------------------------------------------------------------------------------------


def test_seeds_are_one_behaviour_of_each_planted_block():
    x, y, z = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]
    votes, mask = torch.tensor([[z, x, y, x, y, x]]), torch.ones(1, 6, dtype=torch.bool)
    # the largest block first, then the next, each by its oldest behaviour
    expected = [[0, 1, 0, 1, 0, 1], [0, 0, 1, 0, 1, 0], [1, 0, 0, 0, 0, 0]]
    assert seed_similarities(votes, mask, 3)[0].tolist() == expected


def test_a_tie_between_seeds_goes_to_the_older_behaviour():
    # of two behaviours either covers the other as well: 1 + cos = cos + 1, and rounding must not decide
    votes, mask = histories([2] * 200, size=16, padded_to=50)
    similarities = seed_similarities(votes, mask, 1)[:, 0]
    torch.testing.assert_close(similarities[:, 0], torch.ones(200))


@pytest.mark.parametrize("size", [3, 16])
def test_seed_similarities_equal_reference(size):
    votes, mask = histories([3, 4, 9, 17], size=size, padded_to=20)
    found = seed_similarities(votes, mask, 4)
    for row, length in enumerate([3, 4, 9, 17]):
        behaviors = votes[row, :length].tolist()
        chosen = references.seeds(behaviors, min(4, length))
        expected = [[references.cosine(behaviors[seed], other) for other in behaviors] for seed in chosen]
        torch.testing.assert_close(found[row, : len(chosen), :length], torch.tensor(expected), atol=1e-5, rtol=0)


# -- coupling coefficients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_coupling_of_each_behaviour_sums_to_1_over_active_interests(training):
    behaviors, mask = histories([1, 3, 9, 20], padded_to=25)
    found = routing()(behaviors, mask, torch.Generator().manual_seed(0) if training else None)
    torch.testing.assert_close(found.coupling.sum(1), mask.float())
    assert not found.coupling[~found.active].any()


@pytest.mark.parametrize("training", [True, False])
def test_coupling_of_each_active_interest_sums_to_1_over_real_behaviours(training):
    behaviors, mask = histories([1, 3, 9, 20], padded_to=25)
    generator = torch.Generator().manual_seed(0) if training else None
    found = routing(softmax="behaviors")(behaviors, mask, generator)
    torch.testing.assert_close(found.coupling.sum(2), found.active.float())
    assert not found.coupling.transpose(1, 2)[~mask].any()


@softmaxes
def test_inactive_interests_are_zero(softmax):
    behaviors, mask = histories([1, 4, 9, 20])
    found = routing(softmax=softmax)(behaviors, mask)
    assert found.active.sum(1).tolist() == [1, 2, 3, 4]
    assert not found.interests[~found.active].any()
    assert (found.interests[found.active].norm(dim=1) > 0).all()


@softmaxes
@inits
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("scale", [None, 5.0])
def test_a_row_of_only_padding_gives_zeros_and_zero_gradients(softmax, init, adaptive, scale):
    layer = routing(softmax=softmax, init=init, adaptive=adaptive, scale=scale)
    behaviors, mask = histories([0, 6])
    behaviors.requires_grad_()
    found = layer(behaviors, mask)
    found.interests.sum().backward()
    assert not found.interests[0].any()
    assert not found.coupling[0].any()
    assert not behaviors.grad[0].any()
    assert torch.isfinite(behaviors.grad).all()


# -- determinism and independence --------------------------------------------------------------------------------------


def rounding(scale):
    """What float32 may differ by: votes of length ``scale`` carry that many times the rounding of unit ones."""
    return 1e-6 * (scale or 1)


@softmaxes
def test_two_calls_at_evaluation_are_bit_equal(softmax):
    behaviors, mask = histories([5, 12, 50])
    layer, same_seed, other_seed = routing(softmax=softmax), routing(softmax=softmax), routing(softmax=softmax, seed=1)
    first = layer(behaviors, mask).interests
    assert torch.equal(first, layer(behaviors, mask).interests)
    assert torch.equal(first, same_seed(behaviors, mask).interests)
    assert not torch.allclose(first, other_seed(behaviors, mask).interests)


def test_evaluation_logits_travel_with_the_weights():
    behaviors, mask = histories([5, 12, 50])
    layer, other = routing(seed=3), routing(seed=4)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(layer(behaviors, mask).interests, other(behaviors, mask).interests)


@softmaxes
@inits
@pytest.mark.parametrize("scale", [None, 5.0])
def test_a_row_alone_equals_the_row_in_a_batch_of_512(softmax, init, scale):
    layer = routing(softmax=softmax, init=init, scale=scale)
    behaviors, mask = histories([1 + n % 50 for n in range(512)])
    together = layer(behaviors, mask).interests
    for row in range(0, 512, 37):
        alone = layer(behaviors[row : row + 1], mask[row : row + 1]).interests
        torch.testing.assert_close(alone[0], together[row], atol=rounding(scale), rtol=0)


@softmaxes
@inits
@pytest.mark.parametrize("scale", [None, 5.0])
def test_padding_to_8_or_20_or_50_gives_equal_interests(softmax, init, scale):
    layer = routing(softmax=softmax, init=init, scale=scale)
    lengths = [1 + n % 8 for n in range(200)]
    short, middle, long = (layer(*histories(lengths, padded_to=L)).interests for L in (8, 20, 50))
    torch.testing.assert_close(short, long, atol=rounding(scale), rtol=0)
    torch.testing.assert_close(middle, long, atol=rounding(scale), rtol=0)


@softmaxes
@inits
def test_what_stands_in_the_padding_does_not_matter(softmax, init):
    layer = routing(softmax=softmax, init=init)
    behaviors, mask = histories([1, 5, 11], padded_to=20)
    dirty = torch.where(mask[:, :, None], behaviors, 1e6)
    torch.testing.assert_close(layer(dirty, mask).interests, layer(behaviors, mask).interests, atol=1e-6, rtol=0)


def test_training_logits_follow_the_generator():
    layer = routing().train()
    behaviors, mask = histories([20, 20])

    def trained(seed):
        return layer(behaviors, mask, torch.Generator().manual_seed(seed)).interests

    assert torch.equal(trained(0), trained(0))
    assert not torch.allclose(trained(0), trained(1))


def test_training_logits_differ_between_users():
    behaviors, mask = histories([20])
    twins = routing()(behaviors.expand(2, -1, -1), mask.expand(2, -1), torch.Generator().manual_seed(0))
    assert not torch.allclose(twins.interests[0], twins.interests[1])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("sigma", [0.1, 1.0, 3.0])
def test_routing_logits_have_mean_0_and_std_sigma(sigma, training):
    # one iteration of two interests: log w_1j - log w_2j = b_1j - b_2j ~ N(0, 2σ²)
    L = 5000
    layer = routing(num_interests=2, iterations=1, sigma=sigma, max_length=L)
    behaviors, mask = histories([L])
    coupling = layer(behaviors, mask, torch.Generator().manual_seed(0) if training else None).coupling[0]
    difference = coupling[0].log() - coupling[1].log()
    assert float(difference.std()) == pytest.approx(sigma * math.sqrt(2), rel=0.05)
    assert abs(float(difference.mean())) < 0.1 * sigma


# -- gradients ---------------------------------------------------------------------------------------------------------


def finite_differences(function, matrix, step=1e-5):
    """Central differences of a scalar ``function`` at every entry of ``matrix``, a list of lists."""
    gradient = []
    for r, row in enumerate(matrix):
        gradient.append([])
        for c in range(len(row)):
            sides = []
            for sign in (1, -1):
                moved = [list(values) for values in matrix]
                moved[r][c] += sign * step
                sides.append(function(moved))
            gradient[-1].append((sides[0] - sides[1]) / (2 * step))
    return torch.tensor(gradient, dtype=torch.float64)


@softmaxes
@inits
@pytest.mark.parametrize("scale", [None, 1.5])
def test_gradient_is_that_of_the_last_iteration_with_coupling_held_constant(softmax, init, scale):
    layer = routing(size=3, softmax=softmax, init=init, scale=scale, num_interests=2).double()
    behaviors, mask = histories([5], size=3)
    behaviors = behaviors.double().requires_grad_()
    readout = torch.randn(2, 3, generator=torch.Generator().manual_seed(5)).double()
    found = layer(behaviors, mask)
    (found.interests[0] * readout).sum().backward()

    history, S, logits = behaviors[0].tolist(), layer.bilinear.weight.tolist(), layer.initial_logits[:, :5].tolist()
    options = {"iterations": 3, "softmax_over": softmax, "init": init, "scale": scale}
    coupling = found.coupling[0].tolist()

    def read(interests):
        return sum(references.dot(a, b) for a, b in zip(interests, readout.tolist(), strict=True))

    def frozen(history, S):
        return read(references.capsules(coupling, references.votes(history, S, scale)))

    def unrolled(history, S):
        return read(references.route(history, S, logits, **options)[0])

    gradient = {"S": layer.bilinear.weight.grad, "behaviours": behaviors.grad[0]}
    expected = {
        "S": finite_differences(lambda S: frozen(history, S), S),
        "behaviours": finite_differences(lambda history: frozen(history, S), history),
    }
    torch.testing.assert_close(gradient, expected, atol=1e-7, rtol=1e-5)
    through_all_iterations = finite_differences(lambda S: unrolled(history, S), S)
    assert (through_all_iterations - gradient["S"]).abs().max() > 1e-3  # else the two could not be told apart


def test_logits_and_coupling_carry_no_gradient():
    layer = routing()
    behaviors, mask = histories([5])
    assert not layer(behaviors.requires_grad_(), mask).coupling.requires_grad
    assert [name for name, _ in layer.named_parameters()] == ["bilinear.weight"]


@softmaxes
@settings(max_examples=60, deadline=None)
@given(
    entries=st.lists(numbers, min_size=15, max_size=15),
    length=st.integers(0, 5),
    init=st.sampled_from(["random", "kmeans++"]),
    scale=st.sampled_from([None, 5.0]),
    sigma=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_routing_of_extreme_behaviours_is_finite(softmax, entries, length, init, scale, sigma):
    layer = routing(size=3, max_length=5, softmax=softmax, init=init, scale=scale, sigma=sigma)
    behaviors = torch.tensor(entries).view(1, 5, 3).requires_grad_()
    mask = (torch.arange(5) < length)[None]
    found = layer(behaviors, mask)
    found.interests.sum().backward()
    for values in (found.interests, found.coupling, behaviors.grad, layer.bilinear.weight.grad):
        assert torch.isfinite(values).all()
    assert (found.interests.norm(dim=2) <= 1 + 1e-6).all()


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_history_beyond_max_length_is_refused():
    with pytest.raises(InputError, match=r"51.*MAX_ITEM_LIST_LENGTH is 50"):
        routing(max_length=50)(*histories([51]))


@pytest.mark.parametrize(
    ("argument", "value", "key"),
    [
        ("num_interests", 0, "K"),
        ("num_interests", -1, "K"),
        ("sigma", 0.0, "sigma"),
        ("sigma", -1.0, "sigma"),
        ("sigma", math.nan, "sigma"),
        ("recency", 0.0, "recency"),
        ("recency", 1.1, "recency"),
        ("whole_share", -0.1, "whole_share"),
        ("whole_share", 0.5, "whole_share"),
        ("iterations", 0, "routing_iterations"),
        ("softmax", "interest", "routing_softmax"),
        ("init", "kmeans", "routing_init"),
    ],
)
def test_a_bad_argument_is_refused_by_its_key_and_value(argument, value, key):
    with pytest.raises(InputError, match=rf"^{key}: '?{value}'? is"):
        routing(**{argument: value})


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(InputError, match="allowed: interests, behaviors"):
        routing(softmax="interest")
    with pytest.raises(InputError, match=r"allowed: random, kmeans\+\+"):
        routing(init="kmeans")


# -- histories of many lengths at once ---------------------------------------------------------------------------------


def ragged(lengths, *, size=8, different=40, seed=5):
    """Different behaviours [U, D], the rows of those in each history [B, L] (0, padding, after its length), lengths."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(lengths)
    vectors = torch.randn(different, size, generator=generator)
    vectors[0] = 0
    place = torch.randint(1, different, (len(lengths), int(lengths.max())), generator=generator)
    place[torch.arange(place.shape[1]) >= lengths[:, None]] = 0
    return vectors, place, lengths


def compare_ragged(layer, vectors, place, lengths, *, seed=6, tolerance=2e-5):
    """route_ragged against route on padded rows: interests, active flags, all gradients."""
    B, L = place.shape
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, layer.num_interests, L, generator=generator)
    outer = torch.randn(B, layer.num_interests, vectors.shape[1], generator=generator)
    found = []
    for is_ragged in (True, False):
        leaf = vectors.detach().clone().requires_grad_()
        layer.zero_grad()
        if is_ragged:
            interests, active, sizes = layer.route_ragged(layer.vote(leaf), place, lengths, logits)
        else:
            mask = torch.arange(L) < lengths[:, None]
            interests, _, active, sizes = layer.route(layer.vote(leaf)[place], mask, logits)
        (interests * outer).sum().backward()
        of_parameters = [parameter.grad for parameter in layer.parameters()]
        found.append((active, sizes.detach(), interests.detach(), leaf.grad, *of_parameters))
    (active, sizes, interests, *gradients), (expected_active, expected_sizes, expected, *expected_gradients) = found
    assert torch.equal(active, expected_active)
    torch.testing.assert_close(sizes, expected_sizes, atol=tolerance * float(expected_sizes.max()), rtol=0)
    torch.testing.assert_close(interests, expected, atol=tolerance, rtol=0)
    for mine, reference in zip(gradients, expected_gradients, strict=True):
        assert reference.any()
        torch.testing.assert_close(mine, reference, atol=tolerance * float(reference.abs().max()), rtol=1e-4)
    assert (interests[~active] == 0).all()
    assert not gradients[0][0].any()  # padding


@pytest.mark.parametrize("K", range(1, 9))
@pytest.mark.parametrize("adaptive", [True, False])
@softmaxes
@pytest.mark.parametrize(("init", "scale"), [("random", None), ("random", 5.0), ("kmeans++", 2.0)])
def test_ragged_routing_is_padded_routing_for_every_length(K, adaptive, softmax, init, scale):
    layer = routing(num_interests=K, max_length=40, softmax=softmax, init=init, scale=scale, adaptive=adaptive)
    every = list(range(1, 41))
    vectors, place, lengths = ragged(every[::3] + every[1::3] + every[2::3])
    compare_ragged(layer, vectors, place, lengths)


@softmaxes
@pytest.mark.parametrize("adaptive", [True, False])
def test_ragged_routing_is_padded_routing_up_to_300_behaviours(softmax, adaptive):
    layer = routing(num_interests=8, max_length=300, softmax=softmax, adaptive=adaptive)
    lengths = [1, 300, 256, 255, 2, 128, 127, 64, 63, 96, 95, 191, 192, 17, 4, 3, 8, 7, 300, 1]
    compare_ragged(layer, *ragged(lengths, different=100), tolerance=5e-5)


@pytest.mark.parametrize("lengths", [[1], [9], [1, 1, 1], [40, 40], [2, 3], [3, 4]])
def test_ragged_routing_of_few_histories(lengths):
    compare_ragged(routing(), *ragged(lengths))


def test_ragged_routing_of_one_behaviour_many_times():
    vectors, place, lengths = ragged([12, 5, 1, 30])
    place[place > 0] = 3
    compare_ragged(routing(init="kmeans++"), vectors, place, lengths)


def test_ragged_routing_computes_gradients_under_bfloat16():
    layer = routing(num_interests=3, scale=5.0)
    vectors, place, lengths = ragged([1, 9, 2, 4, 31, 16, 3])
    logits = torch.randn(len(lengths), 3, place.shape[1], generator=torch.Generator().manual_seed(0))
    found = []
    for enabled in (True, False):
        leaf = vectors.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            interests, _, _ = layer.route_ragged(layer.vote(leaf), place, lengths, logits)
        interests.float().sum().backward()
        found.append((interests.detach().float(), leaf.grad))
    assert not torch.equal(found[0][0], found[1][0])
    for mine, reference in zip(*found, strict=True):
        torch.testing.assert_close(mine, reference, atol=0.05 * float(reference.abs().max()), rtol=0)


@pytest.mark.parametrize("recency", [1.0, 0.7, "learned", "per_interest"])
@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("whole_share", [0, 0.3])
def test_ragged_routing_is_padded_routing_with_recency_and_shares(recency, K, adaptive, whole_share):
    asked = {"recency": recency, "recency_start": 0.6, "whole_share": whole_share}
    layer = routing(num_interests=K, adaptive=adaptive, scale=5.0, **asked)
    if layer.share_logit is not None:
        layer.share_logit.data += torch.arange(K) / 5
    compare_ragged(layer, *ragged([9, 1, 30, 4, 4, 17, 2]))


def test_ragged_routing_equals_reference():
    layer = routing(num_interests=3)
    vectors, place, lengths = ragged([1, 9, 2, 4, 31, 16, 3])
    logits = layer.initial_logits[:, : place.shape[1]].expand(len(lengths), -1, -1)
    expected, _ = references.route_batch(
        vectors[place].tolist(),
        lengths.tolist(),
        layer.bilinear.weight.tolist(),
        logits.tolist(),
        iterations=3,
        softmax_over="interests",
        adaptive=True,
    )
    found, _, _ = layer.route_ragged(layer.vote(vectors), place, lengths, logits)
    torch.testing.assert_close(found.detach(), torch.tensor(expected), atol=1e-4, rtol=0)


def test_ragged_routing_of_long_histories_and_many_interests_keeps_inactive_ones_out():
    """512 to 1023 behaviours have nine interests, 1024 have ten; they must not route as one."""
    layer = routing(size=4, num_interests=10, max_length=1030, iterations=2)
    compare_ragged(layer, *ragged([1024, 600, 520], size=4, different=60), tolerance=5e-5)
