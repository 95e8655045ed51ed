"""What the commands' parsers share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from recbole_mind.errors import InputError


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line of ours."""

    def error(self, message: str) -> Any:
        raise InputError(message)


@dataclass(frozen=True)
class Command:
    """A command of ``recbole-mind``.

    Attributes:
        name: as it is typed.
        help: one line.
        run: is given what was parsed, and the arguments that are settings; gives the exit status.
        add_arguments: to the command's parser.
        epilog: under its help.
        takes_settings: whether arguments that it does not name are settings.
    """

    name: str
    help: str
    run: Callable[[argparse.Namespace, Sequence[str]], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
    epilog: str | None = None
    takes_settings: bool = False

    def add_to(self, commands: Any) -> None:
        """Add the command's parser to ``commands``, the subparsers of ``recbole-mind``."""
        parser = commands.add_parser(self.name, allow_abbrev=False, help=self.help, epilog=self.epilog)
        if self.add_arguments is not None:
            self.add_arguments(parser)
        parser.set_defaults(run=self.run, takes_settings=self.takes_settings)


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """Add ``--jobs`` and ``--ray``: how many runs at a time, and where."""
    parser.add_argument("--jobs", "-j", type=int, default=1, metavar="N", help="runs at a time (default: 1)")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="host:port of a Ray cluster, or auto; by default one here if N > 1"
    )


def day(key: str, text: str | None) -> date | None:
    """The day that an argument names, as 2026-03-01; ``None`` for none.

    Raises:
        InputError: it is no day.
    """
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{key}: '{text}' is not a day; as 2026-03-01") from None
