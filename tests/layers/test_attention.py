import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_mind.errors import InputError
from recbole_mind.layers.attention import LabelAwareAttention, attention_weights
from tests.support import references

FORMS = ["pow", "scale"]
forms = pytest.mark.parametrize("form", FORMS)
EXTREMES = [0.0, -0.0, 1e-45, -1e-40, 1e-20, -1e-6, 0.5, 1.0, -1.0, 1.5, -7.0, 1e4, -1e15, 1e15]
numbers = st.sampled_from(EXTREMES) | st.floats(-(2.0**50), 2.0**50, width=32) | st.floats(-1, 1, width=32)
powers = st.sampled_from([0.0, 1e-3, 0.5, 1.0, 2.0, 7.5, 100.0, math.inf]) | st.floats(0, 1e6)


def weights_of(scores, *, p, form="pow", temperature=1.0, active=None):
    """Weights of one user's ``scores``, a list."""
    active = [True] * len(scores) if active is None else active
    return attention_weights(torch.tensor([scores]), torch.tensor([active]), p=p, form=form, temperature=temperature)[0]


def random_interests(B, K, D, seed=0):
    """Interests [B, K, D], active flags [B, K] with the first always on, and labels [B, D]."""
    generator = torch.Generator().manual_seed(seed)
    active = torch.rand(B, K, generator=generator) < 0.6
    active[:, 0] = True
    interests = torch.randn(B, K, D, generator=generator) / D**0.5
    return interests, active, torch.randn(B, D, generator=generator)


# -- values ------------------------------------------------------------------------------------------------------------


@forms
@pytest.mark.parametrize("p", [0, 1e-3, 0.5, 1, 2, 3, 7.5, math.inf])
@pytest.mark.parametrize(("K", "temperature"), [(1, 1.0), (4, 0.07), (7, 2.0)])
def test_attention_equals_reference(form, p, K, temperature):
    interests, active, label = random_interests(9, K, 6)
    options = {"p": p, "form": form, "temperature": temperature}
    scores = torch.einsum("bkd,bd->bk", interests, label)
    weights = [
        references.attention_weights(a, f, **options) for a, f in zip(scores.tolist(), active.tolist(), strict=True)
    ]
    vectors = [
        references.attend(v, f, e, **options)
        for v, f, e in zip(interests.tolist(), active.tolist(), label.tolist(), strict=True)
    ]
    torch.testing.assert_close(attention_weights(scores, active, **options), torch.tensor(weights), atol=1e-5, rtol=0)
    found = LabelAwareAttention(**options)(interests, active, label)
    torch.testing.assert_close(found, torch.tensor(vectors), atol=1e-5, rtol=0)


@forms
def test_p_0_is_uniform_over_active_interests(form):
    found = weights_of([5.0, -3.0, 0.0, 9.0], p=0, form=form, active=[True, True, True, False])
    torch.testing.assert_close(found, torch.tensor([1 / 3, 1 / 3, 1 / 3, 0.0]))


@forms
def test_p_1_is_softmax(form):
    # e^0 : e^ln 2 : e^-ln 2 = 1 : 2 : 1/2
    found = weights_of([0.0, math.log(2), -math.log(2)], p=1, form=form)
    torch.testing.assert_close(found, torch.tensor([2 / 7, 4 / 7, 1 / 7]))


def test_pow_2_squares_the_size_and_keeps_the_sign():
    # signed squares ln 2, -ln 2, 0: weights 2 : 1/2 : 1
    root = math.sqrt(math.log(2))
    torch.testing.assert_close(weights_of([root, -root, 0.0], p=2, form="pow"), torch.tensor([4 / 7, 1 / 7, 2 / 7]))


def test_scale_2_doubles_the_scores_over_the_temperature():
    # 2 a / 0.5 = ln 3, 0: weights 3 : 1
    found = weights_of([math.log(3) / 4, 0.0], p=2, form="scale", temperature=0.5)
    torch.testing.assert_close(found, torch.tensor([0.75, 0.25]))


@forms
def test_p_inf_picks_the_largest_raw_score_not_the_largest_size(form):
    assert weights_of([1.0, -10.0, 2.0], p=math.inf, form=form).tolist() == [0, 0, 1]
    assert weights_of([-3.0, -2.0], p=math.inf, form=form).tolist() == [0, 1]


@forms
def test_p_inf_never_picks_an_inactive_interest(form):
    found = weights_of([-5.0, 1.0, -7.0], p=math.inf, form=form, active=[True, False, True])
    assert found.tolist() == [1, 0, 0]


def test_hard_attention_scores_the_label_by_its_best_interest():
    interests, active, label = random_interests(20, 5, 4)
    vector = LabelAwareAttention(p=math.inf, form="pow", temperature=1.0)(interests, active, label)
    best = [
        references.max_score(v, f, e)
        for v, f, e in zip(interests.tolist(), active.tolist(), label.tolist(), strict=True)
    ]
    torch.testing.assert_close((vector * label).sum(1), torch.tensor(best), atol=1e-5, rtol=0)


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1e4, 1e8, 1e30])
def test_scale_with_a_large_p_tends_to_one_hot(p):
    torch.testing.assert_close(weights_of([0.1, -0.9, 0.12], p=p, form="scale"), torch.tensor([0.0, 0.0, 1.0]))


@pytest.mark.parametrize("p", [1e-6, 1e-30, 1e-300])
def test_scale_with_a_small_p_tends_to_uniform(p):
    torch.testing.assert_close(weights_of([0.1, -0.9, 0.12], p=p, form="scale"), torch.full((3,), 1 / 3))


def test_scale_sharpens_as_p_grows():
    found = [weights_of([0.1, -0.9, 0.3], p=p, form="scale") for p in (0, 0.5, 1, 2, 8, 64, math.inf)]
    best = [float(weights[2]) for weights in found]
    assert best == sorted(best)
    assert len(set(best)) == len(best)


@forms
@pytest.mark.parametrize("p", [2.0, 7.5, 100.0])
def test_sizes_beyond_floating_point_go_to_the_largest_raw_score(form, p):
    assert weights_of([1e15, -3e15, 2e15], p=p, form=form).tolist() == [0, 0, 1]
    assert weights_of([-2e15, -3e15, -1e15], p=p, form=form).tolist() == [0, 0, 1]


@forms
@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 7.5])
def test_tied_interests_share_alike(form, p):
    weights = weights_of([0.4, 0.4, -0.2], p=p, form=form)
    assert weights[0] == weights[1]
    assert weights[0] > weights[2]


# -- extreme inputs ----------------------------------------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(
    rows=st.lists(st.tuples(numbers, st.booleans()), min_size=1, max_size=6),
    p=powers,
    form=st.sampled_from(FORMS),
    temperature=st.sampled_from([0.01, 0.07, 1.0]),
)
def test_weights_of_extreme_scores_are_a_distribution_over_active_interests(rows, p, form, temperature):
    scores = torch.tensor([[score for score, _ in rows]], requires_grad=True)
    active = torch.tensor([[flag for _, flag in rows]])
    active[0, 0] = True
    weights = attention_weights(scores, active, p=p, form=form, temperature=temperature)
    assert (weights >= 0).all()
    assert float(weights.detach().sum()) == pytest.approx(1, abs=1e-5)
    assert not weights[~active].any()
    if weights.requires_grad:
        (weights * torch.arange(1.0, len(rows) + 1)).sum().backward()
        assert torch.isfinite(scores.grad).all()
        assert not scores.grad[~active].any()


@settings(max_examples=200, deadline=None)
@given(
    entries=st.lists(st.sampled_from([0.0, 1e-45, -1e-20, 0.3, -1.0, 1e5, -1e5]), min_size=8, max_size=8),
    p=powers,
    form=st.sampled_from(FORMS),
)
def test_attention_to_extreme_interests_is_finite(entries, p, form):
    interests = torch.tensor(entries[:6]).view(1, 3, 2).requires_grad_()
    label = torch.tensor(entries[6:]).view(1, 2).requires_grad_()
    active = torch.tensor([[True, True, False]])
    vector = LabelAwareAttention(p=p, form=form, temperature=0.07)(interests, active, label)
    vector.sum().backward()
    assert torch.isfinite(vector).all()
    assert torch.isfinite(interests.grad).all()
    assert not interests.grad[~active].any()
    if label.grad is not None:
        assert torch.isfinite(label.grad).all()


@forms
@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.5])
def test_gradient_of_weights_equals_finite_differences(form, p):
    scores = torch.tensor([[0.3, -0.8, 1.2, 0.9]], dtype=torch.float64, requires_grad=True)
    active = torch.tensor([[True, True, True, False]])
    assert torch.autograd.gradcheck(
        lambda a: attention_weights(a, active, p=p, form=form, temperature=0.5), scores, raise_exception=True
    )


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [-1, -1e-9, -math.inf, math.nan])
def test_a_p_below_0_or_not_a_number_is_refused(p):
    with pytest.raises(InputError, match=rf"p: {p} is not allowed"):
        weights_of([1.0], p=p)


def test_an_unknown_form_is_told_the_known_ones():
    with pytest.raises(InputError, match="attention_form: 'power' is unknown; allowed: pow, scale"):
        weights_of([1.0], p=1, form="power")
