"""How figures and labels are written in every table of ours."""

from __future__ import annotations

import re
from collections.abc import Sequence

EMPTY = "–"


def number(value: float) -> str:
    """A metric: four decimals, fewer for large ones."""
    return f"{value:.4f}" if not abs(value) >= 100 else f"{value:,.1f}"


def seconds(value: float | None) -> str:
    """Seconds as a figure of a table."""
    return EMPTY if value is None else f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """A time in words."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def md(text: str) -> str:
    """A user's text in GitHub's Markdown, on one line, where nothing of it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>|~&#!])", r"\\\1", " ".join(text.split()))


def md_line(cells: Sequence[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"
