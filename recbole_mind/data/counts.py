"""How much of a data set's file a run reads and uses, and what each filter leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Counts:
    """What was read of a data set's interactions, and what is left of it.

    Attributes:
        read: ``interactions`` in the file, and the ``users`` and ``items`` that occur in them.
        kept: the same, after all filters.
        left_out: how many interactions each filter left out, by its reason; those that left out none are not named.
    """

    read: dict[str, int]
    kept: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str, number: int) -> None:
        """Count ``number`` interactions as left out for a reason."""
        if number:
            self.left_out[reason] = self.left_out.get(reason, 0) + number

    def record(self) -> dict[str, Any]:
        """All of it, as plain values."""
        return asdict(self)


def describe(data: Mapping[str, Any]) -> str:
    """A record's ``data`` in words."""
    if not data:
        return ""
    read, kept = data["read"], data["kept"]
    text = ", ".join(f"{kept[name]:,} {name}" for name in ("interactions", "users", "items") if name in kept)
    if not data["left_out"]:
        return text
    why = ", ".join(f"{number:,} {reason}" for reason, number in data["left_out"].items())
    return f"{text}; left out of {read['interactions']:,}: {why}"
