"""The command ``recbole-mind leaderboard``: models side by side, one table with significance."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from recbole_mind.cli.parsing import Command, add_jobs
from recbole_mind.errors import InterruptedRun


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "spec", metavar="FILE.yaml", help="models, datasets, data_path, protocols, seeds, baseline, settings"
    )
    parser.add_argument(
        "--output", "-o", required=True, metavar="DIR", help="records/ and leaderboard.md, .tex, .csv, .html"
    )
    add_jobs(parser)


def run(known: argparse.Namespace, _: Sequence[str]) -> int:
    """Run the command."""
    from recbole_mind.experiments.leaderboard.render import write
    from recbole_mind.experiments.leaderboard.runner import Leaderboard
    from recbole_mind.experiments.leaderboard.spec import read_spec
    from recbole_mind.experiments.leaderboard.terminal import print_board
    from recbole_mind.util.files import alone_in

    spec, folder, console = read_spec(known.spec), Path(known.output), Console()
    with alone_in(folder):
        board = Leaderboard(spec, folder, known.jobs)
        board.clear()
        for cell, changed in board.outdated:
            console.print(f"{cell}: made again, since the record's {changed} changed", markup=False, highlight=False)
        try:
            board.run(ray=known.ray)
        except InterruptedRun:
            write(board.board(), folder)
            raise
        board.clear()
        result = board.board()
        write(result, folder)
        print_board(result, console)
        failed = {cell: record["error"] for cell, record in board.done.items() if "error" in record}
    console.print(f"{folder / 'leaderboard.html'} and .md, .tex, .csv; records in {folder / 'records'}", soft_wrap=True)
    for cell, error in failed.items():
        print(f"error: {cell}: {error}", file=sys.stderr)
    return 1 if failed else 0


COMMAND = Command(
    "leaderboard",
    "models × data sets × protocols × seeds: run what is missing, one table with significance",
    run,
    _add_arguments,
    epilog="The same command goes on where it was stopped. A run that is done is made again only if its settings, "
    "the code's version or the data changed.",
)
