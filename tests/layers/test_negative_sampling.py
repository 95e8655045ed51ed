import math

import pytest
import torch

from recbole_mind.errors import InputError
from recbole_mind.layers.negative_sampling import NegativeSampler, RejectionSampler, proposal

NAMES = ["uniform", "popularity", "log_uniform", "in_batch"]
proposals = pytest.mark.parametrize("name", NAMES)
COUNTS = torch.tensor([999, 40, 3, 3, 12, 0, 7, 1, 25, 25, 2])  # the padding's count must not matter


def draw(sampler, n, seed=0):
    return sampler.sample(n, torch.Generator().manual_seed(seed))


@proposals
@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_frequencies_match_log_q(name, alpha):
    sampler, n = proposal(name, COUNTS, alpha=alpha), 200_000
    observed = torch.bincount(draw(sampler, n), minlength=len(COUNTS))[1:].double()
    expected = n * sampler.log_q[1:].double().exp()
    drawn = expected > 0
    assert not observed[~drawn].any()
    observed, expected = observed[drawn], expected[drawn]
    chi_square, freedom = float(((observed - expected) ** 2 / expected).sum()), len(expected) - 1
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom)


@proposals
def test_log_q_is_a_distribution_without_item_0(name):
    log_q = proposal(name, COUNTS, alpha=0.75).log_q
    assert log_q[0] == -math.inf
    never = log_q[1:] == -math.inf
    assert never.tolist() == [name == "in_batch" and count == 0 for count in COUNTS[1:].tolist()]
    assert float(log_q.double().exp().sum()) == pytest.approx(1, abs=1e-6)


@proposals
def test_item_0_is_never_drawn(name):
    ids = draw(proposal(name, COUNTS, alpha=1.0), 200_000)
    assert ids.dtype == torch.int64
    assert ids.shape == (200_000,)
    assert int(ids.min()) >= 1
    assert int(ids.max()) <= len(COUNTS) - 1


@proposals
def test_the_same_seed_draws_the_same(name):
    sampler = proposal(name, COUNTS, alpha=1.0)
    assert torch.equal(draw(sampler, 500, seed=1), draw(sampler, 500, seed=1))
    assert not torch.equal(draw(sampler, 500, seed=1), draw(sampler, 500, seed=2))


@proposals
def test_drawing_leaves_the_global_generator_alone(name):
    before = torch.get_rng_state()
    draw(proposal(name, COUNTS, alpha=1.0), 10)
    assert torch.equal(torch.get_rng_state(), before)


def probabilities(name, counts, alpha=1.0):
    return proposal(name, torch.tensor(counts), alpha=alpha).log_q[1:].exp().tolist()


def test_uniform_gives_each_item_alike():
    assert probabilities("uniform", [5, 100, 0, 1, 7]) == pytest.approx([0.25] * 4)


def test_popularity_follows_the_power_of_the_count_and_counts_unseen_items_once():
    # 9^½ : 4^½ : 1 (never seen) : 1
    assert probabilities("popularity", [50, 9, 4, 0, 1], alpha=0.5) == pytest.approx([3 / 7, 2 / 7, 1 / 7, 1 / 7])


def test_popularity_to_the_power_0_is_uniform():
    assert probabilities("popularity", [0, 9, 4, 1], alpha=0) == pytest.approx([1 / 3] * 3)


def test_log_uniform_follows_the_popularity_rank_with_ties_by_lower_id():
    # ranks 2, 0, 1 and log(2/1) + log(3/2) + log(4/3) = log 4
    expected = [math.log(4 / 3, 4), math.log(2, 4), math.log(3 / 2, 4)]
    assert probabilities("log_uniform", [99, 1, 3, 3]) == pytest.approx(expected)


def test_log_uniform_breaks_many_ties_by_lower_id():
    log_q = proposal("log_uniform", torch.full((2000,), 5), alpha=1.0).log_q[1:]
    assert (log_q.diff() <= 0).all()
    assert log_q[0] > log_q[-1]


def test_a_row_that_draws_again_while_it_draws_its_target_draws_from_the_rest():
    sampler = RejectionSampler(torch.tensor([0.0, 5.0, 3.0, 2.0]))
    left = sampler.log_accepted(torch.tensor([1, 3])).exp()
    torch.testing.assert_close(left, torch.tensor([0.5, 0.8]))


def test_in_batch_follows_the_count_whatever_alpha_is():
    assert probabilities("in_batch", [7, 3, 1], alpha=0.0) == pytest.approx([0.75, 0.25])


@proposals
def test_a_random_number_of_exactly_0_draws_item_1(name, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda n, *, dtype, **_: torch.zeros(n, dtype=dtype))
    assert draw(proposal(name, COUNTS, alpha=1.0), 3).tolist() == [1, 1, 1]


def test_an_item_of_weight_0_is_never_drawn():
    sampler = NegativeSampler(torch.tensor([0.0, 1.0, 0.0, 2.0]))
    assert set(draw(sampler, 10_000).tolist()) == {1, 3}
    assert sampler.log_q[2] == -math.inf


def test_an_unknown_proposal_is_told_the_known_ones():
    with pytest.raises(InputError, match="negatives: 'zipf' is unknown") as caught:
        proposal("zipf", COUNTS, alpha=1.0)
    for name in NAMES:
        assert name in str(caught.value)


def test_a_proposal_does_not_change_the_counts_it_is_given():
    counts = COUNTS.double()
    for name in NAMES:
        proposal(name, counts, alpha=1.0)
    assert torch.equal(counts, COUNTS.double())
