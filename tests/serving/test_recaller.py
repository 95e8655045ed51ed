"""Recall from a bundle: which items come, from where, and why not others."""

import threading

import numpy as np
import pytest

from recbole_mind.errors import InputError
from recbole_mind.retrieval import MultiVectorIndex, faiss_backend
from recbole_mind.serving.bundle.bundle import Bundle
from recbole_mind.serving.diversity import diversify
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.results import EMPTY, UNKNOWN, Funnel
from tests.support.bundles import exported, trained

ITEMS = [f"i{number}" for number in range(1, 51)]
HISTORY = ["i1", "i3", "i5", "i8", "i9", "i11", "i14", "i15"]


@pytest.fixture(scope="module")
def checkpoint(small, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("trained"), small, "MIND", K=3, routing_scale=10.0)


@pytest.fixture(scope="module", params=["exact", "IVF4,SQ8", "HNSW8"])
def recaller(request, checkpoint, tmp_path_factory):
    return Recaller.load(
        exported(checkpoint, tmp_path_factory.mktemp("b") / "bundle", factory=request.param), threads=1
    )


@pytest.fixture(scope="module")
def exact(checkpoint, tmp_path_factory):
    return Recaller.load(exported(checkpoint, tmp_path_factory.mktemp("b") / "bundle", categories=["tags"]), threads=1)


def by_hand(recaller, history, n, leave_out=(), profile=None):
    """What should come: (token, score, interest), by the maximum over interests, from the vectors alone."""
    vectors = recaller.interests(history, profile).vectors.astype(np.float64)
    scores = recaller.bundle.index.vectors.astype(np.float64) @ vectors.T  # [N, K]
    tokens = recaller.bundle.item_tokens.tokens(np.arange(len(scores)))
    best = [(-row.max(), place) for place, row in enumerate(scores) if tokens[place] not in leave_out]
    return [(tokens[place], -score, int(scores[place].argmax())) for score, place in sorted(best)[:n]]


def assert_is(found, wanted):
    assert found.items == [token for token, _, _ in wanted]
    np.testing.assert_allclose(found.scores, [score for _, score, _ in wanted], atol=1e-6)
    assert found.interests == [interest for _, _, interest in wanted]


# -- what comes ------------------------------------------------------------------------------------------------------


def test_a_request_takes_all_threads_and_those_of_a_batch_one_each(recaller, monkeypatch):
    index, taken = recaller.index, []
    using = faiss_backend.using_threads
    monkeypatch.setattr(faiss_backend, "using_threads", lambda number: taken.append(number) or using(number))
    monkeypatch.setattr(index, "threads", 3)
    alone = recaller.recall(HISTORY, n=20)
    many = recaller.recall_batch([HISTORY, HISTORY[:4]], n=20)
    assert many[0] == alone
    assert taken == ([] if index.factory == "exact" else [3, 1, 1])


def test_the_best_by_any_interest_come_first_and_once(exact):
    found = exact.recall(HISTORY, n=20)
    assert_is(found, by_hand(exact, HISTORY, 20, HISTORY))
    assert found.fallback is None
    assert len(set(found.interests)) > 1  # they differ, so that there is something to merge


def test_seen_items_come_only_when_asked_for(exact):
    assert not set(exact.recall(HISTORY, n=50).items) & set(HISTORY)
    assert len(exact.recall(HISTORY, n=50).items) == 42
    assert_is(exact.recall(HISTORY, n=50, exclude_seen=False), by_hand(exact, HISTORY, 50))


def test_a_long_history_is_read_from_its_end_and_left_out_whole(exact):
    long = ITEMS[:30]
    assert exact.interests(long).behaviors == long[-10:]
    np.testing.assert_array_equal(exact.interests(long).vectors, exact.interests(long[-10:]).vectors)
    assert set(exact.recall(long, n=50).items) == set(ITEMS[30:])


def test_unknown_items_are_dropped_and_counted(exact):
    found = exact.recall(["x", *HISTORY, "[PAD]", "y", ""], n=10)
    assert found.unknown == 4
    assert found._replace(unknown=0) == exact.recall(HISTORY, n=10)


@pytest.mark.parametrize(
    ("history", "reason", "unknown"), [([], EMPTY, 0), (["x"], UNKNOWN, 1), (["x", "[PAD]", "x"], UNKNOWN, 3)]
)
def test_without_a_known_item_the_most_popular_come(recaller, history, reason, unknown):
    popular = recaller.bundle.item_tokens.tokens(recaller.bundle.popularity)
    found = recaller.recall(history, n=7)
    assert found.items == popular[:7]
    assert found.scores == sorted(recaller.bundle.counts.tolist(), reverse=True)[:7]
    assert (found.interests, found.fallback, found.unknown) == ([-1] * 7, reason, unknown)
    filtered = recaller.recall(history, n=100, allowed=popular[2:9], denied=[popular[4]])
    assert filtered.items == [*popular[2:4], *popular[5:9]]
    assert recaller.interests(history).vectors.shape == (0, 16)


@pytest.mark.parametrize("size", [3, 12, 18])
def test_the_most_popular_of_a_pool_of_unpopular_items_come(recaller, size):
    popular = recaller.bundle.item_tokens.tokens(recaller.bundle.popularity)
    pool = recaller.pool(popular[-size:])  # beyond the first 32, where one item is asked for
    for n in (1, 2):
        assert recaller.recall([], n=n, allowed=pool).items == popular[-size:][:n]
        assert recaller.recall([], n=n, allowed=pool, denied=popular[-size:][:1]).items == popular[-size:][1 : n + 1]
    assert recaller.recall([], n=50, allowed=pool).items == popular[-size:]


def test_each_interest_says_what_it_recalls_alone(recaller):
    found = recaller.recall(HISTORY, n=6, per_interest=True)
    vectors = recaller.interests(HISTORY).vectors
    assert len(found.by_interest) == len(vectors) == 3
    tokens = recaller.bundle.item_tokens.tokens(np.arange(50))
    scores = dict(zip(tokens, recaller.bundle.index.vectors @ vectors.T, strict=True))
    merged = {}
    for k, (items, values) in enumerate(found.by_interest):
        assert len(items) == 6
        assert values == sorted(values, reverse=True)
        np.testing.assert_allclose(values, [scores[item][k] for item in items], atol=1e-6)
        for item, value in zip(items, values, strict=True):
            merged[item] = max(value, merged.get(item, -2))
    if recaller.index.factory == "exact":
        assert found.items == sorted(merged, key=lambda item: -merged[item])[:6]
    assert recaller.recall(HISTORY, n=6) == found._replace(by_interest=())


# -- which may come --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 5, 9, 30, 50])
def test_as_many_come_as_there_are(recaller, size):
    pool = ITEMS[-size:]
    found = recaller.recall(HISTORY, n=40, allowed=[*pool, "x", pool[0]])
    assert set(found.items) <= set(pool)
    assert len(found.items) == min(40, len(set(pool) - set(HISTORY)))
    prepared = recaller.pool([*pool, "x"])
    assert prepared.unknown == 1
    assert recaller.recall(HISTORY, n=40, allowed=prepared) == found


def test_denied_items_do_not_come(recaller, monkeypatch):
    denied = ["i2", "i4", "x"]
    few = recaller.recall(HISTORY, n=50, denied=denied)
    assert set(few.items) == set(ITEMS) - set(HISTORY) - set(denied)
    monkeypatch.setattr("recbole_mind.serving.recaller.FEW", 1)  # so that they are taken off the pool
    assert recaller.recall(HISTORY, n=50, denied=denied) == few


@pytest.mark.parametrize("history", [HISTORY, [], ["x"]])
def test_unknown_tokens_of_the_lists_are_counted(recaller, monkeypatch, history):
    both = {"allowed": [*ITEMS[:20], "x", "y"], "denied": ["i2", "x", "y", "z"]}
    found = recaller.recall(history, n=50, **both)
    assert (found.unknown_allowed, found.unknown_denied) == (2, 3)
    assert found.unknown == history.count("x")
    for each in recaller.recall_batch([history, HISTORY], n=5, **both):
        assert (each.unknown_allowed, each.unknown_denied) == (2, 3)
    without = recaller.recall(history, n=5)
    assert (without.unknown_allowed, without.unknown_denied) == (0, 0)
    prepared = recaller.recall(history, n=5, allowed=recaller.pool(both["allowed"]))
    assert (prepared.unknown_allowed, prepared.unknown_denied) == (2, 0)
    monkeypatch.setattr("recbole_mind.serving.recaller.FEW", 1)  # so that denied items are taken off the pool
    assert recaller.recall(history, n=50, **both) == found


def test_a_standing_pool_is_narrowed_and_swapped(recaller):
    try:
        assert recaller.set_pool([*ITEMS[:30], "x"]).unknown == 1
        assert set(recaller.recall(HISTORY, n=50).items) == set(ITEMS[:30]) - set(HISTORY)
        assert set(recaller.recall(HISTORY, n=50, allowed=ITEMS[20:]).items) == set(ITEMS[20:30])
        assert set(recaller.recall([], n=50).items) == set(ITEMS[:30])
        recaller.set_pool(denied=ITEMS[:40])
        assert set(recaller.recall(HISTORY, n=50).items) == set(ITEMS[40:])
        recaller.set_pool(recaller.pool(ITEMS[:9], denied=["i2"]))
        assert set(recaller.recall([], n=50).items) == set(ITEMS[:9]) - {"i2"}
        recaller.set_pool([])
        assert recaller.recall(HISTORY, n=5, per_interest=True).items == recaller.recall([], n=5).items == []
    finally:
        recaller.set_pool(None)
    assert len(recaller.recall(HISTORY, n=50).items) == 42


# -- the same answer -------------------------------------------------------------------------------------------------


def test_a_batch_has_the_answers_of_its_requests(recaller):
    generator = np.random.default_rng(0)
    histories = [list(generator.choice([*ITEMS, "x"], size)) for size in generator.integers(0, 20, 40)]
    profiles = [{"job": f"j{number % 4}"} for number in range(40)]
    options = {"n": 12, "per_interest": True, "diversity": 0.1}
    together = recaller.recall_batch(histories, profiles, **options)
    alone = [recaller.recall(*pair, **options) for pair in zip(histories, profiles, strict=True)]
    assert together == alone
    assert recaller.recall_batch([]) == []


def test_threads_get_the_answers_of_one_pool_or_the_other(recaller):
    pools = recaller.pool(ITEMS[:25]), recaller.pool(ITEMS[25:])
    wanted = []
    for pool in pools:
        recaller.set_pool(pool)
        wanted.append([recaller.recall(ITEMS[start : start + 6], n=9) for start in range(8)])
    wrong, done = [], threading.Event()

    def ask(start):
        while not done.is_set():
            found = recaller.recall(ITEMS[start : start + 6], n=9)
            if found not in (wanted[0][start], wanted[1][start]):
                wrong.append(found)

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for turn in range(300):
        recaller.set_pool(pools[turn % 2])
    done.set()
    for thread in threads:
        thread.join()
    recaller.set_pool(None)
    assert not wrong


# -- the profile -----------------------------------------------------------------------------------------------------


def test_a_profile_counts_and_what_is_unknown_in_it_is_missing(exact):
    bare = exact.interests(HISTORY)
    engineer = exact.interests(HISTORY, {"job": "j1"})
    assert not np.allclose(bare.vectors, engineer.vectors, atol=1e-4)
    for value in ("j9", "", ["j9"]):
        said = exact.interests(HISTORY, {"job": value})
        assert said.unknown_profile == ("job",)
        np.testing.assert_array_equal(said.vectors, bare.vectors)
    for profile in ({}, {"job": None}, {"job": []}):
        np.testing.assert_array_equal(exact.interests(HISTORY, profile).vectors, bare.vectors)
    assert exact.recall(HISTORY, {"age": "30", "job": "j1"}, n=3).unknown_profile == ("age",)


def test_a_known_user_brings_the_profile_that_training_saw(exact):
    np.testing.assert_array_equal(
        exact.interests(HISTORY, {"user_id": "u4"}).vectors, exact.interests(HISTORY, {"job": "j1"}).vectors
    )
    both = exact.interests(HISTORY, {"user_id": "u4", "job": "j2"})
    np.testing.assert_array_equal(both.vectors, exact.interests(HISTORY, {"job": "j2"}).vectors)
    assert exact.recall(HISTORY, {"user_id": "nobody"}).unknown_profile == ("user_id",)


# -- diversity -------------------------------------------------------------------------------------------------------


def greedily(scores, categories, n, weight):
    """ComiRec's Algorithm 2, as it is written, with Jaccard's distance between sets of categories."""
    chosen = []
    kinds = [set(row[row > 0].tolist()) or {"none"} for row in categories]
    while len(chosen) < min(n, len(scores)):
        values = {
            i: float(scores[i]) + weight * sum(1 - len(kinds[i] & kinds[j]) / len(kinds[i] | kinds[j]) for j in chosen)
            for i in range(len(scores))
            if i not in chosen
        }
        best = max(values.values())
        chosen.append(min(i for i, value in values.items() if value > best - 1e-9))
    return chosen


@pytest.mark.parametrize("weight", [0, 0.01, 0.3, 100])
@pytest.mark.parametrize("M", [1, 3])
def test_diversity_is_comirecs(weight, M):
    generator = np.random.default_rng(M)
    for m, n in ((1, 3), (30, 10), (30, 30)):
        scores = np.sort(generator.random(m))[::-1].astype(np.float32)
        categories = generator.integers(0, 5, (m, M)).astype(np.int32)
        assert diversify(scores, categories, n, weight).tolist() == greedily(scores, categories, n, weight)


def test_a_category_of_all_items_does_not_end_diversity():
    categories = np.array([[7, 1], [7, 1], [7, 2], [7, 3]])
    assert diversify([0.9, 0.8, 0.7, 0.6], categories, 3, 0.5).tolist() == [0, 2, 3]
    assert diversify([0.9, 0.8, 0.7, 0.6], categories[:, :1], 3, 0.5).tolist() == [0, 1, 2]


def test_items_without_any_category_keep_their_order():
    assert diversify([0.9, 0.8, 0.7], np.zeros((3, 0), np.int32), 2, 0.5).tolist() == [0, 1]
    assert diversify([0.9, 0.8, 0.7], np.zeros((3, 2), np.int32), 2, 0.5).tolist() == [0, 1]


def test_diversity_spreads_categories_and_keeps_scores(exact):
    history = ITEMS[:16:2]  # one of the two genres
    plain, spread = (exact.recall(history, n=10, diversity=weight) for weight in (0, 5))
    genres = exact.bundle.categories["genre"][:, 0]

    def numbers(found):
        return np.bincount(genres[exact.bundle.item_tokens.ids(found.items)], minlength=3)[1:].tolist()

    assert max(numbers(plain)) > 5
    assert numbers(spread) == [5, 5]
    scores = {token: score for token, score, _ in by_hand(exact, history, 50)}
    np.testing.assert_allclose(spread.scores, [scores[item] for item in spread.items], atol=1e-6)
    assert exact.recall(history, n=10, diversity=5, category="tags") != spread


# -- what cannot be used ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"history": "i1"}, "history: str is not allowed"),
        ({"history": None}, "history: NoneType is not allowed"),
        ({"history": {"i1": 1}}, "history: dict is not allowed"),
        ({"history": [1, 3]}, "history: token 1 is not allowed; allowed: text"),
        ({"history": ["i1", None]}, "history: token None is not allowed"),
        ({"n": 0}, "n: 0 is not allowed"),
        ({"n": True}, "n: True is not allowed"),
        ({"n": 2.5}, "n: 2.5 is not allowed"),
        ({"profile": ["j1"]}, "profile: list is not allowed"),
        ({"profile": {"job": 3}}, "profile: 'job': token 3 is not allowed"),
        ({"profile": {"job": ["j1", "j2"]}}, "profile: 'job' has one value; 2 are given"),
        ({"profile": {"user_id": 3}}, "profile: token 3 is not allowed"),
        ({"allowed": "i1"}, "allowed: str is not allowed"),
        ({"denied": [["i1"]]}, "denied: token \\['i1'\\] is not allowed"),
        ({"diversity": -1}, "diversity: -1 is not allowed"),
        ({"diversity": float("nan")}, "diversity: nan is not allowed"),
        ({"category": "gender", "diversity": 1}, "category: 'gender' is unknown; did you mean 'genre'"),
    ],
)
def test_what_cannot_be_used_is_refused(exact, options, reason):
    with pytest.raises(InputError, match=rf"^{reason}[^\n]*$"):
        exact.recall(**({"history": HISTORY} | options))


def test_a_huge_n_takes_no_more_than_the_catalogue(recaller):
    assert len(recaller.recall(HISTORY, n=10**12).items) == 42
    assert len(recaller.recall([], n=10**12).items) == 50
    assert len(recaller.recall(HISTORY, n=10**12, diversity=1.0).items) == 42


def test_a_small_pool_takes_little_memory_whatever_n_is(exact, monkeypatch):
    asked, search = [], exact.index.search
    watched = lambda vectors, active, n, **more: asked.append(n) or search(vectors, active, n, **more)  # noqa: E731
    monkeypatch.setattr(exact.index, "search", watched)
    exact.recall_batch([HISTORY, ["i2"]], n=10**6, allowed=ITEMS[:7], per_interest=True, diversity=1.0)
    assert asked
    assert set(asked) == {7}


@pytest.mark.parametrize("pool", [ITEMS[:5], None])
def test_a_pool_of_another_bundle_is_refused(exact, pool):
    other, pool = Recaller(Bundle.load(exact.bundle.folder, verify=False)), exact.pool(pool)
    for ask in (
        lambda: other.recall(HISTORY, allowed=pool),
        lambda: other.recall([], allowed=pool),
        lambda: other.set_pool(pool),
        lambda: other.pool(pool, denied=["i1"]),
    ):
        with pytest.raises(InputError, match="allowed: this pool is of another bundle; make it with this one"):
            ask()
    other.set_pool(ITEMS[:40])
    with pytest.raises(InputError, match="this pool is of another bundle"):
        other.recall(HISTORY, allowed=pool)


def test_profiles_go_with_histories(exact):
    with pytest.raises(InputError, match="profiles: 1 for 2 histories"):
        exact.recall_batch([HISTORY, HISTORY], [None])


@pytest.mark.parametrize("few", [1000, 2])
def test_what_is_left_at_each_step_is_counted(two_bundles, monkeypatch, few):
    monkeypatch.setattr("recbole_mind.serving.recaller.FEW", few)
    recaller = Recaller.load(two_bundles[0], threads=1)
    history, pool = ["i1", "i3", "i3", "i5", "x"], [f"i{row}" for row in range(1, 21)]
    denied = ["i1", "i7", "i8", "i40", "y"]
    for n, exclude_seen, wanted in (
        (100, True, Funnel(50, 20, 17, 15, 15)),
        (4, True, Funnel(50, 20, 17, 15, 4)),
        (100, False, Funnel(50, 20, 20, 17, 17)),
    ):
        found = []
        recaller.recall(history, None, n, exclude_seen, pool, denied=denied, funnel=found)
        assert found == [wanted]
    found = []
    recaller.recall_batch([history, []], n=3, denied=denied, funnel=found)
    assert found == [Funnel(50, 50, 47, 44, 3), Funnel(50, 50, 50, 46, 3)]


def test_an_index_of_other_items_is_refused(exact):
    bundle = exact.bundle
    other = MultiVectorIndex.build(bundle.index.vectors[:-1], device="cpu")
    with pytest.raises(InputError, match=r"^index: its 49 vectors of size 16 are not the 50 of size 16 of the bundle$"):
        Recaller(bundle, index=other)
    assert Recaller(bundle, index=MultiVectorIndex.build(bundle.index.vectors, "HNSW8")).index.factory == "HNSW8"
