"""How RecBole finds our models: standard library only, so that registering costs nothing.

RecBole looks a model up as ``recbole.model.sequential_recommender.<name in lower case>``. A finder on
``sys.meta_path`` serves those module names, for our models and for those of other packages. It applies
:mod:`recbole_mind.plugin.patches` as soon as the modules of RecBole that they wait for are imported (at once where they
already are). It holds for one process; workers that import this package register again.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from recbole_mind.config.model_names import MODELS, load_class, models, register_model
from recbole_mind.plugin import patches
from recbole_mind.util.extras import installed, lacking

__all__ = ["register", "register_model"]

_PREFIX = "recbole.model.sequential_recommender."


class _AliasLoader(Loader):
    """Load ``recbole.model.sequential_recommender.mind`` as a module that holds the class of this name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        setattr(module, self.name, load_class(self.name))
        if self.name not in MODELS:  # every model on our base is trained as ours are
            importlib.import_module("recbole.config")  # has RecBole patched, if it is not yet
            trainers = importlib.import_module("recbole.trainer")
            setattr(trainers, f"{self.name}Trainer", vars(trainers)["MINDTrainer"])


class _HookLoader(Loader):
    """Load a RecBole module with its own loader and what its import needs, then apply the patches that wait for it."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with patches.during(module.__name__):
            self.loader.exec_module(module)
        patches.apply(module.__name__)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name = _model_of(fullname, path)
        if name is not None:
            return ModuleSpec(fullname, _AliasLoader(name))
        if fullname in patches.MODULES:
            spec = PathFinder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _HookLoader(spec.loader)
            return spec
        return None


def _model_of(fullname: str, path: Sequence[str] | None) -> str | None:
    """The model that RecBole looks for under this module's name, if it is one of ours or of another package."""
    if not fullname.startswith(_PREFIX):
        return None
    alias = fullname.removeprefix(_PREFIX)
    name = next((name for name in MODELS if name.lower() == alias), None)
    if name is None and PathFinder.find_spec(fullname, path) is None:  # entry points are read for nobody else
        name = next((name for name in models() if name.lower() == alias), None)
    return name


def register() -> None:
    """Make our models known to RecBole in this process; doing it twice does nothing."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    for module in patches.MODULES:
        if module in sys.modules:
            patches.apply(module)


def tell_of_missing_recbole() -> None:
    """Warn where torch is installed and RecBole is not: an install whose second step is to come.

    Our commands say so themselves, and a service needs neither.
    """
    ours = Path(sys.argv[0]).name in ("recbole-mind", "run_recbole") if sys.argv else False
    if not ours and not installed("recbole") and installed("torch"):
        # of no file, whose line would be shown too
        warnings.warn_explicit(lacking("recbole", "this"), UserWarning, "recbole_mind", 1)
