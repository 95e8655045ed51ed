"""When a machine may roll back: once, and never where a person has decided."""

from datetime import datetime, timezone

import pytest

from recbole_mind.serving.store import automatic
from recbole_mind.serving.store.log import Event

NOW = datetime(2026, 3, 9, 12, tzinfo=timezone.utc)


def happened(*events):
    """Events such as ``09T04 published b``, each of which follows the one before."""
    made, current = [], None
    for number, text in enumerate(events, 1):
        time, kind, name = text.replace("rolled back", "rolled_back").split()
        kind = kind.replace("_", " ")
        made.append(Event(number, f"2026-03-{time}:00:00+00:00", kind, name, current))
        current = current if kind == "blocked" else name
    return made


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([], "nothing was published"),
        (["09T04 blocked a"], "nothing was published"),
        (["09T04 published a"], "there is no version before it"),
        (["08T04 published a", "09T04 published b"], None),
        (["08T04 published a", "09T04 forced b", "09T05 blocked c"], None),
        (["01T04 published a", "07T04 published b"], "the version had served for over 2 days"),
        (["07T04 published a", "08T04 published b", "09T04 rolled back a"], "the version is current by a rollback"),
        (
            ["07T04 published a", "08T04 published b", "08T14 rolled back a", "09T04 forced b"],
            "the version was rolled back on 2026-03-08 and published again since",
        ),
        (
            ["07T04 published a", "08T04 published b", "09T04 rolled back a", "09T06 published c"],
            "there was a rollback on 2026-03-09 already",
        ),
        (["07T04 published a", "08T04 published b", "08T23 rolled back a", "09T06 published c"], None),
    ],
)
def test_what_stands_against_it(events, reason):
    found = automatic.obstacle(happened(*events), NOW)
    assert (found is None) == (reason is None)
    assert reason is None or reason in found


def test_the_current_version_is_that_of_the_last_switch():
    events = happened("07T04 published a", "08T04 published b", "09T04 rolled back a", "09T05 blocked c")
    assert automatic.switched(events).number == 3
    assert automatic.switched(events[:1]).id == "a"
    assert automatic.switched([]) is None
