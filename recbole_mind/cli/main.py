"""The commands ``run_recbole`` and ``recbole-mind``: their parsers joined, their errors in one line."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence

from recbole_mind import __version__
from recbole_mind.cli import (
    demo,
    doctor,
    evaluate,
    experiment,
    explain,
    export,
    history,
    interactions,
    leaderboard,
    milvus,
    pack,
    publish,
    rank,
    recall,
    report,
    rollback,
    serve,
    sweep,
    train,
    watch,
)
from recbole_mind.cli.parsing import Parser
from recbole_mind.errors import InputError, InterruptedRun
from recbole_mind.util.extras import lacking

_COMMANDS = (
    doctor,
    demo,
    evaluate,
    pack,
    leaderboard,
    sweep,
    rank,
    export,
    recall,
    publish,
    rollback,
    history,
    serve,
    milvus,
    explain,
    report,
    experiment,
    interactions,
    watch,
)


def _guarded(command: Callable[[Sequence[str]], int], arguments: Sequence[str] | None) -> int:
    """Run a command; what a user can cause becomes one line and exit status 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may be other bytes than text
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return command(sys.argv[1:] if arguments is None else arguments)
    except (InputError, InterruptedRun) as error:
        print(f"error: {error}" if isinstance(error, InputError) else str(error), file=sys.stderr)
    except ModuleNotFoundError as error:
        print(f"error: {lacking(error.name or '', 'this')}", file=sys.stderr)
    except MemoryError:
        print("error: out of memory: something that is read is larger than this machine's", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    return 2


def run_recbole(arguments: Sequence[str] | None = None) -> int:
    """The command ``run_recbole``."""
    return _guarded(train.train, arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command ``recbole-mind``."""
    return _guarded(_main, arguments)


def _main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="recbole-mind", allow_abbrev=False, description="MIND for RecBole.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in _COMMANDS:
        command.COMMAND.add_to(commands)
    known, rest = parser.parse_known_args(arguments)
    if rest and not known.takes_settings:
        raise InputError(f"argument '{rest[0]}' is not understood")
    status: int = known.run(known, rest)
    return status
