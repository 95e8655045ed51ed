"""Which users, which items and which interests the hits come from: one evaluation, looked at closer."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_mind.evaluation.evaluator import metrics_of
from recbole_mind.evaluation.outcome import Outcome
from recbole_mind.retrieval.index import MultiVectorIndex
from recbole_mind.retrieval.types import Bools, Exclusions, Floats, Ints

LENGTHS = ((1, 5), (6, 10), (11, 20), (21, 50), (51, None))  # behaviours of the history
POPULARITY = ((0, 5), (6, 20), (21, 100), (101, None))  # interactions of the target in training


def report(trainer: Any, outcome: Outcome, popularity: Ints) -> dict[str, Any]:
    """Metrics by group of users and of targets, and what each interest brings.

    Args:
        trainer: RecBole's, whose top-k metrics are used.
        outcome: of an evaluation by search.
        popularity: ``[N]`` interactions of each item in training.

    Returns:
        ``by_active_interests``, ``by_history_length`` and ``by_target_popularity``: for each group that is not empty
        its name, the number of ``users`` (of ``targets`` too for the last) and RecBole's metrics; a user counts with
        the targets of the group alone. Of a model with several interests also ``hits_by_interest``, the share of the
        hits that each brought, and ``lists``, see :func:`list_overlap`.
    """
    rows = np.arange(len(outcome.ids))
    result: dict[str, Any] = {}
    K = outcome.sample[0].shape[1]
    if K > 1:
        groups = {str(k): rows[outcome.active == k] for k in range(1, K + 1)}
        result["by_active_interests"] = _by_user(trainer, outcome, groups)
    if len(outcome.lengths):
        groups = {_name(*limits): rows[_within(outcome.lengths, *limits)] for limits in LENGTHS}
        result["by_history_length"] = _by_user(trainer, outcome, groups)
    number = popularity[outcome.targets]
    groups = {_name(*limits): _within(number, *limits) for limits in POPULARITY}
    result["by_target_popularity"] = _by_target(trainer, outcome, groups)
    if K > 1:
        brought = outcome.interests[outcome.hits()]
        shares = np.bincount(brought, minlength=K) / max(len(brought), 1)
        result["hits_by_interest"] = {str(k): float(share) for k, share in enumerate(shares)}
        result["lists"] = list_overlap(outcome)
    return result


def list_overlap(outcome: Outcome) -> dict[str, float]:
    """How much the lists of a user's interests have in common, on the sampled users with two active interests or more.

    Returns:
        ``users``; ``jaccard``, the mean over users of the mean over pairs of interests of the share of their n items
        that both lists hold; and ``distinct``, the mean share of different items among all in the lists.
    """
    jaccard, distinct = overlaps(outcome.index, *outcome.sample, outcome.ids.shape[1])
    if not jaccard:
        return {"users": 0}
    return {
        "users": len(jaccard),
        "jaccard": float(np.mean(jaccard)),
        "distinct": float(np.mean(distinct)),
    }


def overlaps(
    index: MultiVectorIndex, interests: Floats, active: Bools, left_out: Exclusions, n: int
) -> tuple[list[float], list[float]]:
    """What :func:`list_overlap` averages, of each user with two interests that find something, in order.

    Args:
        index: what is searched.
        interests: ``[B, K, D]``.
        active: ``[B, K]``.
        left_out: of the B rows.
        n: length of a list.
    """
    B, K, D = interests.shape
    every = Exclusions(  # each interest is searched as a user of its own
        (left_out.rows[:, None] * K + np.arange(K)).reshape(-1), np.repeat(left_out.ids, K)
    )
    found = index.search(interests.reshape(B * K, 1, D), active.reshape(B * K, 1), n, exclude=every).ids
    jaccard, distinct = [], []
    for lists in found.reshape(B, K, n)[active.sum(1) > 1]:
        sets = [set(items[items >= 0].tolist()) for items in lists]
        sets = [items for items in sets if items]
        pairs = [(a, b) for i, a in enumerate(sets) for b in sets[i + 1 :]]
        if pairs:
            jaccard.append(float(np.mean([len(a & b) / len(a | b) for a, b in pairs])))
            distinct.append(len(set().union(*sets)) / sum(map(len, sets)))
    return jaccard, distinct


def _by_user(trainer: Any, outcome: Outcome, groups: dict[str, Ints]) -> list[dict[str, Any]]:
    hits, numbers = outcome.hits(), outcome.numbers()
    return [
        {"group": name, "users": len(rows)} | metrics_of(trainer, hits[rows], numbers[rows])
        for name, rows in groups.items()
        if len(rows)
    ]


def _by_target(trainer: Any, outcome: Outcome, groups: dict[str, Bools]) -> list[dict[str, Any]]:
    result = []
    for name, chosen in groups.items():
        numbers = outcome.numbers(chosen)
        users = np.flatnonzero(numbers)
        if len(users):
            metrics = metrics_of(trainer, outcome.hits(chosen)[users], numbers[users])
            result.append({"group": name, "users": len(users), "targets": int(chosen.sum())} | metrics)
    return result


def _within(values: Ints, low: int, high: int | None) -> Bools:
    return (values >= low) & (values <= (np.inf if high is None else high))


def _name(low: int, high: int | None) -> str:
    return f"{low}+" if high is None else f"{low}-{high}"
