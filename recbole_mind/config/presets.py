"""Named settings of our models, ``properties/preset/``: each as its paper has it, where our defaults depart from it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from recbole_mind.config import checks, loading
from recbole_mind.errors import require


def known() -> list[str]:
    """Names of the presets."""
    return loading.names("preset")


def chosen(given: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The settings of the preset that the user's settings name, empty if they name none; the user's win over them.

    Raises:
        InputError: there is no such preset, or it has nothing on ``model``.
    """
    name = given.get("preset")
    if name is None:
        return {}
    checks.choice(given, "preset", known())
    every = loading.defaults("preset", name)
    require(model in every, f"preset: '{name}' says nothing of model '{model}'; allowed: {', '.join(every)}")
    return copy.deepcopy(dict(every[model]))
