"""The command ``recbole-mind watch``: the version that serves against the days before, and a rollback where it fell."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_mind.cli.parsing import Command
from recbole_mind.errors import InputError, require

if TYPE_CHECKING:
    from recbole_mind.analysis.monitoring.rules import Verdict, WatchRules
    from recbole_mind.serving.store.store import Store

_LETTERS = 12  # of a version's id in a log, at least


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", metavar="STORE", help="the folder of versions")
    parser.add_argument(
        "--events", metavar="LOG", nargs="+", required=True, help="folders of events, or Parquet files of them"
    )
    parser.add_argument(
        "--rollback", action="store_true", help="make the version before current where a figure has fallen"
    )
    parser.add_argument("--every", type=float, metavar="SECONDS", help="look again and again (default: once)")
    parser.add_argument("--rules", metavar="FILE.yaml", help="that differ from properties/production/watch.yaml")
    parser.add_argument("--who", metavar="NAME", help="recorded with a rollback (default: the user's name)")


def run(known: argparse.Namespace, _: Sequence[str]) -> int:
    """Run the command."""
    from recbole_mind.analysis.monitoring import rules
    from recbole_mind.serving.store.store import Store

    seconds = known.every
    good = seconds is None or 1 <= seconds <= 86_400
    require(good, f"every: {seconds} is not allowed; allowed: seconds from 1 to 86400")
    store, asked = Store(known.store), rules.rules(known.rules)
    store.history()  # raises where there is none
    for path in known.events:
        require(Path(path).exists(), f"events: '{path}' is not there")

    def look() -> bool:
        return _look(store, known.events, asked, known.rollback, known.who)

    if seconds is None:
        return int(look())
    try:
        while True:
            try:
                look()
            except InputError as error:  # it may be mended while this goes on
                print(f"error: {error}", file=sys.stderr, flush=True)
            time.sleep(seconds)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 0


def _look(store: Store, logs: Sequence[str], asked: WatchRules, roll_back: bool, who: str | None) -> bool:
    """Look once; whether a figure has fallen."""
    from recbole_mind.analysis.monitoring import log, rules
    from recbole_mind.serving.store import automatic

    now, events = _now(), store.history()
    current = automatic.switched(events)
    if current is None:
        print("nothing was published", flush=True)
        return False
    seen = log.read(*logs)
    name = next((each for each in seen.bundles if len(each) >= _LETTERS and current.id.startswith(each)), current.id)
    since = datetime.fromisoformat(current.time).timestamp()
    verdicts = rules.judge(seen, name, since, now.timestamp(), asked)
    print(f"version {current.id[:_LETTERS]}, current since {current.time[:16]}:", flush=True)
    if not verdicts:
        print("nothing of it was shown, so nothing is judged", flush=True)
    for one in verdicts:
        print(_line(one), flush=True)
    fallen = [one for one in verdicts if one.state == rules.FALLEN]
    if fallen and roll_back:
        reason = automatic.obstacle(events, now)
        if reason is None:
            try:
                why = f"recbole-mind watch: {'; '.join(_line(one) for one in fallen)}"
                event = store.rollback(who=who, why=why, current=current.id)
            except InputError as error:
                reason = str(error)
            else:
                for note in event.notes:
                    print(f"note: {note}", file=sys.stderr)
                print(f"version {event.id} is current again, in place of {event.before}", flush=True)
        if reason is not None:
            print(f"not rolled back: {reason}", flush=True)
    return any(one.state in (rules.FALLEN, rules.EARLIER) for one in verdicts)


def _line(one: Verdict) -> str:
    return f"{one.channel}, {one.rule}: {one.state}: {one.words}"


def _now() -> datetime:
    return datetime.now(timezone.utc)


COMMAND = Command(
    "watch",
    "whether the version that serves has fallen; exit status 1 if it has",
    run,
    _add_arguments,
    epilog="A row of LOG is an event: time, request, channel, bundle, user, item, event (impression or click).",
)
