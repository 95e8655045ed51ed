"""Recall from a bundle: a live history goes in, the best items of the pool come out. Needs neither RecBole nor torch.

Shape legend: K interests, L behaviours that are read, D embedding size, N items.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_mind.errors import InputError, nearest, require
from recbole_mind.retrieval import exact
from recbole_mind.retrieval.item_index import ItemIndex
from recbole_mind.retrieval.types import Exclusions, Floats, Ints
from recbole_mind.retrieval.validation import is_whole
from recbole_mind.serving import profiles
from recbole_mind.serving import times as request_times
from recbole_mind.serving.bundle.bundle import Bundle
from recbole_mind.serving.bundle.token_index import ids_of
from recbole_mind.serving.diversity import diversify
from recbole_mind.serving.results import EMPTY, UNKNOWN, Funnel, InterestList, Interests, ItemPool, Recalled

FEW = 1000  # items denied in one request that are left out one by one; more are taken off the pool

Denied = Iterable[str] | None


class _Request(NamedTuple):
    """One history: known rows, all of them and those that are read, and the profile."""

    seen: Ints
    read: Ints
    vectors: Floats
    unknown: int
    unknown_profile: tuple[str, ...]
    fallback: str | None


class Recaller:
    """Recalls items for live histories; any number of threads may use one at once.

    The same request has the same answer whatever else runs, in a batch or by itself. Item tokens are those of the
    training data; only its catalogue is recalled.

    Args:
        bundle: an open bundle.
        index: what is searched in place of the bundle's own index, of the same item vectors.

    Raises:
        InputError: the index is of other items.
    """

    def __init__(self, bundle: Bundle, index: ItemIndex | None = None) -> None:
        self.bundle = bundle
        self.index: ItemIndex = bundle.index if index is None else index
        held, wanted = (len(self.index), self.index.size), (len(bundle.index), bundle.index.size)
        message = (
            f"index: its {held[0]} vectors of size {held[1]} are not the {wanted[0]} of size {wanted[1]} of the bundle"
        )
        require(held == wanted, message)
        self._vectors, self._norms = bundle.index.vectors, bundle.norms
        self._longest = bundle.manifest.preprocessing.max_history
        self._time_span = bundle.manifest.preprocessing.time_span
        self._everything = ItemPool(None, np.arange(len(bundle.item_tokens)), 0, self._vectors)
        self._standing = self._everything

    @classmethod
    def load(cls, folder: str | Path, *, verify: bool = True, threads: int | None = None) -> Recaller:
        """Open the bundle in ``folder``; see :meth:`~recbole_mind.serving.bundle.bundle.Bundle.load`."""
        return cls(Bundle.load(folder, verify=verify, threads=threads))

    @property
    def bundle_id(self) -> str:
        """The hash of all that the bundle holds."""
        return self.bundle.id

    # -- what may be recalled ---------------------------------------------------------------------------------------

    @property
    def standing(self) -> ItemPool:
        """The pool of all requests."""
        return self._standing

    def pool(self, allowed: Iterable[str] | ItemPool | None = None, denied: Denied = None) -> ItemPool:
        """Prepare items that may be recalled, to be used many times: millions of tokens take seconds.

        Args:
            allowed: raw tokens; ``None`` for all.
            denied: raw tokens that are left out of them.

        Raises:
            InputError: something else than tokens, or a pool of another bundle.
        """
        rows, unknown = self._everything.rows, 0
        if isinstance(allowed, ItemPool):
            rows, unknown = allowed.rows, allowed.unknown
            mine = allowed.catalogue is self._vectors
            require(mine, "allowed: this pool is of another bundle; make it with this one")
            if denied is None:
                return allowed
        elif allowed is not None:
            found = self._rows(allowed, "allowed")
            rows, unknown = np.unique(found[found >= 0]), int((found < 0).sum())
        if denied is not None:
            found = self._rows(denied, "denied")
            rows, unknown = self._without(rows, found[found >= 0]), unknown + int((found < 0).sum())
        return self._prepared(rows, unknown)

    def set_pool(self, allowed: Iterable[str] | ItemPool | None = None, denied: Denied = None) -> ItemPool:
        """Let only these items be recalled from now on; ``None`` for all. Requests that run keep the old pool.

        Returns:
            the pool, which says how many tokens are unknown.
        """
        pool = self.pool(allowed, denied)
        self._standing = pool  # one assignment: a request sees the old one or the new one
        return pool

    def _prepared(self, rows: Ints, unknown: int) -> ItemPool:
        whole = len(rows) == len(self._everything.rows)
        return ItemPool(None if whole else self.index.pool(rows), rows, unknown, self._vectors)

    def _pool_of(self, allowed: Any) -> tuple[ItemPool, int]:
        """The standing pool, narrowed by what one request allows, and how many of that are unknown."""
        pool, unknown = self._standing, 0
        if allowed is not None:
            asked = self.pool(allowed)
            unknown = asked.unknown
            if pool.pool is None:
                pool = asked
            elif asked.pool is not None:
                pool = self._prepared(asked.rows[pool.pool.holds(asked.rows)], asked.unknown)
        return pool, unknown

    def _without(self, rows: Ints, out: Ints) -> Ints:
        """The ``rows`` that are not ``out``, ascending; by booleans, since to sort a large catalogue takes seconds."""
        kept = np.zeros(len(self._everything.rows), bool)
        kept[rows], kept[out] = True, False
        return np.flatnonzero(kept)

    def _rows(self, tokens: Any, name: str) -> Ints:
        """The row of each raw token, -1 where it is unknown."""
        good = isinstance(tokens, Iterable) and not isinstance(tokens, (str, bytes, Mapping))
        require(good, f"{name}: {type(tokens).__name__} is not allowed; allowed: a list of raw item tokens")
        return ids_of(self.bundle.item_tokens, list(tokens), name)

    # -- recall -----------------------------------------------------------------------------------------------------

    def recall(
        self,
        history: Sequence[str],
        profile: Mapping[str, Any] | None = None,
        n: int = 1000,
        exclude_seen: bool = True,
        allowed: Iterable[str] | ItemPool | None = None,
        per_interest: bool = False,
        *,
        times: Sequence[float] | None = None,
        denied: Denied = None,
        diversity: float = 0.0,
        category: str | None = None,
        funnel: list[Funnel] | None = None,
    ) -> Recalled:
        """Recall the n best items for a history; as many as there are where the pool has fewer.

        Args:
            history: raw item tokens, oldest first; the last ones are read where it is longer than the model's longest.
            profile: raw values of user features by field; a list for a feature with several. The user field names a
                user of the training data, whose values stand where the profile gives none.
            n: how many, at least 1.
            exclude_seen: whether items of the whole history are left out.
            allowed: the items that may be recalled, within the standing pool: raw tokens or a prepared pool.
            per_interest: also give what each interest recalls by itself.
            times: when each item of the history was met, ascending, in the unit of the training data's times. A model
                with ``recency_gaps`` reads them, and takes the usual ones where there are none; others need none.
            denied: raw tokens that are left out.
            diversity: λ of ComiRec's diversity (:func:`~recbole_mind.serving.diversity.diversify`), at least 0, which
                chooses among the n best for each of K interests; scores stay the maximum.
            category: the item feature that it looks at; the bundle's first by default. It goes with ``diversity``.
            funnel: takes how many items were left at each step.

        Raises:
            InputError: something that cannot be used; an unknown token is none.
        """
        return self.recall_batch(
            [history],
            [profile],
            n,
            exclude_seen,
            allowed,
            per_interest,
            times=[times],
            denied=denied,
            diversity=diversity,
            category=category,
            funnel=funnel,
        )[0]

    def recall_batch(
        self,
        histories: Sequence[Sequence[str]],
        profiles: Sequence[Mapping[str, Any] | None] | None = None,
        n: int = 1000,
        exclude_seen: bool = True,
        allowed: Iterable[str] | ItemPool | None = None,
        per_interest: bool = False,
        *,
        times: Sequence[Sequence[float] | None] | None = None,
        denied: Denied = None,
        diversity: float = 0.0,
        category: str | None = None,
        funnel: list[Funnel] | None = None,
    ) -> list[Recalled]:
        """Do what :meth:`recall` does for many histories, with profile and times for each or none at all."""
        require(is_whole(n) and n > 0, f"n: {n!r} is not allowed; allowed: a whole number, at least 1")
        profiles = [None] * len(histories) if profiles is None else profiles
        equal = len(profiles) == len(histories)
        require(equal, f"profiles: {len(profiles)} for {len(histories)} histories; one for each is needed")
        times = [None] * len(histories) if times is None else times
        equal = len(times) == len(histories)
        require(equal, f"times: {len(times)} for {len(histories)} histories; one list for each is needed")
        values = self._categories(diversity, category)
        out = np.zeros(0, np.int64) if denied is None else self._rows(denied, "denied")
        unknown_denied = int((out < 0).sum())
        out = np.unique(out[out >= 0])
        pool, unknown_allowed = self._pool_of(allowed)
        asked_of, all_out = pool, out
        if len(out) > FEW:
            pool, out = self._prepared(self._without(pool.rows, out), pool.unknown), out[:0]
        requests = [self._request(*one) for one in zip(histories, profiles, times, strict=True)]
        known = [request for request in requests if request.fallback is None]
        left_out = [np.union1d(request.seen, out) if exclude_seen else out for request in known]
        size = len(pool.rows)
        depths = [min(size, n * len(request.vectors)) if values is not None else min(size, n) for request in known]
        found = iter(self._search([request.vectors for request in known], depths, left_out, pool))
        alone = iter(
            [
                self._search(list(request.vectors[:, None]), [min(size, n)] * K, [excluded] * K, pool)
                for request, excluded in zip(known, left_out, strict=True)
                for K in [len(request.vectors)]
            ]
            if per_interest
            else []
        )
        results, lacking = [], (unknown_allowed, unknown_denied)
        for request in requests:
            said = (request.fallback, request.unknown, request.unknown_profile)
            if request.fallback is not None:
                rows = self._popular(n, out, pool)
                counts = self.bundle.counts[rows].astype(float).tolist()
                results.append(Recalled(self._tokens(rows), counts, [-1] * len(rows), *said, (), *lacking))
                continue
            rows, scores, origin = next(found)
            if values is not None:
                chosen = diversify(scores, values[rows], n, diversity)
                rows, scores, origin = rows[chosen], scores[chosen], origin[chosen]
            each = next(alone) if per_interest else []
            lists = tuple(InterestList(self._tokens(ids), own.tolist()) for ids, own, _ in each)
            results.append(Recalled(self._tokens(rows), scores.tolist(), origin.tolist(), *said, lists, *lacking))
        if funnel is not None:
            for request, result in zip(requests, results, strict=True):
                seen = np.unique(request.seen) if exclude_seen else all_out[:0]
                funnel.append(self._funnel(asked_of, seen, all_out, len(result.items)))
        return results

    def _funnel(self, pool: ItemPool, seen: Ints, denied: Ints, returned: int) -> Funnel:
        """What a request's pool has left after the items ``seen`` and those ``denied``, each ascending."""

        def held(rows: Ints) -> int:
            return len(rows) if pool.pool is None else int(np.count_nonzero(pool.pool.holds(rows)))

        size, known = len(pool.rows), held(seen)
        both = known if not len(denied) else held(np.union1d(seen, denied))
        return Funnel(len(self._everything.rows), size, size - known, size - both, returned)

    def interests(
        self,
        history: Sequence[str],
        profile: Mapping[str, Any] | None = None,
        times: Sequence[float] | None = None,
    ) -> Interests:
        """What a history says: its interests, and what each is made of; the arguments are those of :meth:`recall`.

        Raises:
            InputError: something that cannot be used.
        """
        seen, unknown, gaps = self._history(history, times)
        profiled, fields = profiles.read(self.bundle, profile)
        read = seen[-self._longest :]
        D = self._vectors.shape[1]
        vectors, weights = np.zeros((0, D), np.float32), np.zeros((0, len(read)), np.float32)
        if len(read):
            vectors, weights = self._encode(read, profiled, gaps)
        return Interests(vectors, self._tokens(read), weights, unknown, fields)

    def _request(
        self, history: Sequence[str], profile: Mapping[str, Any] | None, times: Sequence[float] | None
    ) -> _Request:
        seen, unknown, gaps = self._history(history, times)
        profiled, fields = profiles.read(self.bundle, profile)
        read = seen[-self._longest :]
        if not len(read):
            nothing = np.zeros((0, self._vectors.shape[1]), np.float32)
            return _Request(seen, read, nothing, unknown, fields, UNKNOWN if unknown else EMPTY)
        return _Request(seen, read, self._encode(read, profiled, gaps)[0], unknown, fields, None)

    def _history(self, history: Sequence[str], times: Sequence[float] | None) -> tuple[Ints, int, Floats | None]:
        """The rows of the known items, how many others there are, and the gaps of those that are read."""
        rows = self._rows(history, "history")
        asked = request_times.checked(times, len(rows))
        known = rows[rows >= 0]
        return known, len(rows) - len(known), request_times.gaps(asked, rows >= 0, self._longest, self._time_span)

    def _encode(self, rows: Ints, profile: Floats, gaps: Floats | None) -> tuple[Floats, Floats]:
        """The active interests ``[K, D]`` of the items read, and ``[K, L]``, what each is made of.

        Each history by itself: in company or with padding, sums differ in the last bit.
        """
        behaviors = self._vectors[rows]
        if self._norms is not None:
            behaviors = behaviors * self._norms[rows][:, None]
        found = self.bundle.encoder(behaviors[None], np.array([len(rows)]), profile[None], gaps)
        return found.interests[found.active], found.weights[found.active]

    def _search(
        self, vectors: Sequence[Floats], depths: Sequence[int], left_out: Sequence[Ints], pool: ItemPool
    ) -> list[tuple[Ints, Floats, Ints]]:
        """Rows, scores and interests for each of several sets of vectors ``[K, D]``."""
        if not vectors or not len(pool.rows):
            empty = np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.int64)
            return [empty for _ in vectors]
        if self.index.is_exact:  # whose answer does not depend on company
            return self._together(self.index, vectors, depths, left_out, pool)
        work = [([one], [depth], [out], pool) for one, depth, out in zip(vectors, depths, left_out, strict=True)]
        if len(work) == 1 or self.index.threads == 1:
            return [self._together(self.index, *arguments)[0] for arguments in work]
        index = self.index.on_one_thread()
        with exact.one_blas_thread(), ThreadPoolExecutor(self.index.threads) as threads:
            return [part[0] for part in threads.map(lambda arguments: self._together(index, *arguments), work)]

    def _together(
        self,
        index: ItemIndex,
        vectors: Sequence[Floats],
        depths: Sequence[int],
        left_out: Sequence[Ints],
        pool: ItemPool,
    ) -> list[tuple[Ints, Floats, Ints]]:
        B, K = len(vectors), max(map(len, vectors))
        stacked = np.zeros((B, K, self._vectors.shape[1]), np.float32)
        active = np.zeros((B, K), bool)
        for row, own in enumerate(vectors):
            stacked[row, : len(own)], active[row, : len(own)] = own, True
        pairs = Exclusions(np.repeat(np.arange(B), [len(rows) for rows in left_out]), np.concatenate(left_out))
        found = index.search(stacked, active, max(depths), exclude=pairs, allowed=pool.pool)
        results = []
        for row, depth in enumerate(depths):
            many = min(depth, int((found.ids[row] >= 0).sum()))
            results.append((found.ids[row, :many], found.scores[row, :many], found.interests[row, :many]))
        return results

    def _popular(self, n: int, left_out: Ints, pool: ItemPool) -> Ints:
        """The n most popular rows of the pool; ties go to the lower row."""

        def kept(rows: Ints) -> Ints:
            return rows[~np.isin(rows, left_out)]

        rows = self.bundle.popularity[: 32 * n + len(left_out)].astype(np.int64)
        found = kept(rows if pool.pool is None else rows[pool.pool.holds(rows)])
        if len(found) >= n or len(rows) == len(self.bundle.popularity):
            return found[:n]
        rows = kept(pool.rows)  # few of the most popular are in the pool: it is sorted itself
        counts = self.bundle.counts[rows]
        if len(rows) > n:
            enough = counts >= np.partition(counts, len(rows) - n)[len(rows) - n]
            rows, counts = rows[enough], counts[enough]
        return rows[np.argsort(-counts, kind="stable")][:n]

    def _tokens(self, rows: Ints) -> list[str]:
        return self.bundle.item_tokens.tokens(rows)

    def _categories(self, diversity: float, category: str | None) -> Any:
        """The categories ``[N, M]`` that diversity looks at; ``None`` where there is none to bring."""
        number = isinstance(diversity, (int, float)) and not isinstance(diversity, bool)
        good = number and math.isfinite(diversity) and diversity >= 0
        require(good, f"diversity: {diversity!r} is not allowed; allowed: a number, at least 0")
        known = self.bundle.categories
        if category is not None and category not in known:
            allowed = ", ".join(known) or "none in this bundle"
            raise InputError(f"category: {category!r} is unknown{nearest(category, known)}; allowed: {allowed}")
        require(category is None or diversity > 0, "category: it is diversity's; ask for a diversity above 0 with it")
        if diversity == 0:
            return None
        require(bool(known), "diversity: the bundle has no item feature; export it with --category")
        return known[category or next(iter(known))]
