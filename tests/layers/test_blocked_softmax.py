"""The softmax in blocks of rows, against plain torch."""

import math

import pytest
import torch

from recbole_mind.layers import blocked_softmax, losses
from recbole_mind.layers.losses import bpr, full_softmax, sampled_softmax
from recbole_mind.layers.negative_sampling import proposal
from tests.support import references
from tests.support.losses import SHAPES, catalogue, corrections, drawn, form_of, gradients

shapes = pytest.mark.parametrize(("B", "N", "D", "n"), SHAPES)
temperatures = pytest.mark.parametrize("temperature", [1.0, 0.07])


forms = pytest.mark.parametrize("form", ["softmax", "nce"])


# -- by blocks, with gradients -----------------------------------------------------------------------------------------


def plain_full(user, items, target, *, temperature):
    """Full softmax by torch's cross_entropy."""
    return torch.nn.functional.cross_entropy(user @ items[1:].T / temperature, target - 1)


def plain_sampled(
    user, positive, negatives, target, ids, *, temperature, log_expected=0.0, log_q_target=0.0, log_q_negatives=0.0
):
    """Both forms of the sampled softmax with shared negatives, by a mask and logsumexp."""
    own = (user * positive).sum(1) / temperature - log_q_target
    logits = user @ negatives.T / temperature - log_expected - log_q_negatives
    logits = logits.masked_fill(ids == target[:, None], -math.inf)
    return (torch.cat([own[:, None], logits], 1).logsumexp(1) - own).mean()


def agree(found, expected, *, tolerance=2e-6):
    """Compare values and gradients, each in proportion to the largest entry of its tensor."""
    for mine, reference in zip([found[0], *found[1]], [expected[0], *expected[1]], strict=True):
        size = max(float(reference.abs().max()), 1e-3)
        torch.testing.assert_close(mine.double(), reference.double(), atol=tolerance * size * 10, rtol=1e-5)


def crowded(n, *, seed=4):
    """Of 12 items, the rows' target and n negatives: most of them are hits of some row, many stand several times."""
    generator = torch.Generator().manual_seed(seed)
    user = torch.nn.functional.normalize(torch.randn(70, 6, generator=generator), dim=1)
    items = torch.nn.functional.normalize(torch.randn(12, 6, generator=generator), dim=1)
    target = torch.randint(1, 12, (70,), generator=generator)
    return user, items, target, torch.randint(1, 12, (n,), generator=generator)


@pytest.fixture(params=[1, 1500, None], ids=["blocks of 16", "blocks of 30", "one block"])
def cells(request, monkeypatch):
    if request.param is not None:
        monkeypatch.setitem(blocked_softmax.CELLS, "cpu", request.param)


@pytest.mark.parametrize("factor", [1.0, 3.0])
@temperatures
@pytest.mark.usefixtures("cells")
def test_full_softmax_and_its_gradients_are_cross_entropys(temperature, factor):
    user, items, target = catalogue(70, 50, 6)
    settings = {"temperature": temperature, "factor": factor}
    expected = gradients(plain_full, (user, items), target, dtype=torch.float64, **settings)
    agree(gradients(full_softmax, (user, items), target, **settings), expected)


@forms
@pytest.mark.parametrize(("n", "factor"), [(3, 1.0), (50, 1.0), (50, 3.0), (300, 1.0)])
@temperatures
@pytest.mark.usefixtures("cells")
def test_sampled_softmax_and_its_gradients_are_a_plain_softmaxes(temperature, n, factor, form):
    user, items, target, ids = crowded(n)
    log_q = proposal("popularity", torch.arange(12) ** 3, alpha=1.0).log_q  # from 1/4356 to 0.3
    settings = {"temperature": temperature, "factor": factor} | corrections(form, log_q, target, ids)
    tensors = (user, items[target], items[ids])
    expected = gradients(plain_sampled, tensors, target, ids, dtype=torch.float64, **settings)
    agree(gradients(form_of(settings), tensors, target, ids, **settings), expected)


@pytest.mark.usefixtures("cells")
def test_rows_whose_negatives_are_all_hits_stand_beside_others():
    user, items, target, _ = crowded(0)
    target[::2] = 7  # nothing is left for these
    ids = torch.tensor([7, 7, 7])
    tensors = (user, items[target], items[ids])
    found = gradients(sampled_softmax, tensors, target, ids, temperature=0.5, log_expected=torch.zeros(3))
    agree(found, gradients(plain_sampled, tensors, target, ids, dtype=torch.float64, temperature=0.5))
    rows = target == 7
    assert torch.equal(found[1][0][rows], torch.zeros(int(rows.sum()), 6))
    assert found[1][0][~rows].any(1).all()


@pytest.mark.usefixtures("cells")
def test_as_many_duplicates_among_negatives_as_rows_count_each():
    user, items, target, _ = crowded(0)
    ids = target.clone()  # in-batch negatives: each row hits itself and all rows of the same target
    tensors = (user, items[target], items[ids])
    expected = gradients(plain_sampled, tensors, target, ids, dtype=torch.float64, temperature=0.07)
    zeros = torch.zeros(len(ids))
    agree(gradients(sampled_softmax, tensors, target, ids, temperature=0.07, log_expected=zeros), expected)


def test_a_hit_by_booleans_is_a_hit_by_rows_and_columns():
    """What a GPU does, on the CPU."""
    user, items, target, ids = crowded(40)
    positive = (user * items[target]).sum(1)
    both = losses._hits(target, ids), ids == target[:, None]
    assert sorted(zip(*(part.tolist() for part in both[0]), strict=True)) == [
        (row, column) for row in range(70) for column in range(40) if target[row] == ids[column]
    ]
    for vectors, active in ((user[:, None], None), several(user)):
        found = [
            gradients(
                lambda *leaves, active=active, barred=barred: blocked_softmax.BlockedSoftmax.apply(
                    leaves[0], active, *leaves[1:], None, None, barred, 2.0
                ),
                (vectors, items[ids], positive),
            )
            for barred in both
        ]
        for mine, other in zip([found[0][0], *found[0][1]], [found[1][0], *found[1][1]], strict=True):
            assert torch.equal(mine, other) or active is not None
            torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("whole", [True, False], ids=["full", "sampled"])
@pytest.mark.usefixtures("cells")
def test_losses_under_bfloat16_are_finite_and_near_float32s(whole):
    user, items, target, ids = crowded(50)

    def autocast(loss):
        def compute(*leaves, **settings):
            with torch.autocast("cpu", torch.bfloat16):
                # products that an autocast layer made: bfloat16 in, with gradients of that type out
                eye = torch.eye(6)
                value = loss(leaves[0] @ eye, *(leaf @ eye for leaf in leaves[1:]), *more, **settings)
            assert value.dtype == torch.float32
            return value

        return compute

    tensors, more, function, plain = (
        ((user, items), (target,), full_softmax, plain_full)
        if whole
        else ((user, items[target], items[ids]), (target, ids), sampled_softmax, plain_sampled)
    )
    settings = {"temperature": 0.3} | ({} if whole else {"log_expected": torch.zeros(50)})
    expected = gradients(plain, tensors, *more, dtype=torch.float64, **settings)
    found = gradients(autocast(function), tensors, **settings)
    for mine, reference in zip([found[0], *found[1]], [expected[0], *expected[1]], strict=True):
        assert torch.isfinite(mine).all()
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine.double(), reference, atol=0.03 * float(reference.abs().max()), rtol=0.03)


def test_a_gradient_of_half_precision_is_given_to_half_precision_vectors():
    user, items, target, ids = crowded(20)
    leaves = [part.bfloat16().requires_grad_() for part in (user, items[target], items[ids])]
    sampled_softmax(*leaves, target, ids, temperature=1.0, log_expected=torch.zeros(20)).backward()
    assert all(leaf.grad.dtype == torch.bfloat16 and leaf.grad.any() for leaf in leaves)


@pytest.mark.parametrize("size", [1e-20, 1e4, 1e15])
@pytest.mark.usefixtures("cells")
def test_extreme_logits_give_finite_gradients_to_all_vectors(size):
    user, items, target, ids = crowded(50)
    log_q = proposal("popularity", torch.arange(12) ** 3, alpha=1.0).log_q
    vectors = (user * size, items[target], items[ids])
    sampled_ones = [corrections(form, log_q, target, ids) for form in ("softmax", "nce")]
    for found in (
        gradients(full_softmax, (user * size, items), target, temperature=0.07),
        *(gradients(form_of(own), vectors, target, ids, temperature=0.07, **own) for own in sampled_ones),
    ):
        assert torch.isfinite(found[0])
        assert all(torch.isfinite(gradient).all() for gradient in found[1])


@forms
def test_items_that_a_proposal_hardly_ever_draws_do_not_overflow(form):
    user, items, target, ids = crowded(50)
    log_q = torch.linspace(-60, 0, 12).log_softmax(0)  # down to e^-60
    settings = {"temperature": 0.07} | corrections(form, log_q, target, ids)
    tensors = (user, items[target], items[ids])
    expected = gradients(plain_sampled, tensors, target, ids, dtype=torch.float64, **settings)
    agree(gradients(form_of(settings), tensors, target, ids, **settings), expected, tolerance=1e-5)


# -- negatives that meet the nearest interest --------------------------------------------------------------------------


def several(user, K=3, seed=5):
    """K interests of each user, one to K of them active; the inactive ones would win every maximum."""
    generator = torch.Generator().manual_seed(seed)
    B, D = user.shape
    active = torch.arange(K) < torch.randint(1, K + 1, (B, 1), generator=generator)
    active[0], active[-1] = True, torch.arange(K) < 1
    vectors = torch.nn.functional.normalize(torch.randn(B, K, D, generator=generator), dim=2)
    return losses.ActiveInterests(torch.where(active[:, :, None], vectors, 100 * vectors), active)


def as_lists(met):
    """The active interests of each user."""
    return [own[on].tolist() for own, on in zip(met.vectors, met.active, strict=True)]


@shapes
@temperatures
@forms
def test_negatives_that_meet_the_nearest_interest_equal_reference(B, N, D, n, temperature, form):
    user, items, target = catalogue(B, N, D)
    met = several(user)
    settings, lists = {"temperature": temperature}, (user.tolist(), items.tolist(), target.tolist())
    expected = references.full_softmax(*lists, **settings, met=as_lists(met))
    assert float(full_softmax(user, items, target, **settings, interests=met)) == pytest.approx(expected, abs=1e-5)
    log_q = proposal("log_uniform", torch.arange(N), alpha=1.0).log_q
    for ids in (drawn((n,), N), drawn((B, n), N)):
        drawing = {"log_q": log_q.tolist(), "met": as_lists(met), "form": form}
        expected = references.sampled_softmax(*lists, ids.tolist(), **settings, **drawing)
        own = corrections(form, log_q, target, ids)
        found = form_of(own)(user, items[target], items[ids], target, ids, **settings, **own, interests=met)
        assert float(found) == pytest.approx(expected, abs=1e-5)
    expected = references.bpr(*lists, ids.tolist(), **settings, met=as_lists(met))
    assert float(bpr(user, items[target], items[ids], **settings, interests=met)) == pytest.approx(expected, abs=1e-5)


def plain_nearest(
    vectors,
    user,
    positive,
    negatives,
    active,
    target,
    ids,
    *,
    temperature,
    log_expected=0.0,
    log_q_target=0.0,
    log_q_negatives=0.0,
):
    """Sampled softmax whose negatives meet the nearest interest, by a maximum that torch differentiates."""
    scores = torch.einsum("bkd,nd->bkn", vectors, negatives).masked_fill(~active[:, :, None], -math.inf)
    own = (user * positive).sum(1) / temperature - log_q_target
    logits = scores.max(1).values / temperature - log_expected - log_q_negatives
    logits = logits.masked_fill(ids == target[:, None], -math.inf)
    return (torch.cat([own[:, None], logits], 1).logsumexp(1) - own).mean()


@pytest.mark.parametrize("form", ["full", "softmax", "nce"])
@temperatures
@pytest.mark.usefixtures("cells")
def test_gradients_of_negatives_go_to_the_interest_that_they_meet(temperature, form):
    whole = form == "full"
    user, items, target, ids = crowded(50)
    if whole:
        ids = torch.arange(1, 12)
    met = several(user)
    log_q = proposal("popularity", torch.arange(12) ** 3, alpha=1.0).log_q
    own = {} if whole else corrections(form, log_q, target, ids)
    plain = {"temperature": temperature} | own

    def ours(vectors, user, positive, negatives):
        interests = losses.ActiveInterests(vectors, met.active)
        if whole:
            every = torch.cat([negatives.new_ones(1, 6), negatives])
            return full_softmax(user, every, target, temperature=temperature, interests=interests)
        settings = {"temperature": temperature, "interests": interests} | own
        return form_of(own)(user, positive, negatives, target, ids, **settings)

    def theirs(vectors, user, positive, negatives):
        positive = negatives[target - 1] if whole else positive
        return plain_nearest(vectors, user, positive, negatives, met.active, target, ids, **plain)

    tensors = (met.vectors, user, items[target], items[ids])
    found, expected = gradients(ours, tensors), gradients(theirs, tensors, dtype=torch.float64)
    kept = [place for place, gradient in enumerate(expected[1]) if gradient is not None]
    assert kept == ([0, 1, 3] if whole else [0, 1, 2, 3])
    agree((found[0], [found[1][i] for i in kept]), (expected[0], [expected[1][i] for i in kept]))
    assert not found[1][0][~met.active].any()


def test_a_single_interest_is_the_user():
    user, items, target, ids = crowded(40)
    one = losses.ActiveInterests(user[:, None], torch.ones(70, 1, dtype=torch.bool))
    settings = {"temperature": 0.1}
    assert torch.equal(
        full_softmax(user, items, target, **settings, interests=one), full_softmax(user, items, target, **settings)
    )
    shared = (user, items[target], items[ids], target, ids)
    settings |= {"log_expected": torch.zeros(40)}
    assert torch.equal(sampled_softmax(*shared, **settings, interests=one), sampled_softmax(*shared, **settings))
