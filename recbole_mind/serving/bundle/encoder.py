"""The exported user encoder, run by ONNX Runtime: no torch, no RecBole.

Shape legend: B users, L history length (padded), K interests, D embedding size, P size of a profile.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recbole_mind.errors import require
from recbole_mind.retrieval.types import Bools, Floats, Ints
from recbole_mind.serving.bundle.onnx_session import Session

INPUTS, OUTPUTS = ("behaviors", "lengths", "profile", "gaps"), ("interests", "active", "weights")


class EncodedHistories(NamedTuple):
    """What a history says: ``interests`` [B, K, D], which are ``active`` [B, K], and ``weights`` [B, K, L].

    A weight says how much of an interest a behaviour makes; 0 on padding.
    """

    interests: Floats
    active: Bools
    weights: Floats


class Encoder:
    """Interests from behaviours and profiles; may be called by many threads at once.

    Args:
        graph: an ONNX graph with inputs ``behaviors`` [B, L, D], ``lengths`` [B] and, where the model has one,
            ``profile`` [B, P] and ``gaps`` [B, L], and the outputs of :class:`EncodedHistories`.
        threads: of one call.

    Attributes:
        training: what the graph says it is of; ``None`` if it does not.
        reads_gaps: whether it asks for them.

    Raises:
        InputError: ONNX Runtime is missing, or the graph is not such a one.
    """

    def __init__(self, graph: bytes, threads: int = 1) -> None:
        self._session = Session(graph, "encoder.onnx", threads)
        self._inputs, outputs = self._session.inputs, self._session.outputs
        good = set(INPUTS[:2]) <= set(self._inputs) <= set(INPUTS) and outputs == OUTPUTS
        require(good, f"'encoder.onnx' turns {self._inputs} into {list(outputs)}: it is not an encoder of ours")
        self.reads_gaps = "gaps" in self._inputs
        self.training = self._session.training

    def __call__(
        self, behaviors: Floats, lengths: Ints, profile: Floats, gaps: Floats | None = None
    ) -> EncodedHistories:
        """Encode histories.

        Args:
            behaviors: ``[B, L, D]`` item vectors, oldest first, zeros after them.
            lengths: ``[B]`` real lengths, at least 1.
            profile: ``[B, P]``.
            gaps: ``[B, L]`` float32, the time before the newest behaviour, below 0 where nobody knows it: for a graph
                that reads them; by default nobody knows any.

        Raises:
            InputError: the graph fails on them.
        """
        given = {"behaviors": behaviors, "lengths": lengths.astype(np.int64, copy=False), "profile": profile}
        if self.reads_gaps:
            given["gaps"] = np.full(behaviors.shape[:2], -1, np.float32) if gaps is None else gaps
        found = self._session.run(OUTPUTS, {name: given[name] for name in self._inputs})
        (B, L, D), K = behaviors.shape, found[1].shape[-1] if found[1].ndim else 0
        wanted = [((B, K, D), np.float32), ((B, K), np.bool_), ((B, K, L), np.float32)]
        fits = [(part.shape, part.dtype.type) for part in found] == wanted
        require(fits, f"'encoder.onnx' gives arrays of shapes {[list(part.shape) for part in found]}")
        return EncodedHistories(*found)
