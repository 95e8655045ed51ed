import pytest
import torch

from recbole_mind.layers.interest_statistics import COLLAPSED, interest_statistics
from tests.support import references


def random_users(B, K, D, seed=0):
    generator = torch.Generator().manual_seed(seed)
    active = torch.arange(K) < torch.randint(1, K + 1, (B, 1), generator=generator)
    common = torch.randn(B, 1, D, generator=generator)  # some users' interests are nearly alike
    spread = torch.rand(B, 1, 1, generator=generator)
    return (common + spread * torch.randn(B, K, D, generator=generator)) * active[:, :, None], active


@pytest.mark.parametrize(("B", "K", "D"), [(40, 4, 8), (30, 7, 3), (5, 2, 2)])
def test_statistics_equal_reference(B, K, D):
    interests, active = random_users(B, K, D)
    cosines = [references.pairwise_cosines(v, f) for v, f in zip(interests.tolist(), active.tolist(), strict=True)]
    several = [row for row in cosines if row]
    found = interest_statistics([(interests, active)])
    assert found == pytest.approx(
        {
            "mean_active_interests": sum(map(sum, active.tolist())) / B,
            "collapsed_users": sum(min(row) > COLLAPSED for row in several) / len(several),
            "mean_pairwise_cosine": sum(sum(row) / len(row) for row in several) / len(several),
        },
        abs=1e-5,
    )


def test_statistics_do_not_depend_on_how_users_are_batched():
    interests, active = random_users(40, 4, 8)
    whole = interest_statistics([(interests, active)])
    parts = interest_statistics(zip(interests.split(7), active.split(7), strict=True))
    assert parts == pytest.approx(whole, abs=1e-6)


def test_opposite_equal_and_orthogonal_interests_by_hand():
    x, y = [1.0, 0.0], [0.0, 2.0]
    interests = torch.tensor([[x, x], [x, y], [x, [-3.0, 0.0]], [x, x]])
    active = torch.tensor([[True, True], [True, True], [True, True], [True, False]])
    # cosines 1, 0, -1; one of three users with two interests is collapsed
    assert interest_statistics([(interests, active)]) == pytest.approx(
        {"mean_active_interests": 7 / 4, "collapsed_users": 1 / 3, "mean_pairwise_cosine": 0.0}
    )


def test_one_distinct_interest_is_enough_not_to_be_collapsed():
    interests = torch.tensor([[[1.0, 0.0], [1.0, 0.01], [0.0, 1.0]]])
    found = interest_statistics([(interests, torch.ones(1, 3, dtype=torch.bool))])
    assert found["collapsed_users"] == 0


def test_inactive_interests_do_not_count():
    interests, active = random_users(20, 4, 8)
    dirty = torch.where(active[:, :, None], interests, 100.0)
    assert interest_statistics([(dirty, active)]) == pytest.approx(interest_statistics([(interests, active)]))


def test_single_interests_have_no_cosines():
    found = interest_statistics([(torch.ones(3, 2, 2), torch.tensor([[True, False]] * 3))])
    assert found == {"mean_active_interests": 1.0}


def test_no_users_have_no_statistics():
    assert interest_statistics([]) == {}
