"""The bar of a command whose work has several parts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


@contextlib.contextmanager
def watching(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A context with what is told of a part, how much of it is done, and of how much; shown on a terminal."""
    columns = [TextColumn("{task.description}"), BarColumn(24), TaskProgressColumn(), TextColumn("left")]
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def watch(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        yield watch
