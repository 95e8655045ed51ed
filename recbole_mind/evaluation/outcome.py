"""What an evaluation came to: figures, and what a search found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from recbole_mind.retrieval.index import MultiVectorIndex
from recbole_mind.retrieval.types import Bools, Exclusions, Floats, Ints


@dataclass(frozen=True)
class Outcome:
    """What a search found for R rows of evaluation data. Item ids are RecBole's, 0 being padding and -1 nothing.

    Attributes:
        ids, interests: ``[R, n]`` items found, and the interest that brought each (32 bits each).
        active: ``[R]`` number of active interests.
        lengths: ``[R]`` real length of each history, as the model reads it; empty for a model without one.
        rows, targets, places: ``[P]`` row and item of each target, ascending, and its place among the found, -1 if it
            was not.
        search: ``factory``, ``parameters`` and, of an approximate search, ``recall@n`` against the exact one with the
            number of ``users`` it was measured on.
        sample: interests, active flags and exclusions of some rows, for what takes another search.
        index: what was searched; the id in it is RecBole's less one.
    """

    ids: npt.NDArray[np.int32]
    interests: npt.NDArray[np.int32]
    active: Ints
    lengths: Ints
    rows: Ints
    targets: Ints
    places: Ints
    search: dict[str, Any]
    sample: tuple[Floats, Bools, Exclusions]
    index: MultiVectorIndex = field(repr=False)

    def hits(self, chosen: Any = slice(None)) -> Bools:
        """Which of the found are targets, ``[R, n]``; of some of the targets, if they are ``chosen``."""
        result = np.zeros(self.ids.shape, bool)
        rows, places = self.rows[chosen], self.places[chosen]
        result[rows[places >= 0], places[places >= 0]] = True
        return result

    def numbers(self, chosen: Any = slice(None)) -> Ints:
        """How many targets each row has, ``[R]``."""
        return np.bincount(self.rows[chosen], minlength=len(self.ids))


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation came to.

    Attributes:
        figures: metric to value; empty where there was nothing to evaluate.
        outcome: what the search found; ``None`` where RecBole scored every item.
        topk: RecBole's ``rec.topk`` ``[R, k + 1]`` of R rows: which of the k items at the top are targets, then the
            number of targets; ``None`` where no metric takes it.
    """

    figures: dict[str, float]
    outcome: Outcome | None = None
    topk: Tensor | None = None
