"""Multi-vector search against a loop-written reference: exact search, what it does not depend on, and FAISS."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from recbole_mind.errors import InputError
from recbole_mind.retrieval import exact, faiss_backend, rescoring
from recbole_mind.retrieval import index as retrieval
from recbole_mind.retrieval.index import normalized
from tests.support.vectors import (
    ACTIVE,
    EXCLUDE,
    INTERESTS,
    ITEMS,
    KINDS,
    LARGE_POOL,
    assert_same,
    build,
    draw,
    indexed,
    reference,
)


def padded(lists):
    table = np.full((len(lists), max(map(len, lists)) + 2), -1)
    for row, ids in zip(table, lists, strict=True):
        row[1 : 1 + len(ids)] = ids
    return table


# -- exact search ------------------------------------------------------------------------------------------------------


@st.composite
def problems(choose, kinds=KINDS):
    """Items [N, D], interests [B, K, D], active [B, K], n, exclude and allowed, both as lists or None."""
    rng = np.random.default_rng(choose(st.integers(0, 2**32)))
    N, D, B = choose(st.integers(1, 60)), choose(st.sampled_from([1, 2, 3, 8, 17])), choose(st.integers(1, 5))
    K = choose(st.integers(1, 4) | st.just(N + 2))
    items, interests = draw(rng, choose(st.sampled_from(kinds)), N, B, K, D)
    if choose(st.booleans()):
        items = items[rng.integers(0, max(1, N // 4), N)]
    items[rng.random(N) < choose(st.sampled_from([0, 0.2, 1]))] = 0
    interests[rng.random((B, K)) < choose(st.sampled_from([0, 0.2]))] = 0
    active = rng.random((B, K)) < choose(st.sampled_from([0, 0.4, 0.9, 1]))
    exclude = allowed = None
    if choose(st.booleans()):
        share = choose(st.sampled_from([0.05, 0.5, 1]))
        exclude = [np.flatnonzero(rng.random(N) < share).tolist() for _ in range(B)]
    if choose(st.booleans()):
        allowed = np.flatnonzero(rng.random(N) < choose(st.sampled_from([0, 0.1, 0.6, 1]))).tolist()
    return items, interests, active, choose(st.integers(1, 70)), exclude, allowed


@pytest.mark.parametrize("form", ["ids", "mask", "pool"])
@given(problem=problems(), as_table=st.booleans())
@settings(max_examples=100, deadline=None)
def test_exact_search_equals_reference(form, problem, as_table):
    items, interests, active, n, exclude, allowed = problem
    index, given_allowed = build(items), allowed
    if allowed is not None:
        mask = np.isin(np.arange(len(items)), allowed)
        given_allowed = {"ids": allowed[::-1] * 2, "mask": mask, "pool": index.pool(mask)}[form]
    given_exclude = padded(exclude) if as_table and exclude else exclude
    assert_same(index.search(interests, active, n, given_exclude, given_allowed), reference(*problem))


@given(problem=problems(KINDS[:-1]))  # unit vectors that cancel leave what float64 rounds
@settings(max_examples=200, deadline=None)
def test_exact_search_by_cosine_equals_reference(problem):
    items, interests, *rest = problem
    found = build(items, metric="cosine").search(interests, *rest)
    assert_same(found, reference(normalized(items), normalized(interests), *rest))


def test_a_user_without_active_interest_gets_nothing():
    found = build(np.ones((5, 2), np.float32)).search(np.ones((2, 1, 2), np.float32), np.array([[False], [True]]), 2)
    assert_same(found, ([[-1, -1], [0, 1]], [[-np.inf, -np.inf], [2, 2]], [[-1, -1], [0, 0]]))


def test_pools_of_either_size_and_an_empty_one_are_searched():
    index = build(np.arange(100, dtype=np.float32)[:, None])
    query = np.ones((1, 1, 1), np.float32), None, 3
    assert index.pool(range(10)).vectors is not None
    assert index.pool(range(90)).vectors is None
    assert index.search(*query, allowed=index.pool(range(10))).ids.tolist() == [[9, 8, 7]]
    assert index.search(*query, allowed=index.pool(range(90))).ids.tolist() == [[89, 88, 87]]
    assert index.search(*query, allowed=[]).ids.tolist() == [[-1, -1, -1]]
    assert index.search(*query, exclude=[range(100)]).ids.tolist() == [[-1, -1, -1]]


def test_many_ids_are_a_pool_in_whatever_order_they_come():
    index = build(np.arange(100, dtype=np.float32)[:, None])
    ids = np.random.default_rng(0).permutation(np.repeat(np.arange(0, 100, 2), 3))
    for pool in (index.pool(ids), index.pool(ids[:90].tolist() + ids.tolist())):
        assert pool.ids.tolist() == list(range(0, 100, 2))
        assert pool.holds(np.arange(100)).tolist() == [True, False] * 50
    small = index.pool(np.repeat([7, 3], 20))  # many, of few items
    assert small.ids.tolist() == [3, 7]
    assert small.vectors is not None


def test_recall_is_the_indexs_own_where_a_search_is_completed_exactly():
    items = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
    index = build(items, "IVF16,Flat")
    interests = items[:20, None] + 0.1
    index.set_parameters(nprobe=1)
    assert (index.search(interests, None, 100).ids >= 0).all()
    assert (
        retrieval.overlap(index.search(interests, None, 100).ids, index.search_exactly(interests, None, 100).ids) > 0.9
    )
    assert index.recall(interests, None, 100) < 0.5
    assert index.recall(interests, None, 100, nprobe=16) == 1


# -- what a result does not depend on ----------------------------------------------------------------------------------


@lru_cache
def large_problem(kind, filtered):
    """One of several blocks once blocks are small; user 0 has an interest of zeros, user 1 no active interest."""
    rng = np.random.default_rng(KINDS.index(kind))
    items, interests = draw(rng, kind, 300, 9, 3, 8)
    items[rng.integers(0, 300, 60)] = items[rng.integers(0, 300, 60)]
    interests[0, 1] = 0
    active = rng.random((9, 3)) < 0.7
    active[:2] = [[False, True, True], [False, False, False]]
    exclude = [rng.permutation(300)[: 30 * user].tolist() for user in range(9)] if filtered else None
    allowed = np.flatnonzero(rng.random(300) < 0.6).tolist() if filtered else None
    return items, interests, active, 20, exclude, allowed


@lru_cache
def expected(kind, filtered):
    return reference(*large_problem(kind, filtered))


SETTINGS = {
    "default": {},
    "three threads": {"threads": 3, "USERS": 2},
    "little memory": {"memory": 1},
    "narrow blocks": {"WIDEST": 37, "SCORES": 1, "USERS": 2},
    "blocks of one item": {"WIDEST": 1},
    "no extra candidates": {"EXTRA": 0, "WIDEST": 41},
    "on torch": {"torch": True},
    "on torch in small blocks": {"torch": True, "memory": 4 * 9 * 5 * 37, "EXTRA": 0},
    "on torch item by item": {"torch": True, "memory": 1},
}


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_exact_results_do_not_depend_on_blocks_threads_or_device(setting, kind, filtered, monkeypatch):
    items, *query = large_problem(kind, filtered)
    index = build(items)
    for name, value in SETTINGS[setting].items():
        if name == "torch":
            index._on_device = torch.from_numpy(items.copy())
        else:
            monkeypatch.setattr(exact if name.isupper() else index, name, value)
    assert_same(index.search(*query), expected(kind, filtered))


@pytest.mark.parametrize("kind", KINDS)
def test_exact_results_do_not_depend_on_the_other_users_or_the_order_of_interests(kind):
    items, interests, active, n, exclude, allowed = large_problem(kind, True)
    index = build(items)
    alone = [index.search(interests[[b]], active[[b]], n, [exclude[b]], allowed) for b in range(len(interests))]
    assert_same([np.concatenate(part) for part in zip(*alone, strict=True)], expected(kind, True))
    turned = index.search(interests[:, ::-1], active[:, ::-1], n, exclude, allowed)
    assert_same([*turned[:2], turned[2]], [*expected(kind, True)[:2], turned[2]])


def test_tensors_are_searched_as_arrays_are_and_no_users_give_no_rows():
    items, interests, active, n, exclude, allowed = large_problem("normal", True)
    tensors = [torch.from_numpy(array) for array in (interests, active)]
    index = build(torch.from_numpy(items.copy()).requires_grad_())
    found = index.search(*tensors, n, torch.from_numpy(padded(exclude)), torch.tensor(allowed))
    assert_same(found, expected("normal", True))
    for factory in ("exact", "Flat"):
        found = build(items, factory).search(interests[:0], active[:0], n, exclude=[])
        assert [part.shape for part in found] == [(0, n)] * 3


def test_an_index_keeps_a_copy_of_the_items():
    items, *query = large_problem("normal", False)
    mine = items.copy()
    index = build(mine)
    mine[:] = 0
    assert_same(index.search(*query), expected("normal", False))


def test_concurrent_searches_agree(monkeypatch):
    monkeypatch.setattr(exact, "USERS", 2)
    items, *query = large_problem("normal", True)
    index = build(items, threads=3)
    with ThreadPoolExecutor(4) as pool:
        for result in [pool.submit(index.search, *query) for _ in range(40)]:
            assert_same(result.result(), expected("normal", True))


def test_a_search_leaves_blas_and_faiss_their_threads(monkeypatch):
    monkeypatch.setattr(exact, "USERS", 2)
    items, *query = large_problem("normal", True)
    indexes = [build(items, factory, threads=3) for factory in ("exact", "Flat")]
    with threadpool_limits(2, user_api="blas"):
        before = threadpool_info()
        for index in indexes:
            index.search(*query)
        assert threadpool_info() == before


@pytest.mark.parametrize("scale", [1, 1e-24])
def test_lengths_that_float32_squares_lose_still_bound_the_rounding(scale):
    items = np.zeros((100, 3), np.float32)
    items[:, 1] = 1 + np.arange(100) / 1000
    items[7] = (2**26, 1.5, -(2**26))  # sums to 1.5 only where nothing is rounded away
    found = build(items * np.float32(2**20)).search(np.full((1, 1, 3), scale, np.float32), None, 3)
    assert found.ids[0, 0] == 7


def test_tiny_vectors_have_a_cosine_too():
    vectors = np.array([[3e-25, 4e-25], [3e-22, 4e-22], [3, 4]], np.float32)
    np.testing.assert_allclose(np.linalg.norm(normalized(vectors).astype(float), axis=1), 1, atol=1e-6)


def test_scores_depend_on_nothing_but_the_two_vectors():
    rng = np.random.default_rng(0)
    for _ in range(30):
        D = 2 * int(rng.integers(2, 20))
        items, interests = (
            (rng.standard_normal(shape) * 2.0 ** rng.integers(-30, 30, shape)).astype(np.float32)
            for shape in ((60, D), (6, 3, D))
        )
        # halves that cancel
        items[:, : D // 2], interests[:, :, : D // 2] = (
            items[:, D // 2 :],
            -interests[:, :, D // 2 :],
        )
        index, exclude = build(items), [list(range(8 * user)) for user in range(6)]
        together = index.search(interests, None, 5, exclude=exclude)
        np.testing.assert_array_equal(
            index.search(interests[:, ::-1], None, 5, exclude=exclude).scores, together.scores
        )
        for user in range(6):
            alone = index.search(interests[[user]], None, 5, exclude=[exclude[user]])
            np.testing.assert_array_equal(alone.scores[0], together.scores[user])


def test_overlapping_searches_give_blas_its_threads_back():
    blas = {"internal_api": "openblas", "threading_layer": "pthreads"}
    with threadpool_limits(2, user_api="blas"):
        pass  # the library is known now

    def threads():
        return [entry["num_threads"] for entry in threadpool_info() if blas.items() <= entry.items()]

    before, inside, second, done = threads(), threading.Event(), threading.Event(), threading.Event()

    def first_in():
        with exact.one_blas_thread():
            inside.set()
            second.wait()
        done.set()

    def last_out():
        inside.wait()
        with exact.one_blas_thread():
            second.set()
            done.wait()

    both = [threading.Thread(target=target) for target in (first_in, last_out)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert threads() == before


# -- merging by maximum ------------------------------------------------------------------------------------------------


@given(problem=problems())
@settings(max_examples=100, deadline=None)
def test_the_best_by_maximum_are_among_the_best_of_each_interest(problem):
    items, interests, active, n, exclude, allowed = problem
    for user, ids in enumerate(reference(*problem)[0]):
        union = {-1}
        for k in np.flatnonzero(active[user]):
            one = interests[[user], k : k + 1], np.ones((1, 1), bool)
            union |= set(reference(items, *one, n, exclude and [exclude[user]], allowed)[0][0])
        assert set(ids) <= union


def test_an_nth_part_of_each_interest_is_not_enough():
    items, interests = np.array([[9, 0], [8, 0], [0, 1]], np.float32), np.eye(2, dtype=np.float32)[None]
    together = reference(items, interests, np.ones((1, 2), bool), 2)[0][0]
    halves = [reference(items, interests[:, [k]], np.ones((1, 1), bool), 1)[0][0][0] for k in range(2)]
    assert (together, halves) == ([0, 1], [0, 2])


# -- FAISS -------------------------------------------------------------------------------------------------------------

EXHAUSTIVE = {
    "Flat": {},
    "IVF8,Flat": {"nprobe": 8},
    "IVF8,Flat,RFlat": {"nprobe": 8, "k_factor": 4},
    "IVF8_HNSW8,Flat": {"nprobe": 8, "efSearch": 64},
}
LOSSY = [
    ("HNSW16", {"efSearch": 300}),
    ("IVF8,SQ8", {"nprobe": 8}),
    ("PCA16,IVF8,Flat", {"nprobe": 8}),
    ("PQ4x4", {}),
    ("IVF8,Flat", {"nprobe": 1}),
    ("HNSW16", {"efSearch": 1}),
    ("IVF8_HNSW8,Flat", {"nprobe": 1, "efSearch": 1}),
]
FILTERS = {
    "none": {},
    "exclude": {"exclude": EXCLUDE},
    "large pool": {"allowed": LARGE_POOL},
    "small pool": {"allowed": np.arange(40, 60)},
    "empty pool": {"allowed": []},
    "exclude and large pool": {"exclude": EXCLUDE, "allowed": LARGE_POOL},
}


@lru_cache
def ranked(name):
    """All that a filter leaves, best first."""
    return reference(ITEMS, INTERESTS, ACTIVE, len(ITEMS), **FILTERS[name])


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("factory", EXHAUSTIVE)
def test_an_exhaustive_faiss_search_equals_reference(factory, name):
    for n in (1, 10, 300):
        found = indexed(factory).search(INTERESTS, ACTIVE, n, **FILTERS[name], **EXHAUSTIVE[factory])
        assert_same(found, [[row[:n] for row in part] for part in ranked(name)])
        assert indexed(factory).recall(INTERESTS, ACTIVE, n, **FILTERS[name], **EXHAUSTIVE[factory]) == 1


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(("factory", "parameters"), LOSSY)
def test_a_faiss_search_gives_enough_different_allowed_items_with_their_scores(factory, parameters, name):
    for n in (10, 200):
        found = indexed(factory).search(INTERESTS, ACTIVE, n, **FILTERS[name], **parameters)
        for ids, scores, origins, *best in zip(*found, *ranked(name), strict=True):
            there = {i: (-score, i, k) for i, score, k in zip(*best, strict=True) if i >= 0}
            rows, number = list(zip(-scores, ids, origins, strict=True)), min(n, len(there))
            assert rows[:number] == sorted({there[i] for i in ids[:number]})
            assert rows[number:] == [(np.inf, -1, -1)] * (n - number)
        assert 0 <= indexed(factory).recall(INTERESTS, ACTIVE, n, **FILTERS[name], **parameters) <= 1


@pytest.mark.parametrize("factory", ["exact", *EXHAUSTIVE, "HNSW16", "PCA16,IVF8,Flat", "PQ4x4"])
def test_an_interest_of_zeros_finds_the_lowest_ids(factory):
    index, zeros = indexed(factory), np.zeros((1, 2, 16), np.float32)
    assert index.search(zeros, None, 4).ids.tolist() == [[0, 1, 2, 3]]
    found = index.search(zeros, None, 4, exclude=[[1, 121]], allowed=LARGE_POOL)
    assert_same(found, ([[120, 122, 123, 124]], [[0] * 4], [[0] * 4]))


@pytest.mark.parametrize("factory", ["IVF8,Flat", "HNSW16", "IVF8,Flat,RFlat"])
def test_faiss_results_do_not_depend_on_threads_or_memory(factory):
    index = build(ITEMS, factory)
    index.threads, index.memory = 3, 2**10
    query = INTERESTS, ACTIVE, 10, EXCLUDE
    assert_same(index.search(*query), indexed(factory).search(*query))


@pytest.mark.parametrize("shift", [10**9, -(10**9)])
def test_ids_that_the_catalogue_has_not_count_as_none(shift):
    index = build(ITEMS, "IVF8,Flat")
    inner = faiss.index_factory(ITEMS.shape[1], "IVF8,Flat", faiss.METRIC_INNER_PRODUCT)
    inner.train(ITEMS)
    inner.add_with_ids(ITEMS, np.where(np.arange(len(ITEMS)) % 2, np.arange(len(ITEMS)) + shift, np.arange(len(ITEMS))))
    index._index = inner
    assert_same(index.search(INTERESTS, ACTIVE, len(ITEMS)), reference(ITEMS, INTERESTS, ACTIVE, len(ITEMS)))


def test_users_who_leave_out_much_do_not_deepen_the_search_of_the_others():
    depth = np.random.default_rng(0).permutation(np.r_[np.full(5000, 10), np.full(40, 15), 290, 300])
    groups = list(rescoring.of_like_depth(depth, 4, retrieval.MEMORY))
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(depth)))
    assert all(depth[users].max() <= 2 * depth[users].min() for users in groups)
    assert {len(users) for users in groups if depth[users].max() > 100} == {2}
    assert len(groups) == 3
    groups = list(rescoring.of_like_depth(depth, 4, 2**16))
    assert all(len(users) * 4 * depth[users].max() * 48 <= 2**16 for users in groups if len(users) > 1)


def test_one_thread_is_one_thread(monkeypatch):
    seen = []
    scan = exact._scan

    def watched(*arguments):
        blas = [entry for entry in threadpool_info() if entry["user_api"] == "blas" and "numpy" in entry["filepath"]]
        seen.append({entry["num_threads"] for entry in blas})
        return scan(*arguments)

    monkeypatch.setattr(exact, "_scan", watched)
    with threadpool_limits(2, user_api="blas"):
        pass
    build(ITEMS, threads=1).search(INTERESTS, ACTIVE, 5)
    assert seen == [{1}]


def test_cosine_by_faiss_equals_reference():
    found = build(ITEMS, "IVF8,Flat", "cosine").search(INTERESTS, ACTIVE, 10, EXCLUDE, nprobe=8)
    assert_same(found, reference(normalized(ITEMS), normalized(INTERESTS), ACTIVE, 10, EXCLUDE))


def test_search_parameters_hold_for_one_call_or_until_set_again():
    index = build(ITEMS, "IVF8_HNSW8,Flat,RFlat")
    before, low = index.parameters, {"nprobe": 1, "efSearch": 1, "k_factor": 1.5}
    once = index.search(INTERESTS, ACTIVE, 10, **low)
    assert index.parameters == before
    index.nprobe, index.efSearch, index.k_factor = low.values()
    assert index.parameters == low == {name: getattr(index, name) for name in low}
    assert_same(index.search(INTERESTS, ACTIVE, 10), once)
    with pytest.raises(InputError):
        index.set_parameters(nprobe=5, efSearch=0)
    assert index.parameters == low
    assert indexed("exact").nprobe is None


def test_a_name_that_an_index_does_not_have_cannot_be_set():
    index = build(ITEMS, "IVF8,Flat")
    with pytest.raises(InputError, match="index: it has no 'nprob'; did you mean 'nprobe'"):
        index.nprob = 2
    index.threads, index.memory = 1, 2**20
    assert (index.threads, index.memory) == (1, 2**20)


def test_auto_chooses_by_size(monkeypatch):
    sizes = (1, 200_000, 200_001, 5_000_000, 5_000_001)
    assert [faiss_backend.automatic(N) for N in sizes] == ["exact"] * 2 + [
        "IVF1789,Flat",
        "IVF8944,Flat",
        "IVF8944,SQ8",
    ]
    assert build(ITEMS, "auto").factory == "exact"
    monkeypatch.setattr(faiss_backend, "EXACT_UP_TO", 299)
    assert build(ITEMS, "auto").factory == "IVF69,Flat"


@pytest.mark.parametrize("factory", ["IVF4,PQ8", "OPQ8,IVF4,PQ8"])
def test_what_faiss_warns_of_is_said_once(factory, capfd, caplog, monkeypatch):
    monkeypatch.setattr(faiss_backend, "_SAID", set())
    items = np.random.default_rng(0).standard_normal((500, 16)).astype(np.float32)
    for count in (500, 400):  # as evaluations do, epoch after epoch
        retrieval.MultiVectorIndex.build(items[:count], factory)
    assert [record.message for record in caplog.records] == [
        f"FAISS, index '{factory}': clustering 500 points to 256 centroids: please provide at least 9984 training "
        "points; said once"
    ]
    assert "WARNING clustering" not in "".join(capfd.readouterr())


def test_what_others_write_while_faiss_trains_is_kept(capfd, monkeypatch):
    monkeypatch.setattr(faiss_backend, "_SAID", {("IVF4,PQ8", "WARNING  things\n")})
    with faiss_backend._said_once("IVF4,PQ8"):
        os.write(2, "WARNING 3 things\nan error: ü\n".encode())
    assert capfd.readouterr().err == "an error: ü\n"
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
