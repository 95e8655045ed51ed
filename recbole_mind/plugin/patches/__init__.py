"""RecBole 1.2.1 made to run on current libraries, from outside: one :class:`~.patch.Patch` for each fault.

A module holds the patches of the RecBole class that it is named after, in the order in which they are applied. No patch
changes a number, unless a setting of ours asks for it or RecBole's own is wrong.

Public: ``catalogue``, ``apply``, ``patch.Patch``.
"""

from __future__ import annotations

from importlib import import_module

from recbole_mind.plugin.patches.patch import Patch

__all__ = ["MODULES", "Patch", "apply", "catalogue", "patches_of"]

MODULES = {  # by the module of RecBole after whose import they are applied
    "recbole.config": ("libraries", "frames", "config", "data", "trainer", "metrics", "models"),
    "recbole.quick_start": ("quick_start",),
    "recbole.utils.case_study": ("case_study",),
}


def patches_of(module: str) -> tuple[Patch, ...]:
    """The patches that a module of this package defines, in its order."""
    content = vars(import_module(f"{__name__}.{module}"))
    return tuple(value for value in content.values() if isinstance(value, Patch))


def catalogue() -> tuple[Patch, ...]:
    """Every patch, as ``recbole-mind doctor`` lists them."""
    return tuple(patch for modules in MODULES.values() for module in modules for patch in patches_of(module))


def apply(imported: str) -> None:
    """Apply the patches that wait for the import of a module of RecBole; a second call does nothing."""
    for module in MODULES[imported]:
        for patch in patches_of(module):
            patch.apply()
