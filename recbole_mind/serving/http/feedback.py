"""What comes back to the service: impressions and clicks, for the answers that it gave."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable
from datetime import datetime, timezone
from pathlib import Path

from pydantic_core import to_json

from recbole_mind.errors import InputError
from recbole_mind.serving.events.log import Event, EventLog
from recbole_mind.serving.events.tickets import Ticket, Tickets
from recbole_mind.serving.http.metrics import Metrics
from recbole_mind.serving.http.refused import Refused
from recbole_mind.serving.http.schema import EventsQuery

logger = logging.getLogger(__name__)
_SEEN = 200_000  # events that are known again at once; the log's reader knows all
_AGE = 30 * 86_400  # seconds after which an answer's events are no longer taken
_USERS = 1_000_000  # of a channel that are told apart on a day
_BUNDLE = 12  # letters of a bundle's id
_LOOK = 5.0  # seconds between two looks at the age of what was taken
_EARLIER = "earlier"  # the label of all bundles but those that serve


class Feedback:
    """The log of a service, the ids of its answers, and what it counts.

    Args:
        folder: of the log.
        metrics: where events are counted.
        most: events of one answer.

    Raises:
        InputError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, metrics: Metrics, most: int) -> None:
        self._metrics, self._most = metrics, most
        self.log = EventLog(folder)
        try:
            self.tickets = Tickets(folder)
        except InputError:
            self.log.close()
            raise
        self._seen: OrderedDict[str, set[tuple[str, str]]] = OrderedDict()  # items and events by answer
        self._seen_events = 0
        self._users: dict[tuple[str, str], set[str]] = {}
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

    def issue(self, channel: str, bundle: str, user: str | None, answered: str = "") -> str:
        """The id of an answer to a user of ``channel``; ``answered`` is the channel that gave it, if another one."""
        return self.tickets.issue(channel, bundle[:_BUNDLE], user, answered)

    def take(self, query: EventsQuery, bundles: Iterable[str] = ()) -> bytes:
        """Keep impressions and clicks: they are on the disk when this is answered, all of them or none.

        One thread at a time calls it. ``bundles`` are those that serve.
        """
        now = time.time()
        tickets: dict[str, Ticket] = {}
        new: dict[tuple[str, str, str], Event] = {}
        fresh: Counter[str] = Counter()
        for place, given in enumerate(query.events):
            if given.request not in tickets:
                tickets[given.request] = self._ticket(given.request, now, place)
            ticket = tickets[given.request]
            key = (ticket.nonce, given.item, given.event)
            known = self._seen.get(ticket.nonce, set())
            if key in new or key[1:] in known:
                continue
            fresh[ticket.nonce] += 1
            if len(known) + fresh[ticket.nonce] > self._most:
                text = f"an answer has at most {self._most} events"
                raise Refused(422, "invalid", text, f"events.{place}.request")
            about = (ticket.nonce, ticket.channel, ticket.bundle, ticket.user)
            new[key] = Event(now, *about, given.item, given.position, given.event, ticket.answered)
        try:
            self.log.append(list(new.values()))
        except OSError as error:
            self._metrics.events_lost.inc(len(new))
            logger.error("events are not taken: %s", error.strerror)
            raise Refused(503, "not_kept", "the events cannot be kept; send them again", Retry_After="5") from None
        self._remember(new)
        self._count(new.values(), {bundle[:_BUNDLE] for bundle in bundles})
        return to_json({"taken": len(new), "repeated": len(query.events) - len(new)})

    def _ticket(self, request: str, now: float, place: int) -> Ticket:
        ticket, where = self.tickets.read(request), f"events.{place}.request"
        if ticket is None:
            raise Refused(422, "invalid", "it is no id that this service gave an answer", where)
        if now - ticket.issued > _AGE:
            raise Refused(422, "invalid", f"the answer is older than {_AGE // 86_400} days", where)
        return ticket

    def _remember(self, new: Iterable[tuple[str, str, str]]) -> None:
        for nonce, item, event in new:
            self._seen.setdefault(nonce, set()).add((item, event))
            self._seen_events += 1
        while self._seen_events > _SEEN:
            self._seen_events -= len(self._seen.popitem(last=False)[1])

    def _count(self, new: Iterable[Event], bundles: Collection[str]) -> None:
        day = datetime.now(timezone.utc).date().isoformat()
        if day != self._day:
            self._day, self._users = day, {}
            self._metrics.event_users.clear()
        for event in new:
            label = event.bundle if event.bundle in bundles else _EARLIER
            self._metrics.events.labels(event.channel, label, event.event, _group(event.position)).inc()
            users = self._users.setdefault((event.channel, event.event), set())
            if event.user != event.request and len(users) < _USERS:
                users.add(event.user)
                self._metrics.event_users.labels(event.channel, event.event).set(len(users))

    def _keep(self) -> None:
        while not self._ends.wait(_LOOK):
            try:
                self.log.tend()
            except Exception:
                logger.exception("the events' keeper goes on")


def _group(position: int | None) -> str:
    if position is None:
        return "unknown"
    return next((name for most, name in ((3, str(position)), (10, "4-10"), (50, "11-50")) if position <= most), "51+")
