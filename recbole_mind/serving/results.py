"""What a recall takes and gives: interests, pools of items, lists of items.

Shape legend: K interests, L behaviours that are read, D embedding size, M items.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy.typing as npt

from recbole_mind.retrieval.pool import Pool
from recbole_mind.retrieval.types import Floats, Ints

EMPTY, UNKNOWN = "empty history", "unknown items"


class Interests(NamedTuple):
    """What a history says.

    Attributes:
        vectors: ``[K, D]`` of the active interests; none without a known item.
        behaviors: the L items that were read, oldest first.
        weights: ``[K, L]``, how much of each interest each of them makes.
        unknown: how many items of the history are not in the catalogue.
        unknown_profile: fields of the profile that the model has not, or whose value it has not seen.
    """

    vectors: Floats
    behaviors: list[str]
    weights: Floats
    unknown: int
    unknown_profile: tuple[str, ...]


class ItemPool(NamedTuple):
    """Items that may be recalled, prepared by :meth:`~recbole_mind.serving.recaller.Recaller.pool`.

    Attributes:
        pool: for the index; ``None`` where all items may be recalled.
        rows: ``[M]`` of the items, ascending.
        unknown: how many tokens are not in the catalogue.
        catalogue: an array of the bundle that it is of, such as its item vectors.
    """

    pool: Pool | None
    rows: Ints
    unknown: int
    catalogue: npt.NDArray[Any]


class InterestList(NamedTuple):
    """What one interest recalls by itself: ``items`` by descending ``scores``."""

    items: list[str]
    scores: list[float]


class Recalled(NamedTuple):
    """What a request recalls.

    Attributes:
        items: raw tokens, best first, each once.
        scores: of each, the maximum over the interests, or what another kind of model gives it; of a fallback, its
            interactions in training.
        interests: which interest brought each, the first of equals; -1 in a fallback, and where none did.
        fallback: why the most popular items stand here: ``"empty history"`` or ``"unknown items"``; else ``None``.
        unknown: how many items of the history are not in the catalogue.
        unknown_profile: fields of the profile that the model has not, or whose value it has not seen: they count as
            missing.
        by_interest: with ``per_interest``, what each interest recalls by itself.
        unknown_allowed, unknown_denied: how many tokens of the request's ``allowed`` and ``denied`` are not in the
            catalogue; of a prepared pool, those it was made with.
    """

    items: list[str]
    scores: list[float]
    interests: list[int]
    fallback: str | None
    unknown: int
    unknown_profile: tuple[str, ...] = ()
    by_interest: tuple[InterestList, ...] = ()
    unknown_allowed: int = 0
    unknown_denied: int = 0


class Recommended(NamedTuple):
    """What a request recommends: the ranked list.

    Attributes:
        items: raw tokens, best first, each once.
        scores: of each, the ranker's probability of a click; of a fallback, its interactions in training.
        recall_scores: of each, recall's score.
        interests: which interest brought each; -1 in a fallback.
        recalled: how many candidates were ranked; 0 in a fallback, whose list is not.
        fallback, unknown, unknown_profile, unknown_allowed, unknown_denied: as of :class:`Recalled`.
    """

    items: list[str]
    scores: list[float]
    recall_scores: list[float]
    interests: list[int]
    recalled: int
    fallback: str | None
    unknown: int
    unknown_profile: tuple[str, ...] = ()
    unknown_allowed: int = 0
    unknown_denied: int = 0


class Funnel(NamedTuple):
    """How many items one recall could have given, after each thing that leaves some out, and how many it gave.

    The filters act within the search, which proposes nothing that they leave out: what is counted is the catalogue.

    Attributes:
        proposed: items of the catalogue.
        after_pool: of them those in the pool, the standing one and the request's.
        after_seen: of them those that are not in the history, where that is left out.
        after_denied: of them those that are not denied.
        returned: items of the answer.
    """

    proposed: int
    after_pool: int
    after_seen: int
    after_denied: int
    returned: int
