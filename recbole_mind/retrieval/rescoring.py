"""From the items that an index proposes for each interest to the n best of each user, scored the one way that counts.

Shape legend: B users, K interests, D embedding size, N items, V vectors, C candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from recbole_mind.retrieval import exact, types
from recbole_mind.retrieval.pool import Pool
from recbole_mind.retrieval.types import Bools, Exclusions, Floats, Found, Ints

Propose = Callable[[Floats, int, Pool | None], Ints]
"""For vectors ``[V, D]``, m and a pool: ids ``[V, ≥ m]`` of it, -1 for none."""
Exactly = Callable[[Floats, Bools, int, Exclusions, Pool | None], Found]


def search(
    propose: Propose,
    exactly: Exactly | None,
    items: Floats,
    interests: Floats,
    active: Bools,
    n: int,
    excluded: Exclusions,
    pool: Pool | None,
    *,
    largest_norm: float,
    threads: int,
    memory: int,
) -> Found:
    """The n best of what ``propose`` finds among ``items`` [N, D]; ``exactly`` serves whoever gets too few."""
    B, K, _ = interests.shape
    N = len(items)
    size = N if pool is None else len(pool.ids)
    result = types.empty(B, n)
    depth = np.minimum(N, n + np.bincount(excluded.rows, minlength=B))
    inside = excluded.rows if pool is None else excluded.rows[pool.holds(excluded.ids)]
    wanted = np.where(active.any(1), np.minimum(n, size - np.bincount(inside, minlength=B)), 0)
    for users in of_like_depth(depth, K, memory):
        m = int(depth[users].max())
        mine, on = interests[users], active[users]
        proposed = propose(mine[on], m, pool)
        candidates = np.full((len(users), K, proposed.shape[1]), -1)
        candidates[on] = np.where(proposed < N, proposed, -1)  # an index from elsewhere may hold any id
        # every product with a vector of zeros is a tie, which the lower ids win; an index would return any
        first, few = np.full(proposed.shape[1], -1), min(size, proposed.shape[1])
        first[:few] = np.arange(few) if pool is None else pool.ids[:few]
        candidates[on & ~mine.any(2)] = first
        candidates = np.sort(candidates.reshape(len(users), -1), axis=1)
        twice = candidates[:, 1:] == candidates[:, :-1]
        left_out = excluded.of(users, B)
        keys = (np.arange(len(users))[:, None] * (N + 1) + candidates + 1).ravel()  # ascending
        asked = left_out.rows * (N + 1) + left_out.ids + 1
        place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        candidates.reshape(-1)[place[keys[place] == asked]] = -1
        candidates[:, 1:][twice] = -1
        candidates = _front(candidates, candidates >= 0)  # what no user has need not be scored
        result.put(users, _merged(items, candidates, mine, on, n, largest_norm, threads, memory))
    short = np.flatnonzero((result.ids >= 0).sum(1) < wanted)  # too few were proposed: there are more
    if len(short) and exactly is not None:
        result.put(short, exactly(interests[short], active[short], n, excluded.of(short, B), pool))
    return result


def of_like_depth(depth: Ints, K: int, memory: int) -> Iterator[Ints]:
    """Users who are searched together: within a factor of two of the same ``depth`` [B], within the memory."""
    order = np.argsort(depth, kind="stable")
    ordered = depth[order]
    start = 0
    while start < len(order):
        stop = min(start + 4096, int(np.searchsorted(ordered, 2 * ordered[start], side="right")))
        while stop > start + 1 and (stop - start) * K * int(ordered[stop - 1]) * 48 > memory:
            stop = start + (stop - start) // 2
        yield order[start:stop]
        start = stop


def _front(ids: Ints, kept: Bools) -> Ints:
    """The ids ``[B, C]`` that are ``kept``, in their order, then -1; as wide as the longest row."""
    order = np.argsort(~kept, axis=1, kind="stable")[:, : int(kept.sum(1).max(initial=0))]
    return np.where(np.take_along_axis(kept, order, axis=1), np.take_along_axis(ids, order, axis=1), -1)


def _merged(
    items: Floats,
    candidates: Ints,
    interests: Floats,
    active: Bools,
    n: int,
    largest_norm: float,
    threads: int,
    memory: int,
) -> Found:
    """Score candidates ``[B, C]`` again and keep the n best; float32 products tell which of many can be among them."""
    B, C = candidates.shape
    step = int(max(1, min(64, memory // threads // (16 * max(C, 1) * items.shape[1]))))
    slack = exact.rounding(interests, active, largest_norm)

    def part(start: int) -> Found:
        rows = slice(start, start + step)
        ids, vectors, on = candidates[rows], interests[rows], active[rows]
        if 2 * n < C:
            # not by BLAS, whose threads and FAISS's would wait for one another's cores
            rough = np.einsum("bkd,bcd->bkc", vectors, items.take(ids, axis=0, mode="clip"))
            rough = np.where(on[:, :, None], rough, -np.inf).max(1)  # [b, C]
            rough[ids < 0] = -np.inf
            last = np.partition(rough, C - n, axis=1)[:, C - n]
            ids = _front(ids, ~(rough < (last - 3 * slack[rows])[:, None]) & (ids >= 0))
        return exact.best(ids, *exact.rescore(items, ids, vectors, on), n)

    starts = range(0, B, step)
    if len(starts) == 1 or threads == 1:
        parts = [part(start) for start in starts]
    else:
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(part, starts))
    return Found(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
