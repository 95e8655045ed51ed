"""What comes back to the service: impressions and clicks of the items that it gave."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import OrderedDict
from datetime import datetime, timezone
from pathlib import Path

from pydantic_core import to_json

from recbole_mind.errors import require
from recbole_mind.serving.events.log import Event, EventLog
from recbole_mind.serving.events.tickets import Ticket, Tickets
from recbole_mind.serving.http.metrics import Metrics
from recbole_mind.serving.http.refused import Refused
from recbole_mind.serving.http.schema import EventsQuery

logger = logging.getLogger(__name__)
CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_SEEN = 200_000  # events that are known again at once; the log's reader knows all
_BUNDLE = 12  # letters of a bundle's id
_LOOK = 5.0  # seconds between two looks at the age of what was taken


class Feedback:
    """The log of a service, the ids of its answers, and what it counts.

    Args:
        folder: of the log.
        channel: the service's name in it.
        metrics: where events are counted.

    Raises:
        InputError: the folder cannot be written, or the name is none.
    """

    def __init__(self, folder: str | Path, channel: str, metrics: Metrics) -> None:
        good = CHANNEL.fullmatch(channel) is not None
        require(good, f"channel: '{channel}' is not allowed; allowed: up to 32 of A-Z a-z 0-9 _ -")
        self.channel, self._metrics = channel, metrics
        self.log = EventLog(folder)
        self.tickets = Tickets(folder)
        self._seen: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._users: dict[str, set[str]] = {}
        self._day = ""
        self._ends = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="events", daemon=True)

    def start(self) -> None:
        """Begin to make Parquet of what is old enough."""
        self._keeper.start()

    def stop(self) -> None:
        """Make Parquet of what there is, and let go of the folder."""
        self._ends.set()
        if self._keeper.is_alive():
            self._keeper.join()
        self.log.close()

    def issue(self, bundle: str, user: str | None) -> str:
        """The id of an answer."""
        return self.tickets.issue(self.channel, bundle[:_BUNDLE], user)

    def take(self, query: EventsQuery) -> bytes:
        """Keep impressions and clicks: they are on the disk when this is answered, all of them or none."""
        now = time.time()
        tickets: dict[str, Ticket | None] = {}
        new: dict[tuple[str, str, str], Event] = {}
        for place, given in enumerate(query.events):
            if given.request not in tickets:
                tickets[given.request] = self.tickets.read(given.request)
            ticket = tickets[given.request]
            if ticket is None:
                raise Refused(422, "invalid", "it is no id that this service gave an answer", f"events.{place}.request")
            key = (ticket.nonce, given.item, given.event)
            if key not in self._seen:
                about = (ticket.nonce, ticket.channel, ticket.bundle, ticket.user)
                new[key] = Event(now, *about, given.item, given.position, given.event)
        try:
            self.log.append(list(new.values()))
        except OSError as error:
            self._metrics.events_lost.inc(len(new))
            logger.error("events are not taken: %s", error.strerror)
            raise Refused(503, "not_kept", "the events cannot be kept; send them again", Retry_After="5") from None
        self._count(new)
        return to_json({"taken": len(new), "repeated": len(query.events) - len(new)})

    def _count(self, new: dict[tuple[str, str, str], Event]) -> None:
        day = datetime.now(timezone.utc).date().isoformat()
        if day != self._day:
            self._day, self._users = day, {}
        for key, event in new.items():
            self._seen[key] = None
            self._metrics.events.labels(event.channel, event.bundle, event.event, _group(event.position)).inc()
            users = self._users.setdefault(f"{event.channel} {event.event}", set())
            users.add(event.user)
            self._metrics.event_users.labels(event.channel, event.event).set(len(users))
        while len(self._seen) > _SEEN:
            self._seen.popitem(last=False)

    def _keep(self) -> None:
        while not self._ends.wait(_LOOK):
            self.log.tend()


def _group(position: int | None) -> str:
    if position is None:
        return "unknown"
    return next((name for most, name in ((3, str(position)), (10, "4-10"), (50, "11-50")) if position <= most), "51+")
