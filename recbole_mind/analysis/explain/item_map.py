"""Items and the interests of a history in two dimensions.

Shape legend: K interests of the history, D embedding size, M items on the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recbole_mind.analysis.explain.case_study import Explained
from recbole_mind.analysis.explain.histories import to_unit
from recbole_mind.evaluation.hits import Doubles
from recbole_mind.retrieval.types import Floats, Ints
from recbole_mind.training.load import Loaded

BACKGROUND = 1500  # items beside those of the history
RINGS = np.array([1.0, 1.5, 2.2, 3.1, 4.2])  # around a star, in the distance at which its label touches it
ANGLES = np.pi * (0.25 + np.arange(16) / 8)  # at which labels stand, the upper right first


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


def label_places(stars: Doubles, others: Doubles, size: tuple[float, float], radius: float, frame: Doubles) -> Floats:
    """Where the labels of the interests stand so that they hide neither each other nor a star.

    One after the other, each at the place around its star that hides least: no label and no star where that can be,
    then few of the ``others``, then near.

    Args:
        stars: ``[K, 2]`` middles of the stars, y upwards, in any unit; all else is in the same.
        others: ``[n, 2]`` middles of what is better not hidden.
        size: width and height of a label.
        radius: of a star.
        frame: ``[2, 2]``, the lower left corner and the upper right one, within which labels stay.

    Returns:
        ``[K, 2]`` middles of the labels.
    """
    box = np.array(size)
    reach = radius + box / 2  # less, and a label touches a star
    circle = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)
    around = (RINGS[:, None, None] * circle * np.sqrt(2) * 1.05 * reach).reshape(-1, 2)  # [R * 16, 2]
    far = np.repeat(RINGS, len(ANGLES))
    placed = np.zeros((0, 2))
    for star in stars:
        places = star + around
        outside = ((places - box / 2 < frame[0]) | (places + box / 2 > frame[1])).any(1)
        hard = outside + _within(places, placed, box) + _within(places, stars, reach)
        cost = 1e6 * hard + _within(places, others, box / 2 + radius / 3) + 0.5 * far
        placed = np.concatenate([placed, places[cost.argmin()][None]])
    result: Floats = placed.astype(np.float32)
    return result


def _within(places: Doubles, points: npt.NDArray[Any], reach: Doubles) -> Ints:
    """How many of ``points`` [n, 2] lie within ``reach`` of each of ``places`` [P, 2], in both directions: ``[P]``."""
    near: Ints = (np.abs(places[:, None] - points) < reach).all(2).sum(1)
    return near
