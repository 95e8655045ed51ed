"""The exported ranker, run by ONNX Runtime: no torch, no RecBole.

Shape legend: M candidates, L behaviours that are read (padded), N items, W what the ranker reads of an item.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recbole_mind.errors import require
from recbole_mind.retrieval.types import Floats, Ints
from recbole_mind.serving.bundle.manifest import RankerPart
from recbole_mind.serving.bundle.onnx_session import Session
from recbole_mind.util.arrays import open_array

INPUTS = ("behaviors", "length", "items", "popularity", "scores", "interests")
OUTPUTS = ("logits",)
_BLOCK = 2**16  # items that are checked at once
_NUMBERS = 2**20  # of behaviours beside candidates at once, which the graph makes some tensors of


class RankingGraph:
    """Logits of candidates for one history; may be called by many threads at once.

    Args:
        graph: an ONNX graph with the inputs :data:`INPUTS`, ``behaviors`` [L, W], ``length`` [1], ``items`` [M, W] and
            of each candidate its ``popularity``, recall's ``scores`` and the ``interests`` that brought it, each [M].
        threads: of one call.

    Attributes:
        training: what the graph says it is of; ``None`` if it does not.

    Raises:
        InputError: ONNX Runtime is missing, or the graph is not such a one.
    """

    def __init__(self, graph: bytes, threads: int = 1) -> None:
        self._session = Session(graph, "ranker.onnx", threads)
        inputs, outputs = self._session.inputs, self._session.outputs
        good = tuple(inputs) == INPUTS and outputs == OUTPUTS
        require(good, f"'ranker.onnx' turns {inputs} into {list(outputs)}: it is not a ranker of ours")
        self.training = self._session.training

    def __call__(
        self, behaviors: Floats, length: int, items: Floats, popularity: Floats, scores: Floats, interests: Ints
    ) -> Floats:
        """The logits ``[M]`` of M candidates, at least one, for a history of ``length``.

        Raises:
            InputError: the graph fails on them.
        """
        given = (
            behaviors,
            np.array([length], np.int64),
            items,
            popularity,
            scores.astype(np.float32, copy=False),
            interests.astype(np.int64, copy=False),
        )
        found = self._session.run(OUTPUTS, dict(zip(INPUTS, given, strict=True)))[0]
        fits = found.shape == (len(items),) and found.dtype == np.float32
        require(fits, f"'ranker.onnx' gives an array of shape {list(found.shape)}")
        require(bool(np.isfinite(found).all()), "'ranker.onnx' gives values that are not finite")
        logits: Floats = found
        return logits


class Ranker:
    """The second stage of a bundle.

    Args:
        graph: of the ranker.
        items: ``[N, W]``, what it reads of each item.
        popularity: ``[N]``, as it reads it.
        history: L, the last behaviours that it reads.
        interests: K of recall.
    """

    def __init__(self, graph: RankingGraph, items: Floats, popularity: Floats, history: int, interests: int) -> None:
        self._graph, self._items, self._popularity = graph, items, popularity
        self._history, self._interests = history, interests

    @classmethod
    def open(cls, folder: Path, part: RankerPart, N: int, K: int, training: str | None) -> Ranker:
        """Open the ranker of a bundle of N items and K interests.

        Raises:
            InputError: a file cannot be read or holds something else, or is of another training than the recall.
        """
        graph = RankingGraph((folder / "ranker.onnx").read_bytes())
        require(graph.training in (None, training), "ranker and recall are of two trainings")
        items = open_array(folder / "ranker" / "items.npy", np.float32, (N, part.width))
        popularity = open_array(folder / "ranker" / "popularity.npy", np.float32, (N,))
        for begin in range(0, N, _BLOCK):
            for name, values in (("items", items), ("popularity", popularity)):
                finite = bool(np.isfinite(values[begin : begin + _BLOCK]).all())
                require(finite, f"'ranker/{name}.npy' holds NaN or infinite values")
        found = cls(graph, items, popularity, part.history, max(K, 1))
        one = np.zeros(1, np.int64)
        found.probabilities(one, one, np.zeros(1, np.float32), one)  # it fits what stands beside it
        return found

    def probabilities(self, history: Ints, rows: Ints, scores: Floats, interests: Ints) -> Floats:
        """The probabilities ``[M]`` that candidates are clicked.

        Args:
            history: rows of the items of the history, oldest first, at least one.
            rows: ``[M]`` of the candidates.
            scores: ``[M]`` recall's.
            interests: ``[M]``, which brought each.

        Raises:
            InputError: the graph fails.
        """
        if not len(rows):
            return np.zeros(0, np.float32)
        read = history[-self._history :]
        behaviors = np.zeros((self._history, self._items.shape[1]), np.float32)
        behaviors[: len(read)] = self._items[read]
        origins = np.clip(interests, 0, self._interests - 1)
        step = max(1, _NUMBERS // behaviors.size)
        parts = []
        for begin in range(0, len(rows), step):
            part = slice(begin, begin + step)
            items, popularity = self._items[rows[part]], self._popularity[rows[part]]
            parts.append(self._graph(behaviors, len(read), items, popularity, scores[part], origins[part]))
        result: Floats = 1 / (1 + np.exp(-np.concatenate(parts).clip(-60, 60)))
        return result
