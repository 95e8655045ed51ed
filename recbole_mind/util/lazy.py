"""Public names of a room that are imported when they are asked for, so that the room itself costs nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazily(room: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's ``__getattr__`` (PEP 562).

    Args:
        room: the module's name.
        names: the public names, and the module under ``room`` that holds each.
    """

    def attribute(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{room}.{names[name]}"), name)

    return attribute
