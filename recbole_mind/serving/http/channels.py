"""The channels of a service: each with what it serves, and who answers where one cannot."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from recbole_mind.errors import require
from recbole_mind.serving.http.assignment import Assignment
from recbole_mind.serving.http.hot_swap import Bundles, Serving
from recbole_mind.serving.http.logs import Seldom
from recbole_mind.serving.http.metrics import ChannelMetrics, Metrics
from recbole_mind.serving.http.middleware import frames_of
from recbole_mind.serving.http.refused import Refused

logger = logging.getLogger(__name__)
failures = logging.getLogger("recbole_mind.channels")
failures.addFilter(Seldom())


class Turn(NamedTuple):
    """A channel that is to answer a request.

    Attributes:
        channel: its name.
        assigned: the name of the channel that the user has.
        serving: what it serves.
        metrics: where its recalls are counted.
        told: what an answer and a line of the log say of it.
    """

    channel: str
    assigned: str
    serving: Serving
    metrics: ChannelMetrics
    told: dict[str, str]


class Channels:
    """Channels side by side, or one that answers everybody.

    A request is answered by its user's channel. Where that has no bundle or fails, the others are tried in their order,
    beginning with the first.

    Args:
        bundles: of each channel, in order.
        assignment: of users to them; ``None`` for one channel, of whose name answers and figures do not speak.
        metrics: where fallbacks are counted.

    Raises:
        InputError: what each of them is to serve cannot serve.
    """

    def __init__(self, bundles: Mapping[str, Bundles], assignment: Assignment | None, metrics: Metrics) -> None:
        self.bundles, self.assignment, self._metrics = dict(bundles), assignment, metrics
        faults = [each.fault for each in bundles.values()]
        require(not all(faults), next(filter(None, faults), ""))
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def named(self) -> bool:
        """Whether answers, figures and the log say which channel they are about."""
        return self.assignment is not None

    def start(self, seconds: float) -> None:
        """Look for newer bundles and shares every so many seconds, in threads."""
        for each in self.bundles.values():
            each.start(seconds)
        if self.assignment is not None:
            self._thread = threading.Thread(
                target=self._follow, args=(self.assignment, seconds), name="shares", daemon=True
            )
            self._thread.start()

    def _follow(self, assignment: Assignment, seconds: float) -> None:
        while not self._ends.wait(seconds):
            assignment.look()

    def stop(self) -> None:
        """End the threads."""
        self._ends.set()
        for each in self.bundles.values():
            each.stop()
        if self._thread is not None:
            self._thread.join()

    def reload(self) -> None:
        """Have bundles, pools and shares read again soon, whether they changed or not; for a signal's handler."""
        for each in self.bundles.values():
            each.reload()
        if self.assignment is not None:
            self.assignment.reload()

    # -- requests ----------------------------------------------------------------------------------------------------

    def answer(self, user: str | None, about: dict[str, Any], work: Callable[[Turn], bytes]) -> bytes:
        """What ``work`` makes of the first turn in which it does not fail.

        Args:
            user: who asks, if that was said.
            about: is told whose turn it is, for the log.
            work: answers; what it refuses is refused.

        Raises:
            Refused: no bundle is loaded.
        """
        turns = list(self.turns(user))
        for place, turn in enumerate(turns, 1):
            about |= turn.told
            try:
                found = work(turn)
            except Refused:
                raise
            except Exception as error:
                if place == len(turns):
                    raise
                text = f"channel {turn.channel} failed, another answers: %s in %s"
                failures.error(text, type(error).__name__, frames_of(error), extra=turn.told)
                continue
            if turn.channel != turn.assigned:
                self._metrics.channel_fallbacks.labels(turn.assigned, turn.channel).inc()
            return found
        raise _nothing()

    def turns(self, user: str | None) -> Iterator[Turn]:
        """Who may answer a user, in order."""
        assigned = next(iter(self.bundles)) if self.assignment is None else self.assignment.channel(user)
        for name in (assigned, *(name for name in self.bundles if name != assigned)):
            serving = self.bundles[name].serving
            if serving is not None:
                told = {"bundle": serving.recaller.bundle_id}
                told |= {"channel": name, "assigned": assigned} if self.named else {}
                yield Turn(name, assigned, serving, self.bundles[name].metrics, told)

    def first(self) -> tuple[str, Serving]:
        """The first channel that serves, which answers what nobody in particular asks.

        Raises:
            Refused: there is none.
        """
        for name, each in self.bundles.items():
            serving = each.serving
            if serving is not None:
                return name, serving
        raise _nothing()

    # -- how they are ------------------------------------------------------------------------------------------------

    def serving(self) -> dict[str, Serving | None]:
        """What each serves now."""
        return {name: each.serving for name, each in self.bundles.items()}

    def states(self) -> dict[str, str]:
        """Whether each is ``ready``, ``degraded`` (something else is to serve) or ``not_ready`` (nothing serves)."""
        return {
            name: "not_ready" if each.serving is None else "degraded" if each.behind else "ready"
            for name, each in self.bundles.items()
        }


def _nothing() -> Refused:
    return Refused(503, "not_ready", "no bundle is loaded", Retry_After="5")
