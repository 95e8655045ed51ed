"""Ctrl-C that waits for the end of a batch."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


class Interrupts:
    """The first Ctrl-C of a training as a flag, ``asked``; the second one interrupts at once.

    Args:
        held: whether Ctrl-C waits at all; of several processes each gets it at another batch.
    """

    def __init__(self, *, held: bool) -> None:
        self._held = held
        self.asked = False

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """A context in which Ctrl-C waits, in the main thread and where nobody else listens to it."""
        main = threading.current_thread() is threading.main_thread()
        if not (self._held and main and signal.getsignal(signal.SIGINT) is signal.default_int_handler):
            yield
            return
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
