"""How RecBole finds our models: standard library only, so that registering costs nothing.

RecBole looks a model up as ``recbole.model.sequential_recommender.<name in lower case>``. A finder on
``sys.meta_path`` serves those module names, and applies :mod:`recbole_mind.plugin.patches` as soon as the modules of
RecBole that they wait for are imported (at once where they already are). It holds for one process; workers that import
this package register again.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from recbole_mind.config.model_names import MODELS
from recbole_mind.plugin import patches

_PREFIX = "recbole.model.sequential_recommender."
_ALIASES = {_PREFIX + name.lower(): (name, module) for name, module in MODELS.items()}


class _AliasLoader(Loader):
    """Load ``recbole.model.sequential_recommender.mind`` as a module that holds our class."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name, source = _ALIASES[module.__name__]
        setattr(module, name, getattr(importlib.import_module(source), name))


class _HookLoader(Loader):
    """Load a RecBole module with its own loader, then apply the patches that wait for it."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        patches.apply(module.__name__)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _ALIASES:
            return ModuleSpec(fullname, _AliasLoader())
        if fullname in patches.MODULES:
            spec = PathFinder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _HookLoader(spec.loader)
            return spec
        return None


def register() -> None:
    """Make our models known to RecBole in this process; doing it twice does nothing."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    for module in patches.MODULES:
        if module in sys.modules:
            patches.apply(module)
