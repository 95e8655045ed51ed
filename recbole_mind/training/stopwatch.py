"""Where the seconds of a training go."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping


class Stopwatch:
    """Seconds of the phases of a run, those before it was stopped among them.

    Args:
        phases: their names.

    Attributes:
        earlier: seconds of all phases before the run was stopped; 0 for one that never was.
    """

    def __init__(self, *phases: str) -> None:
        self._seconds = dict.fromkeys(phases, 0.0)
        self._running: tuple[str, float] | None = None
        self.earlier = 0.0

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A context whose seconds count for a phase."""
        self._running = name, time.perf_counter()
        try:
            yield
        finally:
            self._seconds, self._running = self.seconds(), None

    def seconds(self) -> dict[str, float]:
        """Seconds of each phase until now."""
        if self._running is None:
            return dict(self._seconds)
        name, began = self._running
        return self._seconds | {name: self._seconds[name] + time.perf_counter() - began}

    def resume(self, seconds: Mapping[str, float]) -> None:
        """Go on from the ``seconds`` of a run that was stopped."""
        self._seconds |= seconds
        self.earlier = sum(self._seconds.values())
