import math

import pytest
import torch

from recbole_mind.layers import losses
from recbole_mind.layers.losses import bpr, full_softmax
from recbole_mind.layers.negative_sampling import NegativeSampler, proposal
from tests.support import references
from tests.support.losses import SHAPES, catalogue, corrections, drawn, form_of, sampled

shapes = pytest.mark.parametrize(("B", "N", "D", "n"), SHAPES)
temperatures = pytest.mark.parametrize("temperature", [1.0, 0.07])


forms = pytest.mark.parametrize("form", ["softmax", "nce"])


# -- full softmax ------------------------------------------------------------------------------------------------------


@shapes
@temperatures
def test_full_softmax_equals_reference(B, N, D, n, temperature):
    user, items, target = catalogue(B, N, D)
    expected = references.full_softmax(user.tolist(), items.tolist(), target.tolist(), temperature=temperature)
    assert float(full_softmax(user, items, target, temperature=temperature)) == pytest.approx(expected, abs=1e-5)


def test_full_softmax_of_equal_scores_is_the_logarithm_of_the_catalogue():
    found = full_softmax(torch.zeros(3, 2), torch.ones(9, 2), torch.tensor([1, 5, 8]), temperature=1.0)
    assert float(found) == pytest.approx(math.log(8))  # 8 items beside the padding


def test_full_softmax_gives_item_0_no_probability_and_no_gradient():
    user, items, target = catalogue(4, 10, 3)
    loss = full_softmax(user, items, target, temperature=1.0)
    items[0] = 1e4 * user.sum(0)  # would win every softmax
    items.requires_grad_()
    with_strong_padding = full_softmax(user, items, target, temperature=1.0)
    with_strong_padding.backward()
    torch.testing.assert_close(with_strong_padding.detach(), loss)
    assert not items.grad[0].any()
    assert items.grad[1:].any()


# -- sampled softmax ---------------------------------------------------------------------------------------------------


@shapes
@temperatures
@forms
@pytest.mark.parametrize("shared", [True, False])
def test_sampled_softmax_equals_reference(B, N, D, n, temperature, form, shared):
    user, items, target = catalogue(B, N, D)
    ids = drawn((n,) if shared else (B, n), N)  # few items: some of them are accidental hits
    log_q = proposal("log_uniform", torch.arange(N), alpha=1.0).log_q
    expected = references.sampled_softmax(
        user.tolist(),
        items.tolist(),
        target.tolist(),
        ids.tolist(),
        temperature=temperature,
        log_q=log_q.tolist(),
        form=form,
    )
    found = sampled(user, items, target, ids, temperature=temperature, log_q=log_q, form=form)
    assert float(found) == pytest.approx(expected, abs=1e-5)


@forms
def test_every_item_once_as_a_uniform_negative_is_the_full_softmax(form):
    user, items, target = catalogue(5, 30, 4)
    log_q = proposal("uniform", torch.ones(30), alpha=1.0).log_q
    whole = sampled(user, items, target, torch.arange(1, 30), log_q=log_q, form=form)
    torch.testing.assert_close(whole, full_softmax(user, items, target, temperature=1.0))


def test_one_negative_of_equal_score_costs_the_logarithm_of_2():
    found = sampled(torch.zeros(1, 2), torch.ones(3, 2), torch.tensor([1]), torch.tensor([2]))
    assert float(found) == pytest.approx(math.log(2))


def test_log_q_correction_lowers_the_weight_of_a_negative_that_is_drawn_often():
    # target drawn with 1/4, negative with 3/4: logits -ln(1/4), -ln(3/4), so exp(loss) = (4 + 4/3) / 4
    log_q = torch.tensor([-math.inf, math.log(0.25), math.log(0.75)])
    one = (torch.zeros(1, 2), torch.ones(3, 2), torch.tensor([1]), torch.tensor([2]))
    assert float(sampled(*one, log_q=log_q, form="nce")) == pytest.approx(math.log(4 / 3))
    # of the estimate the target's logit stays 0, whatever its Q is: exp(loss) = 1 + 4/3
    assert float(sampled(*one, log_q=log_q, form="softmax")) == pytest.approx(math.log(7 / 3))


@forms
@pytest.mark.parametrize("shared", [True, False])
def test_accidental_hits_change_neither_loss_nor_gradient(shared, form):
    user, items, _ = catalogue(3, 12, 4)
    target = torch.tensor([7, 7, 7])
    clean = torch.tensor([1, 2, 3, 5])
    hit = torch.tensor([1, 7, 2, 3, 7, 5])
    if not shared:
        clean, hit = clean.expand(3, -1), hit.expand(3, -1)
    log_q = proposal("log_uniform", torch.arange(12), alpha=1.0).log_q
    gradients = []
    losses = []
    for ids in (clean, hit):
        leaf = items.clone().requires_grad_()
        own = corrections(form, log_q, target, ids)
        if form == "softmax":  # as many draws in both
            own = {"log_expected": log_q[ids] + math.log(6)}
        loss = form_of(own)(user, leaf[target], leaf[ids], target, ids, temperature=1.0, **own)
        loss.backward()
        losses.append(loss.detach())
        gradients.append(leaf.grad)
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_shared_negative_is_a_hit_only_for_the_row_whose_target_it_is():
    user, items, _ = catalogue(2, 12, 4)
    both = sampled(user, items, torch.tensor([7, 8]), torch.tensor([7, 8]))
    first = sampled(user[:1], items, torch.tensor([7]), torch.tensor([8]))
    second = sampled(user[1:], items, torch.tensor([8]), torch.tensor([7]))
    torch.testing.assert_close(both, (first + second) / 2)


def test_only_accidental_hits_give_zero_loss_and_finite_gradients():
    user, items, _ = catalogue(2, 5, 3)
    user.requires_grad_()
    loss = sampled(user, items, torch.tensor([4, 4]), torch.tensor([4, 4, 4]))
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(user.grad, torch.zeros_like(user))


def expected_gradient(form, q, n, *, draws=40_000, shared=False):
    """With respect to the target's logit, among 300 items: the full softmax's, and a form's mean over ``draws``."""
    user, items, _ = catalogue(1, 300, 8)
    temperature = 0.3
    scores = (user @ items.T)[0] / temperature
    target = scores.argsort(descending=True)[3:4]  # a likely one: p_t is .03
    positive = items[target].clone().requires_grad_()
    full_softmax(
        user, torch.cat([items[:target], positive, items[target + 1 :]]), target, temperature=temperature
    ).backward()
    truth = float(positive.grad[0] @ user[0])
    ids, total = q.sample(draws * n, torch.Generator().manual_seed(0)).view(draws, n), 0.0
    for part in ids if shared else [ids]:
        rows = 1 if shared else len(part)
        own = items[target].clone().requires_grad_()
        settings = corrections(form, q.log_q, target.expand(rows), part)
        more = (own.expand(rows, -1), items[part], target.expand(rows), part)
        form_of(settings)(user.expand(rows, -1), *more, temperature=temperature, **settings).backward()
        total += float(own.grad[0] @ user[0])
    # the odds against the target, of which the gradient of its logit is -odds / (1 + odds) / temperature
    full = -truth * temperature
    return truth, total / (len(ids) if shared else 1), full / (1 - full), float(q.log_q[target].exp()), temperature


COUNTS = 1000 / torch.arange(1, 301).float()  # a few items take most of the draws
proposals = pytest.mark.parametrize("name", ["uniform", "popularity", "log_uniform", "in_batch"])


@proposals
@pytest.mark.parametrize(("n", "within"), [(30, 0.01), (300, 0.003)])
def test_the_estimates_expected_gradient_is_the_full_softmaxes(name, n, within):
    full, estimate, *_ = expected_gradient("softmax", proposal(name, COUNTS, alpha=0.75), n)
    assert estimate / full == pytest.approx(1, abs=within)


@proposals
@pytest.mark.parametrize("n", [30, 300])
def test_ranking_nces_expected_gradient_is_that_of_n_q_times_the_odds(name, n):
    full, estimate, odds, share, temperature = expected_gradient("nce", proposal(name, COUNTS, alpha=0.75), n)
    against = n * share * odds
    assert estimate == pytest.approx(-against / (1 + against) / temperature, rel=0.05)
    assert abs(estimate / full - 1) > (0.03 if n == 30 else 0.0)  # not the full softmax's


def test_the_estimates_gradient_is_as_good_with_negatives_that_rows_share():
    full, estimate, *_ = expected_gradient(
        "softmax", proposal("popularity", COUNTS, alpha=0.75), 100, draws=1500, shared=True
    )
    assert estimate / full == pytest.approx(1, abs=0.01)


@forms
def test_ranking_nce_alone_is_at_rest_at_the_true_scores_whatever_n_is(form):
    """By every target and every single negative, each with its probability: Ma and Collins (2018), Theorem 4.1."""
    N = 6
    p = torch.tensor([0.0, 0.4, 0.3, 0.15, 0.1, 0.05])
    q = NegativeSampler(torch.tensor([0.0, 1.0, 5.0, 2.0, 1.0, 3.0]))
    items = torch.eye(N)  # the user's vector holds the scores
    user = p.clamp(min=1e-9).log()[None].requires_grad_()
    loss = 0.0
    for t in range(1, N):
        for j in range(1, N):
            target, ids = torch.tensor([t]), torch.tensor([[j]])
            settings = corrections(form, q.log_q, target, ids)
            one = form_of(settings)(user, items[target], items[ids], target, ids, temperature=1.0, **settings)
            loss = loss + float(p[t] * q.log_q[j].exp()) * one
    loss.backward()
    if form == "nce":
        torch.testing.assert_close(user.grad, torch.zeros(1, N), atol=1e-6, rtol=0)
    else:
        assert user.grad.abs().max() > 0.01


def test_the_estimate_of_the_loss_lies_below_it_and_comes_nearer_with_n():
    user, items, target = catalogue(1, 300, 8)
    q = proposal("uniform", COUNTS)
    whole = float(full_softmax(user, items, target, temperature=0.3))
    gaps = []
    for n in (3, 30):
        ids = q.sample(20_000 * n, torch.Generator().manual_seed(1)).view(-1, n)
        rows = (user.expand(len(ids), -1), items, target.expand(len(ids)), ids)
        gaps.append(whole - float(sampled(*rows, temperature=0.3, log_q=q.log_q, form="softmax")))
    assert gaps[0] > 3 * gaps[1] > 0


# -- BPR ---------------------------------------------------------------------------------------------------------------


@shapes
@temperatures
def test_bpr_equals_reference(B, N, D, n, temperature):
    user, items, target = catalogue(B, N, D)
    ids = drawn((B, n), N)
    expected = references.bpr(user.tolist(), items.tolist(), target.tolist(), ids.tolist(), temperature=temperature)
    found = bpr(user, items[target], items[ids], temperature=temperature)
    assert float(found) == pytest.approx(expected, abs=1e-5)


def test_bpr_of_equal_scores_is_the_logarithm_of_2():
    found = bpr(torch.zeros(2, 3), torch.ones(2, 3), torch.ones(2, 4, 3), temperature=1.0)
    assert float(found) == pytest.approx(math.log(2))


# -- extreme inputs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0.0, 1e-20, 1e7, 1e15])
def test_losses_of_extreme_vectors_are_finite(size):
    user, items, target = catalogue(4, 10, 3)
    user = (user * size).requires_grad_()
    ids = drawn((4, 6), 10)
    for loss in (
        full_softmax(user, items, target, temperature=0.07),
        sampled(user, items, target, ids, temperature=0.07),
        bpr(user, items[target], items[ids], temperature=0.07),
    ):
        user.grad = None
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(user.grad).all()


# -- regularisation ----------------------------------------------------------------------------------------------------


def test_routing_regularization_is_the_square_of_what_the_weights_vary_by_over_real_behaviours():
    weights = torch.tensor([[[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], [[0.2, 0.3, 0.5], [1 / 3, 1 / 3, 1 / 3]]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    found = losses.routing_regularization(weights, mask)
    covariance = [torch.cov(own[:, real], correction=0) for own, real in zip(weights, mask, strict=True)]
    torch.testing.assert_close(found, torch.stack([matrix.diag().square().sum() for matrix in covariance]))
    torch.testing.assert_close(found[0], torch.tensor(0.0625))


def test_routing_regularization_draws_weights_together():
    logits = torch.tensor([[[2.0, 0.0, -1.0]]], requires_grad=True)
    losses.routing_regularization(logits.softmax(2), torch.ones(1, 3, dtype=torch.bool)).sum().backward()
    assert logits.grad[0, 0, 0] > 0 > logits.grad[0, 0, 2]
    assert torch.equal(
        losses.routing_regularization(torch.zeros(1, 2, 3), torch.zeros(1, 3, dtype=torch.bool)), torch.zeros(1)
    )
