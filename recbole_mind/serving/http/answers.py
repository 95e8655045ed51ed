"""Questions answered, in a worker's thread: items recalled, recommended, the interests of a history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from pydantic_core import to_json

from recbole_mind.errors import InputError
from recbole_mind.serving.http.channels import Turn
from recbole_mind.serving.http.refused import Refused
from recbole_mind.serving.http.schema import ChosenQuery, InterestsQuery, RecallQuery, RecommendQuery
from recbole_mind.serving.results import Funnel, Recalled, Recommended

Ticket = Callable[[Turn, ChosenQuery], dict[str, str]]  # by which the events of an answer are sent


def recall(turn: Turn, query: RecallQuery, ticket: Ticket) -> bytes:
    """The items that ``turn`` recalls for a history."""
    recaller, names = turn.serving.recaller, turn.serving.items.names
    funnel: list[Funnel] = []
    try:
        found = recaller.recall(
            query.history,
            query.profile,
            query.n,
            per_interest=query.per_interest,
            funnel=funnel,
            **_filters(query),
        )
    except InputError as error:
        _blame(error, query)
    turn.metrics.recalled(len(query.history), found, funnel)
    lists = [
        {"items": each.items, "scores": each.scores, "names": names(each.items) if query.names else None}
        for each in found.by_interest
    ]
    own = {"by_interest": lists if query.per_interest else None}
    return to_json(own | _chosen(turn, query, found) | ticket(turn, query))


def recommend(turn: Turn, query: RecommendQuery, ticket: Ticket) -> bytes:
    """The items that ``turn`` recalls for a history, ranked.

    Raises:
        Refused: its bundle has no ranker.
    """
    recaller = turn.serving.recaller
    if not recaller.bundle.ranks:
        raise Refused(404, "no_ranker", "the bundle has no ranker; recbole-mind export --ranker puts one into it")
    funnel: list[Funnel] = []
    many = max(query.n, query.candidates)
    try:
        found = recaller.recommend(query.history, query.n, many, query.profile, funnel=funnel, **_filters(query))
    except InputError as error:
        _blame(error, query)
    turn.metrics.recalled(len(query.history), found, funnel)
    own = {"recall_scores": found.recall_scores, "recalled": found.recalled}
    return to_json(own | _chosen(turn, query, found) | ticket(turn, query))


def interests(turn: Turn, query: InterestsQuery) -> bytes:
    """The interests of a history, and which items make each."""
    try:
        found = turn.serving.recaller.interests(query.history, query.profile, query.times)
    except InputError as error:
        _blame(error, query)
    return to_json(
        {
            "vectors": found.vectors.tolist(),
            "behaviors": found.behaviors,
            "weights": found.weights.tolist(),
            "unknown": found.unknown,
            "unknown_profile": found.unknown_profile,
            "names": turn.serving.items.names(found.behaviors) if query.names else None,
            **turn.told,
        }
    )


def _filters(query: ChosenQuery) -> dict[str, Any]:
    """What narrows the items that may be chosen."""
    return {
        "exclude_seen": query.exclude_seen,
        "allowed": query.allowed,
        "times": query.times,
        "denied": query.denied,
        "diversity": query.diversity,
        "category": query.category,
    }


def _chosen(turn: Turn, query: ChosenQuery, found: Recalled | Recommended) -> dict[str, Any]:
    """What both kinds of lists say."""
    return {
        "items": found.items,
        "scores": found.scores,
        "interests": found.interests,
        "fallback": found.fallback,
        "unknown": found.unknown,
        "unknown_profile": found.unknown_profile,
        "unknown_allowed": found.unknown_allowed,
        "unknown_denied": found.unknown_denied,
        "names": turn.serving.items.names(found.items) if query.names else None,
        **turn.told,
    }


def _blame(error: InputError, query: InterestsQuery) -> NoReturn:
    """Refuse what the Recaller found wrong with a question; anything else is a fault of ours."""
    field, _, text = str(error).partition(": ")
    if field not in type(query).model_fields:
        raise error
    raise Refused(422, "invalid", text, field) from None
