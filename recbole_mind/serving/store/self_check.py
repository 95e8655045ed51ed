"""A bundle tried before it is published: it loads, recalls, and its index finds what an exact search finds."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_mind.errors import InputError
from recbole_mind.serving import sandbox
from recbole_mind.serving.bundle.manifest import INTERESTS, ITEM_TO_ITEM
from recbole_mind.serving.store.gate import Checked, GateLimits

if TYPE_CHECKING:
    from recbole_mind.retrieval.index import MultiVectorIndex
    from recbole_mind.retrieval.item_index import ItemIndex


def tried(folder: str | Path, asked: GateLimits) -> Checked:
    """What comes of :func:`self_checks` in a process of its own: a bundle that ends it or never ends is at fault."""
    arguments = {"asked": asked.model_dump()}
    try:
        reasons, faults, figures = sandbox.Sandboxed(folder, __name__, "_self_checks", arguments).run()
    except InputError as error:
        return Checked((), (str(error),), {})
    return Checked(tuple(reasons), tuple(faults), dict(figures))


def _self_checks(folder: str, asked: Mapping[str, Any]) -> Checked:
    return self_checks(folder, GateLimits.model_validate(asked))


def self_checks(folder: str | Path, asked: GateLimits) -> Checked:
    """Try a bundle, whose bytes have been verified: open it, recall once, hold its index and encoder to the truth.

    To open it refuses item vectors that are not finite, and an encoder and an index of two trainings.
    """
    bundles, recallers = (
        importlib.import_module(f"recbole_mind.serving.{name}") for name in ("bundle.bundle", "recaller")
    )
    try:
        bundle = bundles.Bundle.load(folder, verify=False)
    except InputError as error:
        return Checked((), (str(error),), {})
    recaller = recallers.Recaller(bundle)
    if bundle.manifest.kind != INTERESTS:  # there is no index that could find too little
        faults = _smoke(recaller, [str(token) for token in bundle.item_tokens.tokens(_known(bundle))])
        return Checked((), tuple(faults), {} if faults else {"index_recall": 1.0})
    rows = _histories(bundle.index, asked.samples)
    histories = [[str(token) for token in bundle.item_tokens.tokens(own)] for own in rows]
    spoilt = [one.field for one in bundle.profile if not np.isfinite(one.table.sum(dtype=np.float64))]
    faults = [f"embeddings of '{field}' hold values that are not finite" for field in spoilt]
    faults += _smoke(recaller, histories[0])
    if faults:
        return Checked((), tuple(faults), {})
    interests = [np.asarray(recaller.interests(history).vectors, np.float32) for history in histories]
    found = index_recall(bundle.index, interests, asked.index_recall_at)
    reasons = _strangers(bundle.index.vectors, rows, interests)
    if found < asked.index_recall:
        what = f"the index finds {found:.1%} of the {asked.index_recall_at} items that exact search finds"
        reasons.append(f"{what}; index_recall asks for {asked.index_recall:.1%}")
    return Checked(tuple(reasons), (), {"index_recall": found})


def _known(bundle: Any) -> Any:
    """The rows of a history that recalls something: of the item with the longest list, or of the most popular one."""
    if bundle.manifest.kind == ITEM_TO_ITEM:
        return [int(np.diff(bundle.lists.starts).argmax())]
    return bundle.popularity[:1]


def _histories(index: ItemIndex, number: int) -> list[Any]:
    """Histories as users have them, about one thing each: rows of items drawn evenly and of the nearest to each."""
    drawn = np.random.default_rng(0).choice(len(index), size=min(number, len(index)), replace=False)
    near = index.search(index.vectors[drawn][:, None], None, min(10, len(index) // 2)).ids
    return [own[own >= 0] for own in near]


def _strangers(items: Any, histories: Sequence[Any], interests: Sequence[Any]) -> list[str]:
    """Whether interests are nearer to the items that they were made of than to others, by more than chance.

    Those of an encoder of another training than the index's are not: the two know no common space.
    """
    generator = np.random.default_rng(1)
    nearer = np.zeros(len(histories))
    for place, (own, vectors) in enumerate(zip(histories, interests, strict=True)):
        others = np.setdiff1d(generator.integers(len(items), size=100), own)
        nearer[place] = (vectors @ items[own].T).max(0).mean() - (vectors @ items[others].T).max(0).mean()
    error = nearer.std(ddof=1) / math.sqrt(len(nearer)) if len(nearer) > 1 else 0.0
    if nearer.mean() > 3 * error:
        return []
    return ["interests are no nearer to their own histories than to other items: encoder and index do not fit together"]


def _smoke(recaller: Any, history: list[str]) -> list[str]:
    """What is wrong with one recall, and with one for nobody."""
    faults = []
    tried = [("a recall", recaller.recall, history), ("a recall for an empty history", recaller.recall, [])]
    if recaller.bundle.ranks:
        tried += [("a recommendation", recaller.recommend, history)]
        tried += [("a recommendation for an empty history", recaller.recommend, [])]
    for name, call, given in tried:
        try:
            found = call(given, n=10)
        except (InputError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            faults.append(f"{name} fails: {error}")
            continue
        items, scores = list(found.items), [float(score) for score in found.scores]
        if given:
            good = bool(items) and len(set(items)) == len(items) and not set(items) & set(given)
            good = good and all(map(math.isfinite, scores)) and scores == sorted(scores, reverse=True)
            good = good and not found.fallback
        else:
            good = bool(items) and bool(found.fallback)
        faults += [] if good else [f"{name} gives {len(items)} items, scores {scores[:3]}, fallback {found.fallback}"]
    return faults


def index_recall(index: MultiVectorIndex, interests: Sequence[Any], n: int) -> float:
    """The share of the exact n best that an index finds, for interests ``[K, D]`` of each of several users."""
    most = max(len(vectors) for vectors in interests)
    padded = np.zeros((len(interests), most, np.shape(interests[0])[1]), np.float32)
    active = np.zeros(padded.shape[:2], bool)
    for row, vectors in enumerate(interests):
        padded[row, : len(vectors)], active[row, : len(vectors)] = vectors, True
    if index.is_exact:
        return 1.0
    return float(index.recall(padded, active, min(n, len(index))))
