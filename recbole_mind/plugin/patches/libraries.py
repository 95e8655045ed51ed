"""RecBole 1.2.1 on libraries that have moved on since."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import scipy.sparse
import torch

from recbole_mind.plugin.patches.patch import Change, Patch, Replace, Wrap


class _QuietImport(Change):
    """Import RecBole's sequential models, SINE among them, and leave torch's anomaly detection as it was."""

    def make(self) -> None:
        before = torch.is_anomaly_enabled()
        import_module("recbole.model.sequential_recommender")
        torch.autograd.set_detect_anomaly(before)

    def take_back(self) -> None:
        torch.autograd.set_detect_anomaly(True)


ANOMALY_DETECTION = Patch("anomaly_detection", since="RecBole 1.2.1",
    fault="importing any sequential model switches on torch's anomaly detection, which halves the speed",
    cure="switched off", source=("recbole.model.sequential_recommender.sine",),
    changes=(_QuietImport(),))  # fmt: skip


def _lacks_update() -> bool:
    return not hasattr(scipy.sparse.dok_matrix, "_update")


def update_matrix(matrix: Any, data: Any) -> None:
    """What ``dok_matrix._update`` did: set entries of a matrix without a check."""
    matrix._dict.update(data)


_GRAPH_MODELS = (
    *(f"general_recommender.{name}" for name in ("gcmc", "lightgcn", "ncl", "ngcf", "spectralcf")),
    *(f"knowledge_aware_recommender.{name}" for name in ("kgin", "mcclk")),
)
DOK_MATRIX_UPDATE = Patch("dok_matrix_update", since="SciPy 1.13", issue=2034, needed=_lacks_update,
    fault="graph models build their matrix with dok_matrix._update, which SciPy has dropped", cure="put back",
    source=tuple(f"recbole.model.{path}" for path in _GRAPH_MODELS),
    changes=(Replace("scipy.sparse:dok_matrix._update", update_matrix),))  # fmt: skip

_NUMPY_1 = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}


def _lacks_names() -> bool:
    return not all(hasattr(np, name) for name in _NUMPY_1)


def with_old_names(original: Callable[..., None], config: Any) -> None:
    """Put back the names of numpy 1 that RecBole's ``Config`` begins with."""
    for name, kind in _NUMPY_1.items():
        if not hasattr(np, name):
            setattr(np, name, kind)
    original(config)


NUMPY_NAMES = Patch("numpy_names", since="numpy 2.0", issue=2215, needed=_lacks_names,
    fault="numpy 2 has no np.float_ and its like", cure="the names are put back",
    changes=(Wrap("recbole.config.configurator:Config.compatibility_settings", with_old_names),))  # fmt: skip
