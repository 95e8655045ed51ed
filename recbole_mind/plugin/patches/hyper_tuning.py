"""Patches of RecBole's ``HyperTuning``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from recbole_mind.plugin.patches.patch import Patch, Replace


class _Numpy:
    """numpy, whose random state is the generator that hyperopt draws from."""

    random = SimpleNamespace(RandomState=np.random.default_rng)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


EXHAUSTIVE_SEARCH = Patch("exhaustive_search", since="hyperopt 0.2.7",
    fault="HyperTuning's exhaustive search, its default, hands hyperopt numpy's old random state, which it cannot use",
    cure="it gets a Generator",
    changes=(Replace("recbole.trainer.hyper_tuning:np", _Numpy()),))  # fmt: skip
