"""RecBole 1.2.1 made to run on current libraries, from outside: one :class:`~.patch.Patch` for each fault.

A module holds the patches of the RecBole class that it is named after, in the order in which they are applied. No patch
changes a number, unless a setting of ours asks for it or RecBole's own is wrong.

Public: ``catalogue``, ``apply``, ``during``, ``patch.Patch``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module

from recbole_mind.plugin.patches.patch import Patch

__all__ = ["IMPORTS", "MODULES", "Patch", "apply", "catalogue", "during", "patches_of"]

MODULES = {  # by the module of RecBole after whose import they are applied
    "recbole.config": ("libraries", "frames", "config", "data", "trainer", "metrics", "hyper_tuning", "models"),
    "recbole.quick_start": ("quick_start",),
    "recbole.utils.case_study": ("case_study",),
}
IMPORTS = {"recbole.quick_start": ("without_ray",)}  # by the module during whose import alone they are in force


def patches_of(module: str) -> tuple[Patch, ...]:
    """The patches that a module of this package defines, in its order."""
    content = vars(import_module(f"{__name__}.{module}"))
    return tuple(value for value in content.values() if isinstance(value, Patch))


def catalogue() -> tuple[Patch, ...]:
    """Every patch, as ``recbole-mind doctor`` lists them."""
    modules = [*IMPORTS.values(), *MODULES.values()]
    return tuple(patch for names in modules for name in names for patch in patches_of(name))


def apply(imported: str) -> None:
    """Apply the patches that wait for the import of a module of RecBole; a second call does nothing."""
    for module in MODULES[imported]:
        for patch in patches_of(module):
            patch.apply()


@contextlib.contextmanager
def during(imported: str) -> Iterator[None]:
    """Import a module of RecBole with the patches in force that are needed for that alone."""
    found = [patch for module in IMPORTS.get(imported, ()) for patch in patches_of(module)]
    try:
        for patch in found:
            patch.apply()
        yield
    finally:
        for patch in reversed(found):
            patch.undo()
