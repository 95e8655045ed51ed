"""An ONNX graph of ours, run by ONNX Runtime with a limit on its memory."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_mind.errors import InputError
from recbole_mind.serving.bundle import onnx_check
from recbole_mind.util.extras import require_modules

TRAINING = "training"  # a graph's own word for the training that it is of
MEMORY = 2**30  # bytes, of all graphs of a process: one that makes more is refused or fails, and takes no other's


class Session:
    """A graph ready to run; may be called by many threads at once.

    Args:
        graph: what our exporter writes.
        name: of its file, for messages.
        threads: of one call.

    Attributes:
        inputs, outputs: their names.
        training: what the graph says it is of; ``None`` if it does not.

    Raises:
        InputError: ONNX Runtime is missing, or the graph is none of ours.
    """

    def __init__(self, graph: bytes, name: str, threads: int = 1) -> None:
        self._name = name
        try:
            onnx_check.check(graph)
        except InputError as error:
            raise InputError(f"'{name}' is not a graph of ours: {error}") from None
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.use_env_allocators", "1")  # whose memory has a limit
        given = {"providers": ["CPUExecutionProvider"], "enable_fallback": 0}  # which would print and try again
        try:
            self._session = runtime.InferenceSession(graph, options, **given)
            self.inputs = [str(value.name) for value in self._session.get_inputs()]
            self.outputs = tuple(str(value.name) for value in self._session.get_outputs())
            self.training: str | None = self._session.get_modelmeta().custom_metadata_map.get(TRAINING)
        except Exception as error:  # ONNX Runtime's own kinds have no common base
            raise InputError(f"'{name}' is not a graph that ONNX Runtime runs: {_first_line(error)}") from None

    def run(self, outputs: Sequence[str], given: Mapping[str, Any]) -> list[Any]:
        """The ``outputs`` of the graph for inputs by name.

        Raises:
            InputError: the graph fails on them.
        """
        try:
            return list(self._session.run(list(outputs), dict(given)))
        except Exception as error:
            raise InputError(f"'{self._name}' fails: {_first_line(error)}") from None


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
