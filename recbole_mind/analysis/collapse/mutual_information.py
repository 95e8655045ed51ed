"""Do the interests of a user follow the categories of the behaviours? Mutual information, and what chance gives.

With few behaviours any two partitions agree to some degree: normalised mutual information (NMI) is well above 0 for a
random one. So it stands beside its expectation over all assignments with the same sizes, and beside the adjusted
mutual information (AMI), which is 0 for chance and 1 for the same partition (Vinh, Epps and Bailey, JMLR 2010).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.metrics.cluster import expected_mutual_information

from recbole_mind.retrieval.types import Floats, Ints


class Agreement(NamedTuple):
    """Of each user ``[B]``, NaN where it is not defined: ``nmi``, what ``chance`` gives for it, and ``ami``."""

    nmi: Floats
    chance: Floats
    ami: Floats


def agreement(interests: Ints, categories: Ints, active: Ints) -> Agreement:
    """How well interests follow categories, as scikit-learn's ``normalized_`` and ``adjusted_mutual_info_score``.

    It is defined for a user with two active interests or more and, among the behaviours that have a category, two
    categories or more of which one is there twice: otherwise every assignment agrees alike. A user whose behaviours all
    go to one of several active interests has 0.

    Args:
        interests: ``[B, L]`` the strongest interest of each behaviour.
        categories: ``[B, L]`` its category, 0 for none and on padding.
        active: ``[B]`` number of active interests.

    Returns:
        :class:`Agreement`; both scores are normalised by the arithmetic mean of the two entropies.
    """
    nmi, chance, ami = (np.full(len(active), np.nan) for _ in range(3))
    for row in np.flatnonzero(active > 1):
        real = categories[row] > 0
        _, taken = np.unique(interests[row, real], return_inverse=True)
        kinds, kind = np.unique(categories[row, real], return_inverse=True)
        if not 2 <= len(kinds) < len(kind):
            continue
        table = np.zeros((taken.max() + 1, len(kinds)), np.int64)
        np.add.at(table, (taken, kind), 1)
        sides = _entropy(table.sum(1)) + _entropy(table.sum(0))
        found, expected = sides - _entropy(table[table > 0]), float(expected_mutual_information(table, len(kind)))
        nmi[row], chance[row] = found / (sides / 2), expected / (sides / 2)
        ami[row] = (found - expected) / (sides / 2 - expected)  # above 0: a category is there twice
    return Agreement(nmi, chance, ami)


def _entropy(sizes: Ints) -> float:
    """Of a partition into parts of these ``sizes``, in nats."""
    shares = sizes / sizes.sum()
    return float(-(shares * np.log(shares)).sum())
