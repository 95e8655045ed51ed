"""What the commands' parsers share."""

from __future__ import annotations

import argparse
from typing import Any

from recbole_mind.errors import InputError


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line of ours."""

    def error(self, message: str) -> Any:
        raise InputError(message)


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """Add ``--jobs`` and ``--ray``: how many runs at a time, and where."""
    parser.add_argument("--jobs", "-j", type=int, default=1, metavar="N", help="runs at a time (default: 1)")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="host:port of a Ray cluster, or auto; by default one here if N > 1"
    )
