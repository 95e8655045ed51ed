import itertools
import math
import warnings

import numpy as np
import pytest
from scipy import stats

from recbole_mind.errors import InputError
from recbole_mind.evaluation.hits import Hits, is_per_user, mean_per_user, per_user
from recbole_mind.experiments.leaderboard.significance import compare

METRICS = ("recall", "hit", "precision", "mrr", "ndcg", "map")


def hits(rows, numbers=None, users="u"):
    """Hits of rows such as "0100"."""
    found = np.array([[sign == "1" for sign in row] for row in rows])
    return Hits(found, np.array(numbers or [max(1, row.count("1")) for row in rows]), users)


def random_hits(R, k, seed, users="u"):
    generator = np.random.default_rng(seed)
    found = generator.random((R, k)) < generator.choice([0.0, 0.1, 0.6], (R, 1))
    return Hits(found, np.maximum(1, found.sum(1) + generator.integers(0, 2 * k, R)), users)


# -- per-user metrics ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "expected"),
    [  # targets at places 2 and 4 of 5, three targets in all
        ("recall@1", 0),
        ("recall@2", 1 / 3),
        ("recall@5", 2 / 3),
        ("hit@1", 0),
        ("hit@4", 1),
        ("precision@5", 2 / 5),
        ("mrr@5", 1 / 2),
        ("map@2", (1 / 2) / 2),
        ("map@5", (1 / 2 + 2 / 4) / 3),
        ("ndcg@2", (1 / math.log2(3)) / (1 + 1 / math.log2(3))),
        ("NDCG@5", (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3) + 1 / 2)),
    ],
)
def test_metrics_by_hand(metric, expected):
    assert per_user(hits(["01010"], [3]), metric) == pytest.approx([expected])


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("k", [1, 5, 12])
def test_metrics_are_those_of_recbole(name, k, monkeypatch):
    from recbole.evaluator.register import metrics_dict

    monkeypatch.setattr(np, "float", float, raising=False)  # RecBole's Config does this
    run = random_hits(300, 12, seed=1)
    metric = metrics_dict[name]({"topk": [k], "metric_decimal_place": 4})
    arguments = (run.found, run.numbers) if name in ("recall", "ndcg", "map") else (run.found,)
    assert per_user(run, f"{name}@{k}") == pytest.approx(metric.metric_info(*arguments)[:, k - 1], abs=1e-12)


@pytest.mark.parametrize("metric", ["gauc", "recall", "recall@0", "recall@x", "recall@-1", "coverage@5", "recall@5@5"])
def test_other_metrics_are_refused(metric):
    assert not is_per_user(metric)
    with pytest.raises(InputError, match=r"metric: '.*' is not allowed; allowed: recall, hit"):
        per_user(hits(["01000"]), metric)


def test_lists_must_be_long_enough():
    with pytest.raises(InputError, match="@1 to @5"):
        per_user(hits(["01000"]), "recall@6")


@pytest.mark.parametrize(
    ("found", "numbers"),
    [
        (np.zeros((2, 3), bool), np.array([1])),
        (np.zeros((2, 3), np.int64), np.array([1, 1])),
        (np.zeros((2, 0), bool), np.array([1, 1])),
        (np.zeros((0, 3), bool), np.array([], np.int64)),
        (np.zeros((1, 3), bool), np.array([1.0])),
        (np.zeros((1, 3), bool), np.array([0])),
        (np.ones((1, 3), bool), np.array([2])),
    ],
)
def test_hits_that_cannot_be_are_refused(found, numbers):
    with pytest.raises(InputError, match="numbers: allowed"):
        Hits(found, numbers, "u")


# -- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("R", "k"), [(1, 1), (7, 3), (100, 20)])
def test_a_file_gives_back_what_was_saved(tmp_path, R, k):
    run = random_hits(R, k, seed=R, users="3f2a")
    run.save(tmp_path / "a.hits.npz")
    again = Hits.load(tmp_path / "a.hits.npz")
    assert (again.found == run.found).all()
    assert (again.numbers == run.numbers).all()
    assert again.users == "3f2a"
    assert again.found.dtype == np.bool_
    assert [path.name for path in tmp_path.iterdir()] == ["a.hits.npz"]


def test_a_changed_or_truncated_file_is_refused_or_harmless(tmp_path):
    run, path = random_hits(9, 4, seed=0), tmp_path / "a.hits.npz"
    run.save(path)
    content = path.read_bytes()
    damaged = [content[:end] for end in range(0, len(content), 7)]
    damaged += [content[:i] + bytes([content[i] ^ 0x55]) + content[i + 1 :] for i in range(len(content))]
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for part in damaged:
            path.write_bytes(part)
            try:
                again = Hits.load(path)
            except InputError as error:
                assert str(path) in str(error)  # noqa: PT017
                refused += 1
            else:  # a time or a flag of the archive
                assert (again.found == run.found).all()
                assert (again.numbers == run.numbers).all()
                assert again.users == run.users
    assert refused > len(damaged) / 2


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(InputError, match=r"a\.npz' cannot be read: No such file"):
        Hits.load(path)
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        Hits.load(tmp_path)
    np.savez(path, found=np.zeros(3))
    with pytest.raises(InputError, match=r"a\.npz' is corrupt or not a file of hits"):
        Hits.load(path)
    np.savez(path, format="recbole-mind hits 99")
    with pytest.raises(InputError, match="this release reads"):
        Hits.load(path)
    np.savez(path, format=np.array([{}], object))
    with pytest.raises(InputError, match="corrupt or not"):
        Hits.load(path)
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError, match="corrupt or not"):
        Hits.load(path)


def test_more_found_than_there_is_makes_a_file_corrupt(tmp_path):
    run = hits(["0110"])
    run.numbers[0] = 1
    run.save(tmp_path / "a.npz")
    with pytest.raises(InputError, match=r"a\.npz' is corrupt: numbers: allowed: at least 1, and no fewer"):
        Hits.load(tmp_path / "a.npz")


# -- the test -----------------------------------------------------------------------------------------------------


def by_enumeration(differences):
    """Two-sided p of the rank sum over every choice of signs."""
    nonzero = [value for value in differences if value]
    sizes = sorted(abs(value) for value in nonzero)
    ranks = [sum(place + 1 for place, s in enumerate(sizes) if s == abs(v)) / sizes.count(abs(v)) for v in nonzero]
    found = sum(rank for rank, value in zip(ranks, nonzero, strict=True) if value > 0)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(ranks))]
    below, above = (sum(map(keep, sums)) / len(sums) for keep in (lambda s: s <= found, lambda s: s >= found))
    return min(1, 2 * min(below, above))


@pytest.mark.parametrize("seed", range(8))
def test_few_differing_users_are_counted_out(seed):
    generator = np.random.default_rng(seed)
    differences = generator.choice([-1, -0.5, 0, 0, 0, 0.25, 0.5, 1], 12)
    found = compare(differences, np.zeros(12))
    assert found.p == pytest.approx(by_enumeration(differences.tolist()))


def test_without_ties_it_is_scipys_exact_test():
    differences = np.random.default_rng(0).normal(0.2, 1, 40)
    found = compare(differences, np.zeros(40))
    assert found.p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)


def test_many_differing_users_take_scipys_approximation():
    ours, baseline = random_hits(2000, 10, seed=1), random_hits(2000, 10, seed=2)
    found = compare(mean_per_user([ours], "ndcg@10"), mean_per_user([baseline], "ndcg@10"))
    a, b = per_user(ours, "ndcg@10"), per_user(baseline, "ndcg@10")
    expected = stats.wilcoxon(np.round(a - b, 12), zero_method="wilcox", correction=True)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.difference == pytest.approx((a - b).mean())
    assert (found.users, found.wins, found.losses) == (2000, (a > b).sum(), (a < b).sum())


def test_the_exact_p_of_equal_ranks_is_that_of_the_sign_test():
    differences = np.array([1.0] * 32 + [-1.0] * 18 + [0.0] * 500)
    assert compare(differences, np.zeros(550)).p == pytest.approx(stats.binomtest(32, 50).pvalue)


def test_the_exact_and_the_approximate_p_meet():
    differences = np.random.default_rng(0).choice([-1, -0.5, -0.25, 0.2, 0.5, 1], 300)
    counted = compare(differences, np.zeros(300)).p
    assert 0.01 < counted < 0.99
    assert counted == pytest.approx(stats.wilcoxon(differences, correction=True).pvalue, abs=0.005)


def test_five_wins_by_hand():
    found = compare(mean_per_user([hits(["1"] * 5 + ["0"] * 5)], "hit@1"), mean_per_user([hits(["0"] * 10)], "hit@1"))
    assert found.p == 2 / 2**5
    assert (found.effect, found.wins, found.losses, found.users, found.difference) == (1, 5, 0, 10, 0.5)


def test_effect_by_hand():
    # ranks 1, 2.5, 2.5, 4: (4 + 2.5 - 2.5 - 1) / 10
    found = compare(np.array([4.0, 2.0, -2.0, -1.0, 0.0]), np.zeros(5))
    assert found.effect == pytest.approx(0.3)


def test_identical_models_have_p_one():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runs = [random_hits(80, 5, seed) for seed in range(3)]
        found = compare(mean_per_user(runs, "ndcg@5"), mean_per_user(runs, "ndcg@5"))
    assert (found.p, found.effect, found.wins, found.losses, found.difference) == (1, 0, 0, 0, 0)


def test_seeds_are_averaged_and_their_order_is_nothing():
    runs = [random_hits(400, 5, seed) for seed in range(3)]
    a, b, c = (per_user(run, "ndcg@5") for run in runs)
    assert mean_per_user(runs, "ndcg@5") == pytest.approx((a + b + c) / 3)
    assert not (a + b + c == c + b + a).all()  # rounding alone
    found = compare(mean_per_user(runs, "ndcg@5"), mean_per_user(runs[::-1], "ndcg@5"))
    assert (found.p, found.wins, found.losses) == (1, 0, 0)


def test_p_values_of_equal_models_are_spread_evenly():
    generator = np.random.default_rng(0)
    found = []
    for _ in range(400):
        ours, baseline = generator.random((2, 1000)) < 0.06
        found.append(compare(ours.astype(float), baseline.astype(float)).p)
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.08


def test_different_numbers_of_users_are_refused():
    with pytest.raises(InputError, match="the runs have different test users"):
        compare(np.zeros(3), np.zeros(4))
