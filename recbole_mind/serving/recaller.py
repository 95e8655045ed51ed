"""Recall from a bundle: a live history goes in, the best items of the pool come out. Needs neither RecBole nor torch.

Shape legend: K interests, L behaviours that are read, D embedding size, N items.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_mind.errors import require
from recbole_mind.retrieval.item_index import ItemIndex
from recbole_mind.retrieval.types import Floats, Ints
from recbole_mind.retrieval.validation import is_whole
from recbole_mind.serving import profiles
from recbole_mind.serving import times as request_times
from recbole_mind.serving.bundle.bundle import Bundle
from recbole_mind.serving.bundle.manifest import INTERESTS, ITEM_TO_ITEM
from recbole_mind.serving.bundle.token_index import ids_of
from recbole_mind.serving.diversity import categories_of, diversify
from recbole_mind.serving.interest_search import InterestSearch
from recbole_mind.serving.popular import Popularity, most_popular
from recbole_mind.serving.results import (
    EMPTY,
    UNKNOWN,
    Funnel,
    InterestList,
    Interests,
    ItemPool,
    Recalled,
    Recommended,
)
from recbole_mind.serving.retriever import Retriever
from recbole_mind.serving.similar_items import SimilarItems

FEW = 1000  # items denied in one request that are left out one by one; more are taken off the pool

Denied = Iterable[str] | None


class _Request(NamedTuple):
    """One history: known rows, all of them and those that are read, and what is searched for them, by interest."""

    seen: Ints
    read: Ints
    question: Any
    unknown: int
    unknown_profile: tuple[str, ...]
    fallback: str | None


def _retriever(bundle: Bundle, index: ItemIndex | None) -> Retriever:
    """What recalls from a bundle of its kind."""
    if bundle.manifest.kind == INTERESTS or index is not None:
        return InterestSearch(bundle, index)
    return SimilarItems(bundle) if bundle.manifest.kind == ITEM_TO_ITEM else Popularity(bundle)


class Recaller:
    """Recalls items for live histories; any number of threads may use one at once.

    The same request has the same answer whatever else runs, in a batch or by itself. Item tokens are those of the
    training data; only its catalogue is recalled.

    Args:
        bundle: an open bundle.
        index: what is searched in place of the bundle's own index, of the same item vectors.

    Raises:
        InputError: the index is of other items, or the bundle's model has no item vectors.
    """

    def __init__(self, bundle: Bundle, index: ItemIndex | None = None) -> None:
        self.bundle = bundle
        self._retriever = _retriever(bundle, index)
        self._longest = bundle.manifest.preprocessing.max_history
        self._time_span = bundle.manifest.preprocessing.time_span
        self._everything = ItemPool(None, np.arange(len(bundle.item_tokens)), 0, self._retriever.catalogue)
        self._standing = self._everything

    @classmethod
    def load(cls, folder: str | Path, *, verify: bool = True, threads: int | None = None) -> Recaller:
        """Open the bundle in ``folder``; see :meth:`~recbole_mind.serving.bundle.bundle.Bundle.load`."""
        return cls(Bundle.load(folder, verify=verify, threads=threads))

    @property
    def bundle_id(self) -> str:
        """The hash of all that the bundle holds."""
        return self.bundle.id

    @property
    def index(self) -> ItemIndex:
        """What is searched.

        Raises:
            InputError: the bundle has no item vectors.
        """
        return self._retriever.index

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
            mine = allowed.catalogue is self._retriever.catalogue
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
        return ItemPool(None if whole else self._retriever.pool(rows), rows, unknown, self._retriever.catalogue)

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
        values = categories_of(self.bundle.categories, diversity, category)
        if per_interest:
            self._retriever.check_alone()
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
        size, search = len(pool.rows), self._retriever.search
        depths = [min(size, n * len(request.question)) if values is not None else min(size, n) for request in known]
        found = iter(search([request.question for request in known], depths, left_out, pool))
        alone = iter(
            [
                search(list(request.question[:, None]), [min(size, n)] * K, [excluded] * K, pool)
                for request, excluded in zip(known, left_out, strict=True)
                for K in [len(request.question)]
            ]
            if per_interest
            else []
        )
        results, lacking = [], (unknown_allowed, unknown_denied)
        for request in requests:
            said = (request.fallback, request.unknown, request.unknown_profile)
            if request.fallback is not None:
                rows = most_popular(self.bundle, n, out, pool)
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

    def recommend(
        self,
        history: Sequence[str],
        n: int = 50,
        candidates: int = 1000,
        profile: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Recommended:
        """Recall candidates for a history and rank them: the n that are most probably clicked.

        Args:
            history: as for :meth:`recall`.
            n: how many, at least 1.
            candidates: how many are recalled and ranked, at least n.
            profile: as for :meth:`recall`.
            options: the others of :meth:`recall`: ``exclude_seen``, ``allowed``, ``times``, ``denied``, ``diversity``,
                ``category`` and ``funnel``, all of the candidates.

        Raises:
            InputError: something that cannot be used, or the bundle has no ranker.
        """
        ranker = self.bundle.ranker
        good = is_whole(n) and is_whole(candidates) and 0 < n <= candidates
        message = (
            f"n: {n!r} of {candidates!r} candidates is not allowed; allowed: whole numbers, at least 1 and no more"
        )
        require(good, message)
        found = self.recall(history, profile, candidates, **options)
        ranked = found.fallback is None and bool(found.items)
        scores, order = found.scores, np.arange(len(found.items))
        if ranked:
            read, rows = self._history(history, None)[0], self._rows(found.items, "candidates")
            chances = ranker.probabilities(read, rows, np.array(found.scores, np.float32), np.array(found.interests))
            scores, order = chances.astype(float).tolist(), np.argsort(-chances, kind="stable")
        order = order[:n]
        if options.get("funnel"):
            options["funnel"][-1] = options["funnel"][-1]._replace(returned=len(order))
        return Recommended(
            [found.items[place] for place in order],
            [scores[place] for place in order],
            [found.scores[place] for place in order],
            [found.interests[place] for place in order],
            len(found.items) if ranked else 0,
            found.fallback,
            found.unknown,
            found.unknown_profile,
            found.unknown_allowed,
            found.unknown_denied,
        )

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
        read = self._read(seen)
        vectors, weights = self._retriever.interests(read, profiled, gaps)
        return Interests(vectors, self._tokens(read), weights, unknown, fields)

    def _request(
        self, history: Sequence[str], profile: Mapping[str, Any] | None, times: Sequence[float] | None
    ) -> _Request:
        seen, unknown, gaps = self._history(history, times)
        profiled, fields = profiles.read(self.bundle, profile)
        read = self._read(seen)
        if not len(read):
            return _Request(seen, read, None, unknown, fields, UNKNOWN if unknown else EMPTY)
        return _Request(seen, read, self._retriever.question(read, profiled, gaps), unknown, fields, None)

    def _read(self, seen: Ints) -> Ints:
        """The rows that the model reads: the newest ones, or all."""
        return seen if self._longest is None else seen[-self._longest :]

    def _history(self, history: Sequence[str], times: Sequence[float] | None) -> tuple[Ints, int, Floats | None]:
        """The rows of the known items, how many others there are, and the gaps of those that are read."""
        rows = self._rows(history, "history")
        asked = request_times.checked(times, len(rows))
        known = rows[rows >= 0]
        return known, len(rows) - len(known), request_times.gaps(asked, rows >= 0, self._longest or 0, self._time_span)

    def _tokens(self, rows: Ints) -> list[str]:
        return self.bundle.item_tokens.tokens(rows)
