"""The exported user encoder, run by ONNX Runtime: no torch, no RecBole.

Shape legend: B users, L history length (padded), K interests, D embedding size, P size of a profile.
"""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

import numpy as np

from recbole_mind.errors import InputError, require
from recbole_mind.retrieval.types import Bools, Floats, Ints
from recbole_mind.serving.bundle import onnx_check
from recbole_mind.util.extras import require_modules

INPUTS, OUTPUTS = ("behaviors", "lengths", "profile", "gaps"), ("interests", "active", "weights")
TRAINING = "training"  # the graph's own word for the training that it is of
MEMORY = 2**30  # bytes, of all graphs of a process: one that makes more is refused or fails, and takes no other's


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
        try:
            onnx_check.check(graph)
        except InputError as error:
            raise InputError(f"'encoder.onnx' is not a graph of ours: {error}") from None
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.use_env_allocators", "1")  # whose memory has a limit
        given = {"providers": ["CPUExecutionProvider"], "enable_fallback": 0}  # which would print and try again
        try:
            self._session = runtime.InferenceSession(graph, options, **given)
            self._inputs = [value.name for value in self._session.get_inputs()]
            outputs = tuple(value.name for value in self._session.get_outputs())
            properties = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # ONNX Runtime's own kinds have no common base
            raise InputError(f"'encoder.onnx' is not a graph that ONNX Runtime runs: {_first_line(error)}") from None
        good = set(INPUTS[:2]) <= set(self._inputs) <= set(INPUTS) and outputs == OUTPUTS
        require(good, f"'encoder.onnx' turns {self._inputs} into {list(outputs)}: it is not an encoder of ours")
        self.reads_gaps = "gaps" in self._inputs
        self.training: str | None = properties.get(TRAINING)

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
        try:
            found = self._session.run(list(OUTPUTS), {name: given[name] for name in self._inputs})
        except Exception as error:
            raise InputError(f"'encoder.onnx' fails: {_first_line(error)}") from None
        (B, L, D), K = behaviors.shape, found[1].shape[-1] if found[1].ndim else 0
        wanted = [((B, K, D), np.float32), ((B, K), np.bool_), ((B, K, L), np.float32)]
        fits = [(part.shape, part.dtype.type) for part in found] == wanted
        require(fits, f"'encoder.onnx' gives arrays of shapes {[list(part.shape) for part in found]}")
        return EncodedHistories(*found)


@functools.cache
def _runtime() -> Any:
    """ONNX Runtime, whose tensors may take :data:`MEMORY` together."""
    require_modules("a bundle", "onnxruntime")
    import onnxruntime

    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg({"max_mem": MEMORY}))
    return onnxruntime


def _first_line(error: Exception) -> str:
    """What ONNX Runtime says, without places in its source and build."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"\S*/\S*onnxruntime\S*/.*?(?=(?: [A-Z][a-z]|$))", "", line)[:200].strip()
