"""Items and the interests of a history in two dimensions.

Shape legend: K interests of the history, D embedding size, M items on the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from recbole_mind.exact import Floats, Ints
from recbole_mind.explain import Explained
from recbole_mind.explain_histories import to_unit
from recbole_mind.quick_start import Loaded

BACKGROUND = 1500  # items beside those of the history


class ItemMap(NamedTuple):
    """Where items and interests stand.

    Attributes:
        ids: ``[M]`` RecBole's ids of the items, ascending.
        places: ``[M, 2]`` of each.
        interests: ``[K, 2]`` of the interests.
        held: the share of the variance of the history's items that the two directions hold.
    """

    ids: Ints
    places: Floats
    interests: Floats
    held: float

    def of(self, ids: Sequence[int]) -> Floats:
        """The places ``[n, 2]`` of items on the map."""
        rows = np.searchsorted(self.ids, np.asarray(ids, np.int64))
        found: Floats = self.places[rows]
        return found


def item_map(loaded: Loaded, explained: Explained, *, seed: int = 0, items: int = BACKGROUND) -> ItemMap:
    """Lay out a history, what it recalls, and items drawn from the catalogue.

    A principal component analysis: the map is seen along the two directions in which the vectors of the behaviours and
    of what each interest recalls differ most. Vectors have unit length, so that a direction is a part of the cosine.

    Args:
        loaded: the model that the history was explained with.
        explained: the history.
        seed: of the draw.
        items: how many are drawn, at most.
    """
    table = to_unit(loaded.model.item_vectors().detach().float().cpu().numpy())  # [N, D]
    shown = {item.id for item in explained.behaviors}
    shown |= {found.item.id for part in (*explained.recalled, explained.merged) for found in part}
    own = np.array(sorted(shown), np.int64)
    drawn = np.random.default_rng(seed).permutation(len(table) - 1)[:items] + 1
    ids = np.union1d(drawn, own).astype(np.int64)
    centre = table[own].mean(0, dtype=np.float64)
    _, scale, axes = np.linalg.svd(table[own] - centre, full_matrices=False)
    axes *= np.where(axes[np.arange(len(axes)), np.abs(axes).argmax(1)] < 0, -1, 1)[:, None]  # else left to chance
    variance = scale**2

    def place(vectors: Floats) -> Floats:
        places: Floats = np.zeros((len(vectors), 2), np.float32)
        places[:, : len(axes[:2])] = (vectors - centre) @ axes[:2].T
        return places

    held = float(variance[:2].sum() / max(float(variance.sum()), 1e-12))
    return ItemMap(ids, place(table[ids]), place(to_unit(explained.vectors)), held)
