"""ComiRec's controllable diversity (Cen et al., KDD 2020, §3.4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from recbole_mind.errors import InputError, nearest, require
from recbole_mind.retrieval.types import Ints


def diversify(scores: npt.ArrayLike, categories: npt.NDArray[Any], n: int, weight: float) -> Ints:
    """Choose n candidates greedily by score and by how many of those chosen before are of another category.

    .. math:: \\arg\\max_i f(u, i) + \\lambda \\sum_{j \\in S} g(i, j)

    g(i, j) is 1 where the categories of the two differ and 0 where they are the same, as in the paper; of items with
    several it is the share that they do not have in common (the Jaccard distance), since all items of a shop may share
    a category. What an item loses for its like is counted here instead, as every candidate stands before the same S.
    Items without a category count as one category.

    Args:
        scores: ``[m]`` f(u, i), descending.
        categories: ``[m, M]`` values of each candidate, 0 for none.
        n: how many to choose.
        weight: λ, at least 0; 0 keeps the order.

    Returns:
        ``[min(n, m)]``, places of the chosen in the order of choice; a tie goes to the first.
    """
    worth = np.array(scores, np.float64)
    m, M = categories.shape
    if M == 0:  # nobody has a category
        return np.arange(min(n, m))
    values = np.array(categories)
    values[~values.any(1), :1] = -1
    held, kinds = np.unique(values, return_inverse=True)
    pairs = np.repeat(np.arange(m), M) * len(held) + kinds.ravel()
    pairs = np.unique(pairs[values.ravel() != 0])  # each candidate with each of its categories, once
    holders, kinds = np.divmod(pairs, len(held))
    mine = np.searchsorted(holders, np.arange(m + 1))  # where a candidate's categories lie
    numbers = np.diff(mine)
    order = np.argsort(kinds, kind="stable")
    alike, bounds = holders[order], np.searchsorted(kinds[order], np.arange(len(held) + 1))
    chosen = np.empty(min(n, m), np.int64)
    for place in range(len(chosen)):
        best = int(worth.argmax())
        chosen[place] = best
        lists = [alike[bounds[kind] : bounds[kind + 1]] for kind in kinds[mine[best] : mine[best + 1]]]
        if len(lists) == 1:
            worth[lists[0]] -= weight / numbers[lists[0]]
        else:
            shared = np.bincount(np.concatenate(lists), minlength=m)
            worth -= weight * shared / (numbers + len(lists) - shared)
        worth[best] = -np.inf
    return chosen


def categories_of(
    known: Mapping[str, npt.NDArray[Any]], diversity: float, category: str | None
) -> npt.NDArray[Any] | None:
    """The categories ``[N, M]`` that diversity looks at; ``None`` where there is none to bring.

    Args:
        known: values of a bundle's item features by field.
        diversity: λ as it is asked for.
        category: the field as it is asked for; the first by default.

    Raises:
        InputError: one of them is not allowed, or there is no feature.
    """
    number = isinstance(diversity, (int, float)) and not isinstance(diversity, bool)
    good = number and math.isfinite(diversity) and diversity >= 0
    require(good, f"diversity: {diversity!r} is not allowed; allowed: a number, at least 0")
    if category is not None and category not in known:
        allowed = ", ".join(known) or "none in this bundle"
        raise InputError(f"category: {category!r} is unknown{nearest(category, known)}; allowed: {allowed}")
    require(category is None or diversity > 0, "category: it is diversity's; ask for a diversity above 0 with it")
    if diversity == 0:
        return None
    require(bool(known), "diversity: the bundle has no item feature; export it with --category")
    return known[category or next(iter(known))]
