"""What a person sees while many runs are made: what runs, what is done, how long the rest will take."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from recbole_mind.util.format import duration


class _Bar(Progress):
    """A list of bars under a line about the best run so far."""

    best = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.best:
            yield Text(f"best so far: {self.best}")
        yield from super().get_renderables()


class RunsProgress:
    """A live list on a terminal, elsewhere one line a run, both on standard error.

    The time left is that of like runs that are done: the mean of the same ``kind``, of all where there is none yet.

    Args:
        what: of the whole, such as "leaderboard".
        kinds: of each run that is to be made.
        finished: kind and seconds of runs made before.
        jobs: how many run at a time.
    """

    def __init__(
        self,
        what: str,
        kinds: Iterable[Hashable],
        finished: Iterable[tuple[Hashable, float]] = (),
        jobs: int = 1,
        *,
        enabled: bool = True,
    ) -> None:
        self.enabled = enabled
        self.waiting, self.jobs = Counter(kinds), jobs
        self.seconds: dict[Hashable, list[float]] = defaultdict(list)
        before = 0
        for kind, seconds in finished:
            self.seconds[kind].append(seconds)
            before += 1
        self.running: dict[Hashable, tuple[float, TaskID, Hashable]] = {}
        self.total, self.done, self.failed = before + self.waiting.total(), before, 0
        self.console = Console(stderr=True)
        self.bar = _Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            disable=not (enabled and self.console.is_terminal),
        )
        self.whole = self.bar.add_task(what, total=self.total, completed=before, left="", count="")
        self._tell()

    def __enter__(self) -> RunsProgress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def started(self, name: Hashable, kind: Hashable) -> None:
        """The run ``name`` starts."""
        self.waiting[kind] -= 1
        task = self.bar.add_task(f"  {name}", total=None, left="", count="")
        self.running[name] = time.monotonic(), task, kind
        self._tell()

    def before(self, done: int, failed: int, best: str) -> None:
        """Of the runs made before, so many were ``done``, some of which ``failed``; what to say of the ``best``."""
        self.total += done - self.done
        self.done, self.failed = done, failed
        self.bar.update(self.whole, total=self.total, completed=done)
        self._tell()
        self.best(best)

    def best(self, text: str) -> None:
        """What to say of the best run so far: a line that stays on a terminal, elsewhere one when it changes."""
        if text and text != self.bar.best:
            self.bar.best = text
            if self.enabled and not self.console.is_terminal:
                self._print(f"best so far: {text}")

    def describe(self, name: Hashable, text: str) -> None:
        """Where the run ``name`` stands, in a few words, on a terminal."""
        self.bar.update(self.running[name][1], count=text)

    def ended(self, name: Hashable, outcome: str, *, failed: bool = False, seconds: float | None = None) -> None:
        """The run ``name`` has ended; ``outcome`` says in a few words what it came to.

        ``seconds`` are its record's; without them, as of a failed run, the time since it was started counts.
        """
        began, task, kind = self.running.pop(name)
        took = time.monotonic() - began if seconds is None else seconds
        if not failed:
            self.seconds[kind].append(took)
        self.done, self.failed = self.done + 1, self.failed + failed
        self.bar.remove_task(task)
        self.bar.advance(self.whole)
        left = self._tell()
        line = f"[{self.done}/{self.total}] {name}: {outcome}, {duration(took)}{left and '; ' + left}"
        if self.enabled:
            self._print(line)

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def left(self) -> float | None:
        """Seconds that the rest will take; ``None`` before anything is known."""
        known = [seconds for runs in self.seconds.values() for seconds in runs]
        if not known:
            return None
        usual = sum(known) / len(known)
        means: dict[Any, float] = {kind: sum(runs) / len(runs) for kind, runs in self.seconds.items()}
        now = time.monotonic()
        waiting = sum(number * means.get(kind, usual) for kind, number in self.waiting.items())
        running = [max(0.0, means.get(kind, usual) - (now - began)) for began, _, kind in self.running.values()]
        return max([(waiting + sum(running)) / self.jobs, *running])

    def _tell(self) -> str:
        seconds = self.left()
        nothing = not self.running and not self.waiting.total()
        text = "" if seconds is None or nothing else f"about {duration(seconds)} left"
        failed = f", {self.failed} failed" if self.failed else ""
        running = f", {len(self.running)} running" if self.running else ""
        self.bar.update(self.whole, count=f"{self.done}/{self.total}{running}{failed}", left=text)
        return text
