"""ComiRec's controllable diversity (Cen et al., KDD 2020, §3.4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from recbole_mind.exact import Ints


def diversify(scores: npt.ArrayLike, categories: npt.NDArray[Any], n: int, weight: float) -> Ints:
    """Choose n candidates greedily by score and by how many of those chosen before are of another category.

    .. math:: \\arg\\max_i f(u, i) + \\lambda \\sum_{j \\in S} g(i, j)

    g(i, j) is 1 where the two share no category, else 0: what an item loses for its like is counted here instead, as
    every candidate stands before the same S. Items without a category count as one category.

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
    values = np.array(categories)
    values[~values.any(1), :1] = -1
    _, values = np.unique(values, return_inverse=True)
    values = values.reshape(m, M)
    real = (categories != 0) | (np.arange(M) == 0) & ~categories.any(1, keepdims=True)
    holders, kinds = np.nonzero(real)[0], values[real]  # each candidate with each of its categories
    order = np.argsort(kinds, kind="stable")
    holders, bounds = holders[order], np.searchsorted(kinds[order], np.arange(values.max(initial=0) + 2))
    chosen = np.empty(min(n, m), np.int64)
    for place in range(len(chosen)):
        best = int(worth.argmax())
        chosen[place] = best
        alike = [holders[bounds[kind] : bounds[kind + 1]] for kind in values[best, real[best]]]
        worth[alike[0] if len(alike) == 1 else np.unique(np.concatenate(alike))] -= weight
        worth[best] = -np.inf
    return chosen
