"""RecBole's quick start where Ray Tune is not installed: what stands in for it during the import."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from recbole_mind.plugin.patches.patch import Change, Patch
from recbole_mind.util.extras import lacking
from recbole_mind.util.ray_releases import import_ray


def no_tune() -> bool:
    """Whether Ray Tune cannot be imported."""
    try:
        import_ray()
        import_module("ray.tune")
    except ImportError:
        return True
    return False


class _NoTune:
    """In place of ``ray.tune``: nobody is there who could be told of a trial, and anything else is refused."""

    @staticmethod
    def report(**metrics: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ModuleNotFoundError(lacking("ray", f"tune.{name}"), name="ray")


class _StandIn(Change):
    """A module ``ray`` that has ``tune`` alone."""

    def __init__(self) -> None:
        self.before: ModuleType | None = None
        self.module = ModuleType("ray")
        self.module.tune = _NoTune()  # type: ignore[attr-defined]

    def make(self) -> None:
        self.before = sys.modules.get("ray")
        sys.modules["ray"] = self.module

    def take_back(self) -> None:
        del sys.modules["ray"]
        if self.before is not None:  # a Ray without what Tune asks for
            sys.modules["ray"] = self.before


RAY_IMPORT = Patch("ray_import", since="RecBole 1.2.1", issue=1990, needed=no_tune,
    fault="quick start cannot be imported without Ray Tune, which one of its functions reports to",
    cure="imported without; Ray itself stays away",
    source=("recbole.quick_start.quick_start",), changes=(_StandIn(),))  # fmt: skip
