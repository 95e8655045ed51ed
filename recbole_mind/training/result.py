"""What a run or an evaluation came to, and its record."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recbole_mind import __version__
from recbole_mind.config import protocols, window
from recbole_mind.util import json_text
from recbole_mind.util.files import write_atomic

_VERSIONS = ("recbole", "torch", "numpy", "pandas", "scipy", "faiss-cpu")


@dataclass(frozen=True)
class RunResult:
    """What a run came to; ``--record`` writes it as JSON.

    Attributes:
        model, dataset, seed: what ran.
        protocol: its name and which of its settings were changed, split, order, ties, candidates, the
            window, if it is not all interactions, and whether the history was kept out of the ranking.
        config: every setting in force; a run from them gives the same numbers.
        data: ``read`` and ``kept`` users, items and interactions, and how many interactions were ``left_out`` and why
            (:class:`recbole_mind.data.reading.Counts`).
        without_effect: those of them that the run does not read, see :mod:`recbole_mind.config.without_effect`.
        valid, test: metric to value, of the best epoch.
        interests: what :mod:`recbole_mind.layers.interest_statistics` says of a multi-interest model on the test
            histories.
        report: test metrics by group and by interest, see :mod:`recbole_mind.evaluation.breakdown`; empty without a
            search.
        epochs: trained, early stopping included.
        curve: ``valid_metric`` on the validation set at each evaluation of it, in order.
        seconds: wall time from the preparation of data to the end of the test, the same for every run, alone or one of
            many: without imports, queues and the start of a worker; of a resumed run with the training and validation
            of before.
        phases: of which ``data``, ``training``, ``validation`` and ``test``.
        checkpoint: path of the best epoch's checkpoint, ``None`` if it was not saved.
        versions: of Python and the libraries.
    """

    model: str
    dataset: str
    protocol: dict[str, Any]
    seed: int
    config: dict[str, Any]
    data: dict[str, Any]
    without_effect: list[str]
    valid: dict[str, float]
    test: dict[str, float]
    interests: dict[str, float]
    report: dict[str, Any]
    epochs: int
    curve: list[float]
    seconds: float
    phases: dict[str, float]
    checkpoint: str | None
    versions: dict[str, str]

    def write(self, path: str | Path) -> None:
        """Write the record as JSON, atomically."""
        write_atomic(path, json_text.to_json(asdict(self)))


def protocol_of(config: Any) -> dict[str, Any]:
    """How the figures came about, in words and values that a table can print."""
    sequential = config["MODEL_TYPE"].name == "SEQUENTIAL"
    by_time = config["eval_args"]["order"] == "TO" and config["benchmark_filename"] is None
    asked = config["mask_history"]
    masked = bool(asked) if sequential or asked is not None else not config["repeatable"]
    return {
        "name": config["protocol"],
        "changed": protocols.changed(config),
        "split": config["eval_args"]["split"] if config["benchmark_filename"] is None else "files",
        "order": config["eval_args"]["order"],
        "group_by": config["eval_args"]["group_by"],
        "mode": config["eval_args"]["mode"],
        "mask_history": masked,
        "timestamp_order": (config["timestamp_order"] or "recbole") if by_time else None,
        "ties": "file order" if by_time else None,
        "processes": config["world_size"] or 1,
        **({"window": asked} if (asked := window.asked(config)) else {}),
    }


def versions() -> dict[str, str]:
    """Versions of Python, this package and what its numbers depend on."""
    found = {"python": platform.python_version(), "recbole-mind": __version__}
    for name in _VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # such as faiss-gpu's in place of faiss-cpu
            found[name] = importlib.metadata.version(name)
    return found
