import math

import pytest
import torch

from recbole_mind.layers import blocked_softmax, losses
from recbole_mind.layers.losses import bpr, full_softmax, ranking_nce, sampled_softmax
from recbole_mind.layers.negative_sampling import NegativeSampler, proposal
from tests.support import references

SHAPES = [(1, 5, 3, 2), (6, 20, 8, 10), (16, 50, 4, 200)]  # users, items, size, negatives
shapes = pytest.mark.parametrize(("B", "N", "D", "n"), SHAPES)
temperatures = pytest.mark.parametrize("temperature", [1.0, 0.07])


def catalogue(B, N, D, seed=0):
    """User vectors [B, D], item vectors [N, D] of unit length and targets [B]."""
    generator = torch.Generator().manual_seed(seed)
    user = torch.nn.functional.normalize(torch.randn(B, D, generator=generator), dim=1)
    items = torch.nn.functional.normalize(torch.randn(N, D, generator=generator), dim=1)
    return user, items, torch.randint(1, N, (B,), generator=generator)


def drawn(shape, N, seed=1):
    return torch.randint(1, N, shape, generator=torch.Generator().manual_seed(seed))


forms = pytest.mark.parametrize("form", ["softmax", "nce"])


def corrections(form, log_q, target, ids):
    """What a form of the sampled softmax is given of a proposal."""
    if form == "softmax":
        return {"log_expected": log_q[ids] + math.log(ids.shape[-1])}
    return {"log_q_target": log_q[target], "log_q_negatives": log_q[ids]}


def form_of(settings):
    return sampled_softmax if "log_expected" in settings else ranking_nce


def sampled(user, items, target, ids, *, temperature=1.0, log_q=None, form="nce"):
    settings = corrections(form, torch.zeros(len(items)) if log_q is None else log_q, target, ids)
    vectors = (user, items[target], items[ids])
    return form_of(settings)(*vectors, target, ids, temperature=temperature, **settings)


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


def gradients(loss, tensors, *more, factor=1.0, dtype=torch.float32, **settings):
    """A loss and its gradients, computed from ``tensors`` in ``dtype``."""
    leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in tensors]
    value = loss(*leaves, *more, **settings)
    (value * factor).backward()
    return value.detach(), [leaf.grad for leaf in leaves]


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
                lambda *leaves, active=active, barred=barred: blocked_softmax._Softmax.apply(
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
    return losses.Interests(torch.where(active[:, :, None], vectors, 100 * vectors), active)


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
        interests = losses.Interests(vectors, met.active)
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
    one = losses.Interests(user[:, None], torch.ones(70, 1, dtype=torch.bool))
    settings = {"temperature": 0.1}
    assert torch.equal(
        full_softmax(user, items, target, **settings, interests=one), full_softmax(user, items, target, **settings)
    )
    shared = (user, items[target], items[ids], target, ids)
    settings |= {"log_expected": torch.zeros(40)}
    assert torch.equal(sampled_softmax(*shared, **settings, interests=one), sampled_softmax(*shared, **settings))


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
