"""The command ``recbole-mind publish``: a bundle judged by the gate, and made a store's current version."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from recbole_mind.cli.parsing import Command
from recbole_mind.errors import require


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that recbole-mind export wrote")
    parser.add_argument("store", metavar="STORE", help="the folder of versions, made if there is none")
    parser.add_argument("--force", metavar="REASON", help="publish against the gate's reasons, and record why")
    parser.add_argument("--gate", metavar="FILE.yaml", help="limits that differ from properties/production/gate.yaml")
    parser.add_argument("--trusted-keys", metavar="FILE", help="demand a signature by one of these public keys")
    parser.add_argument("--keep", type=int, metavar="N", help="then remove all versions but the last N")
    parser.add_argument("--who", metavar="NAME", help="recorded (default: the user's name)")


def run(known: argparse.Namespace, _: Sequence[str]) -> int:
    """Run the command."""
    from recbole_mind.serving.store import gate
    from recbole_mind.serving.store.store import Store

    require(known.keep is None or known.keep >= 1, f"keep: {known.keep} is not allowed; allowed: at least 1")
    store, limits = Store(known.store), gate.limits(known.gate)
    before = len(store.log.events())
    event = store.publish(known.bundle, force=known.force, who=known.who, limits=limits, trusted=known.trusted_keys)
    for note in event.notes if event.number > before else ():
        print(f"note: {note}", file=sys.stderr)
    if event.event == "blocked":
        for reason in event.reasons:
            print(f"blocked: {reason}", file=sys.stderr)
        return 1
    if event.number <= before:
        how = "made current by a rollback" if event.event == "rolled back" else event.event
        print(f"version {event.id} is current already, {how} {event.time}; nothing was changed")
    else:
        for reason in event.reasons:
            print(f"forced, although {reason}", file=sys.stderr)
        print(f"version {event.id} is current" + (f"; before it {event.before}" if event.before else ""))
    for name in store.prune(known.keep) if known.keep is not None else ():
        print(f"version {name} is removed")
    return 0


COMMAND = Command(
    "publish",
    "let the gate judge a bundle and make it a store's current version; exit status 1 if it is blocked",
    run,
    _add_arguments,
)
