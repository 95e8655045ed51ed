"""The command ``recbole-mind rollback``: an earlier version of a store made current again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from recbole_mind.cli.parsing import Command


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", metavar="STORE", help="the folder of versions")
    parser.add_argument("--to", metavar="ID", help="a version's id, or how it starts")
    parser.add_argument("--why", metavar="REASON", help="recorded")
    parser.add_argument("--who", metavar="NAME", help="recorded (default: the user's name)")


def run(known: argparse.Namespace, _: Sequence[str]) -> int:
    """Run the command."""
    from recbole_mind.serving.store.store import Store

    event = Store(known.store).rollback(known.to, known.who, known.why)
    for note in event.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"version {event.id} is current again, in place of {event.before}")
    return 0


COMMAND = Command(
    "rollback", "make the version before the current one current again, or another one", run, _add_arguments
)
