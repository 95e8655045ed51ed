"""When a store may be rolled back without a person: once, from a new version, and never again from it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from recbole_mind.serving.store.log import BLOCKED, ROLLED_BACK, Event

DAYS = 2  # for which a version that has become current is blamed for what falls


def switched(events: Sequence[Event]) -> Event | None:
    """The event that made the current version current; ``None`` before the first publication."""
    return next((event for event in reversed(events) if event.event != BLOCKED), None)


def obstacle(events: Sequence[Event], now: datetime) -> str | None:
    """Why the current version is not to be rolled back by a machine, in words; ``None`` where it may be.

    Figures may fall for reasons that no version mends. So a machine goes back one version and no further, once a day
    (UTC) at most, not from a version that had served for :data:`DAYS` already, and not from one that was rolled back
    before: who publishes it again has decided.

    Args:
        events: of the store, oldest first.
        now: with its zone.
    """
    current = switched(events)
    if current is None:
        return "nothing was published"
    if current.event == ROLLED_BACK:
        return "the version is current by a rollback, and a person is to decide what comes before it"
    if current.before is None:
        return "there is no version before it"
    if now - datetime.fromisoformat(current.time) > timedelta(days=DAYS):
        return f"the version had served for over {DAYS} days, so something else has changed, and a person is to decide"
    back = [event for event in events if event.event == ROLLED_BACK]
    again = next((event for event in back if event.before == current.id), None)
    if again is not None:
        return f"the version was rolled back on {again.time[:10]} and published again since, so a person is to decide"
    today = now.astimezone(timezone.utc).date().isoformat()
    if any(event.time[:10] == today for event in back):
        return f"there was a rollback on {today} already"
    return None
