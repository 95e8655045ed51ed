"""The progress line of a recall for many users."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from recbole_mind.util.format import duration


class UsersProgress:
    """A recall for many users: on a terminal a live bar, elsewhere a line a minute, both on standard error.

    The time left is that of the users of this run: what an earlier one did took no time here.
    """

    EVERY = 60.0  # seconds between two lines

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("recall", total=None, left="")
        self.what, self.began, self.said, self.first = "", 0.0, 0.0, 0

    def __enter__(self) -> UsersProgress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def say(self, text: str) -> None:
        """Say a sentence."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def watch(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` users are through with ``what``; the first call says how many were before it began."""
        now = time.monotonic()
        if what != self.what:
            self.what, self.began, self.said, self.first = what, now, now, done
        rate = (done - self.first) / (now - self.began) if done > self.first else 0.0
        left = f"about {duration((total - done) / rate)} left" if rate and done < total else ""
        self.bar.update(self.task, description=what, completed=done, total=total, left=left)
        if not self.console.is_terminal and now - self.said >= self.EVERY:
            self.said = now
            self.say(f"{what}: {done:,} of {total:,} users, {rate:,.0f}/s" + (left and f", {left}"))
