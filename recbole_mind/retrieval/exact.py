"""Exact multi-vector search: the items with the largest max over k of v_k·e_i, without a users × items matrix.

A scan over blocks of items finds candidates by float32 products, of which only those above a running threshold are
kept. The candidates are then scored again, in one way wherever they came from: each product summed in float64 and
rounded to float32. A row is done when its n-th score lies above all that the scan dropped by more than float32 sums
can err; the few rows where that is open are scored whole. So the answer does not depend on batch, block, thread or
device, and ties go to the lower id.

Shape legend: B users, K interests, D embedding size, N items, C candidates.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from recbole_mind.retrieval.gpu import scan_on_device
from recbole_mind.retrieval.types import Bools, Exclusions, Floats, Found, Ints, empty

EXTRA = 16  # candidates beyond n, so that rounding rarely leaves a row open


USERS, SCORES, WIDEST = 256, 2**21, 2**16  # users, scores and items of one block: what stays in the cache


def lengths(vectors: Floats) -> npt.NDArray[np.float64]:
    """Lengths ``[...]`` of vectors ``[..., D]``; squares in float64, where those of small numbers do not vanish."""
    length: npt.NDArray[np.float64] = np.sqrt(np.einsum("...d,...d->...", vectors, vectors, dtype=np.float64))
    return length


def rounding(interests: Floats, active: Bools, largest_norm: float) -> npt.NDArray[np.float64]:
    """How far a float32 product with an item may be off, for each user ``[B]``.

    Sums of D products err by at most D units of 2^-24 times the norms, in any order (Higham, §3.1).
    """
    D = interests.shape[2]
    longest = np.where(active, lengths(interests), 0).max(1)
    slack: npt.NDArray[np.float64] = 1.1 * (D + 2) * 2.0**-24 * longest * largest_norm + D * 2.0**-125
    return slack


def rescore(items: Floats, ids: Ints, interests: Floats, active: Bools) -> tuple[Floats, Ints]:
    """Score candidates ``ids`` [B, C] (-1 for none) the one way that counts: summed in float64, rounded to float32.

    Returns:
        scores ``[B, C]``, the maximum over the active of ``interests`` [B, K, D], and ``[B, C]``, the first interest
        that reaches it; -inf and -1 where there is no candidate.
    """
    vectors = items.take(ids, axis=0, mode="clip").astype(np.float64)  # [B, C, D]
    # not by BLAS, whose order of summation varies with a row's place and with its company
    products = np.einsum("bkd,bcd->bkc", interests.astype(np.float64), vectors).astype(np.float32)
    products[~active] = -np.inf
    origin = products.argmax(1)
    scores = np.take_along_axis(products, origin[:, None], axis=1)[:, 0]
    scores[ids < 0] = -np.inf
    origin[scores == -np.inf] = -1
    return scores, origin


def best(ids: Ints, scores: Floats, origin: Ints, n: int) -> Found:
    """The n best of candidates ``[B, C]``: by score, then by the lower id; padded with -1."""
    order = np.lexsort((ids, -scores), axis=1)[:, :n]
    width = order.shape[1]
    result = empty(len(ids), n)
    result.scores[:, :width] = np.take_along_axis(scores, order, axis=1)
    result.interests[:, :width] = np.take_along_axis(origin, order, axis=1)
    result.ids[:, :width] = np.where(result.scores[:, :width] > -np.inf, np.take_along_axis(ids, order, axis=1), -1)
    return result


def search(
    items: Floats,
    interests: Floats,
    active: Bools,
    n: int,
    *,
    excluded: Exclusions,
    subset: Ints | None = None,
    largest_norm: float,
    threads: int,
    memory: int,
    on_device: Any = None,
) -> Found:
    """Search exactly.

    Args:
        items: ``[N, D]``.
        interests: ``[B, K, D]``, with ``active`` [B, K].
        n: how many to find.
        excluded: pairs of user and item to leave out.
        subset: ascending ids of the items to search; ``None`` for all.
        largest_norm: of the items, which bounds the rounding.
        threads: how many blocks of users are searched at once.
        memory: bytes for working space.
        on_device: the items as a torch tensor on a GPU, where the scan then runs.
    """
    B, K, D = interests.shape
    found = empty(B, n)
    number = active.sum(1)
    users = np.argsort(-number, kind="stable")[: np.count_nonzero(number)]  # who has few interests has few products
    front = np.argsort(~active, axis=1, kind="stable")
    slack = rounding(interests, active, largest_norm)
    size = len(items) if subset is None else len(subset)

    def one_block(chosen: Ints) -> None:
        vectors = np.take_along_axis(interests[chosen], front[chosen][:, :, None], axis=1)
        left_out = excluded.of(chosen, B)
        if subset is not None:  # from ids to places in the subset
            places = np.minimum(np.searchsorted(subset, left_out.ids), max(size - 1, 0))
            there = subset[places] == left_out.ids if size else np.zeros(len(places), bool)
            left_out = Exclusions(left_out.rows[there], places[there])
        arguments = (vectors, number[chosen], min(n + EXTRA, size), left_out)
        if on_device is None:
            places, dropped = _scan(items, subset, *arguments, WIDEST)
        else:
            places, dropped = scan_on_device(on_device, subset, *arguments, memory)
        candidates = places if subset is None else np.where(places < 0, -1, subset[places])
        for start in range(0, len(chosen), step):  # a device takes more users at once than there is memory for here
            part, some = candidates[start : start + step], chosen[start : start + step]
            found.put(some, best(part, *rescore(items, part, interests[some], active[some]), n))
        last = found.scores[chosen, n - 1].astype(np.float64)
        is_open = (dropped > -np.inf) & ~(last > dropped + slack[chosen])
        for user in chosen[is_open]:
            _score_whole(items, subset, interests[user, active[user]], np.flatnonzero(active[user]), user)

    def _score_whole(items: Floats, subset: Ints | None, vectors: Floats, which: Ints, user: int) -> None:
        scores, origin = np.empty(size, np.float32), np.empty(size, np.int64)
        for start in range(0, size, 2**15):
            stop = min(start + 2**15, size)
            ids = np.arange(start, stop) if subset is None else subset[start:stop]
            block, first = rescore(items, ids[None], vectors[None], np.ones((1, len(vectors)), bool))
            scores[start:stop], origin[start:stop] = block[0], which[first[0]]
        mine = excluded.of(np.array([user]), B).ids
        ids = np.arange(size) if subset is None else subset
        scores[np.isin(ids, mine)] = -np.inf
        many = min(n, int(np.count_nonzero(scores > -np.inf)))
        if many == 0:
            picked = np.zeros(0, np.int64)
        else:
            level = np.partition(scores, size - many)[size - many]
            above = np.flatnonzero(scores > level)
            picked = np.concatenate([above, np.flatnonzero(scores == level)[: many - len(above)]])
        found.put(np.array([user]), best(ids[picked][None], scores[picked][None], origin[picked][None], n))

    if n < 1 or size == 0 or not len(users):
        return found
    # the scores of a block, those of them that pass before the threshold has settled, and the candidates' vectors
    each = 4 * (K + 1) * min(size, 4096) + 24 * min(size, 4096) + 12 * (n + EXTRA) * D
    step = int(max(1, min(USERS, memory // threads // each)))
    together = step if on_device is None else 1024
    blocks = [users[start : start + together] for start in range(0, len(users), together)]
    if threads > 1 and len(blocks) > 1 and on_device is None:
        with one_blas_thread(), ThreadPoolExecutor(threads) as pool:
            list(pool.map(one_block, blocks))
        return found
    with one_blas_thread() if threads == 1 else nullcontext():
        for block in blocks:
            one_block(block)
    return found


def _scan(
    items: Floats, subset: Ints | None, vectors: Floats, number: Ints, m: int, excluded: Exclusions, widest: int
) -> tuple[Ints, npt.NDArray[np.float64]]:
    """Candidates by float32 products.

    Args:
        items: ``[N, D]``, of which ``subset`` is searched.
        vectors: ``[b, K, D]``, the active ones first.
        number: ``[b]`` active interests, descending, at least 1.
        m: how many candidates to keep.
        excluded: pairs of row and place.
        widest: most items of one block.

    Returns:
        places ``[b, w]`` of the candidates among the searched items, -1 for none, and ``[b]``, the highest product that
        was dropped, -inf where none was.
    """
    b = len(vectors)
    size = len(items) if subset is None else len(subset)
    rows = [int(np.count_nonzero(number > k)) for k in range(int(number[0]))]  # who has a k-th interest is in front
    stacked = np.concatenate([vectors[:count, k] for k, count in enumerate(rows)])  # [sum(rows), D]
    starts = np.cumsum([0, *rows])
    width = int(min(size, widest, max(4096, SCORES // len(stacked))))
    by_place = np.argsort(excluded.ids, kind="stable")
    out_rows, out_places = excluded.rows[by_place], excluded.ids[by_place]
    threshold = np.full(b, -np.inf, np.float32)
    kept = _Kept(b, m)
    space = np.empty(len(stacked) * width, np.float32)
    for start in range(0, size, width):
        stop = min(start + width, size)
        block = items[start:stop] if subset is None else items[subset[start:stop]]
        scores = space[: len(stacked) * (stop - start)].reshape(len(stacked), stop - start)
        np.matmul(stacked, block.T, out=scores)
        top = scores[:b]
        for k in range(1, len(rows)):
            np.maximum(top[: rows[k]], scores[starts[k] : starts[k + 1]], out=top[: rows[k]])
        low, high = np.searchsorted(out_places, (start, stop))
        top[out_rows[low:high], out_places[low:high] - start] = -np.inf
        if start == 0:
            threshold = _first_threshold(top, m)
        passed = np.flatnonzero(top > threshold[:, None])
        row = passed // (stop - start)
        kept.add(row, passed - row * (stop - start) + start, top.reshape(-1)[passed])
        if kept.pending > 2 * b * m or stop == size:
            np.maximum(threshold, kept.compact(), out=threshold)
    return kept.places, threshold.astype(np.float64)


def _first_threshold(scores: Floats, m: int) -> Floats:
    """A level just under the m-th largest of each row ``[b, w]``, or lower: the m-th largest of group maxima."""
    b, w = scores.shape
    group = max(1, min(32, w // (4 * m)))
    groups = w // group
    if groups < m or w <= 2 * m:
        return np.full(b, -np.inf, np.float32)
    highest = scores[:, : groups * group].reshape(b, group, groups).max(1) if group > 1 else scores
    level = np.partition(highest, groups - m, axis=1)[:, groups - m]
    return np.nextafter(level, np.float32(-np.inf))


class _Kept:
    """The best candidates of ``b`` rows so far: ``places`` [b, w], -1 for none."""

    def __init__(self, b: int, m: int) -> None:
        self.b, self.m = b, m
        self.parts: list[tuple[Ints, Ints, Floats]] = []
        self.pending = 0
        self.places = np.full((b, 0), -1)

    def add(self, rows: Ints, places: Ints, scores: Floats) -> None:
        """Take in candidates, their rows ascending."""
        self.parts.append((rows, places, scores))
        self.pending += len(rows)

    def compact(self) -> Floats:
        """Keep the m best of each row; the highest score ``[b]`` that may have been dropped, -inf where none was."""
        rows, places, scores = (np.concatenate(arrays) for arrays in zip(*self.parts, strict=True))
        if len(self.parts) > 1:
            order = np.argsort(rows, kind="stable")
            rows, places, scores = rows[order], places[order], scores[order]
        counts = np.bincount(rows, minlength=self.b)
        column = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
        width = int(counts.max(initial=0))
        table = np.full((self.b, width), -np.inf, np.float32)
        table[rows, column] = scores
        self.places = np.full((self.b, width), -1)
        self.places[rows, column] = places
        dropped = np.full(self.b, -np.inf, np.float32)
        if width > self.m:
            order = np.argpartition(table, width - self.m, axis=1)[:, width - self.m :]
            table = np.take_along_axis(table, order, axis=1)
            self.places = np.take_along_axis(self.places, order, axis=1)
            dropped = np.where(counts > self.m, table[:, 0], dropped)  # the smallest that is kept stands first
        rows, column = np.nonzero(self.places >= 0)
        self.parts, self.pending = [(rows, self.places[rows, column], table[rows, column])], 0
        return dropped


_guard = threading.Lock()


_searches = 0


_release = threading.Event()


_holder: threading.Thread | None = None


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


@cache
def _blas() -> list[Any]:
    return list(_libraries().select(user_api="blas").lib_controllers)


def _hold(held: threading.Event, release: threading.Event) -> None:
    try:
        with _libraries().limit(limits=1, user_api="blas"):
            held.set()
            release.wait()
    finally:
        held.set()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Give BLAS one thread, as the blocks have threads of their own; searches at the same time share the limit.

    A thread of its own holds the limit: only the thread that set one can lift it. Where BLAS has one thread anyhow, as
    in a service whose requests are its threads, nothing is set: on busy cores, waiting for that thread takes ten
    times as long as the search of a small catalogue.
    """
    global _searches, _release, _holder
    if _searches == 0 and all(library.num_threads == 1 for library in _blas()):
        yield
        return
    with _guard:
        if _searches == 0:
            held, _release = threading.Event(), threading.Event()
            _holder = threading.Thread(target=_hold, args=(held, _release), daemon=True)
            _holder.start()
            held.wait()
        _searches += 1
    try:
        yield
    finally:
        with _guard:
            _searches -= 1
            if _searches == 0 and _holder is not None:
                _release.set()
                _holder.join()
