"""The exported user encoder, run by ONNX Runtime: no torch, no RecBole.

Shape legend: B users, L history length (padded), K interests, D embedding size, P size of a profile.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from recbole_mind.errors import InputError, require
from recbole_mind.exact import Bools, Floats, Ints

INPUTS, OUTPUTS = ("behaviors", "lengths", "profile"), ("interests", "active", "weights")
TRAINING = "training"  # the graph's own word for the training that it is of


class Encoded(NamedTuple):
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
            ``profile`` [B, P], and the outputs of :class:`Encoded`.
        threads: of one call.

    Attributes:
        training: what the graph says it is of; ``None`` if it does not.

    Raises:
        InputError: ONNX Runtime is missing, or the graph is not such a one.
    """

    def __init__(self, graph: bytes, threads: int = 1) -> None:
        # the key that names a file outside the graph; nothing of ours holds the word
        require(re.search(rb"location", graph) is None, "'encoder.onnx' refers to other files")
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        try:
            self._session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own kinds have no common base
            raise InputError(f"'encoder.onnx' is not a graph that ONNX Runtime runs: {_first_line(error)}") from None
        self._inputs = [value.name for value in self._session.get_inputs()]
        outputs = tuple(value.name for value in self._session.get_outputs())
        good = set(INPUTS[:2]) <= set(self._inputs) <= set(INPUTS) and outputs == OUTPUTS
        require(good, f"'encoder.onnx' turns {self._inputs} into {list(outputs)}: it is not an encoder of ours")
        self.training: str | None = self._session.get_modelmeta().custom_metadata_map.get(TRAINING)

    def __call__(self, behaviors: Floats, lengths: Ints, profile: Floats) -> Encoded:
        """Encode histories.

        Args:
            behaviors: ``[B, L, D]`` item vectors, oldest first, zeros after them.
            lengths: ``[B]`` real lengths, at least 1.
            profile: ``[B, P]``.

        Raises:
            InputError: the graph fails on them.
        """
        given = {"behaviors": behaviors, "lengths": lengths.astype(np.int64, copy=False), "profile": profile}
        try:
            found = self._session.run(list(OUTPUTS), {name: given[name] for name in self._inputs})
        except Exception as error:
            raise InputError(f"'encoder.onnx' fails: {_first_line(error)}") from None
        return Encoded(*found)


def _runtime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        text = "this needs the library 'onnxruntime', which is not installed: pip install 'recbole-mind[serve]'"
        raise InputError(text) from None
    return onnxruntime


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
