"""The command ``recbole-mind explain``: argument parsing and printing, nothing else."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from recbole_mind.cli.parsing import Command
from recbole_mind.config import loading
from recbole_mind.errors import InputError


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a .pth file of MIND, ComiRecSA, ComiRecDR or YouTubeDNN"
    )
    parser.add_argument("--user", action="append", nargs="+", default=[], metavar="ID", help="raw user tokens")
    parser.add_argument(
        "--history", action="append", nargs="+", default=[], metavar='"A B C"', help="raw item tokens, oldest first"
    )
    parser.add_argument("--users", type=int, metavar="N", help="how many users to draw (default: 6)")
    parser.add_argument("--baseline", metavar="CHECKPOINT", help="a model of the same data to compare with: YouTubeDNN")
    parser.add_argument("--title", metavar="FIELD", help="the .item file's field of titles, found by its name")
    parser.add_argument("--category", metavar="FIELD", help="the .item file's field of categories, found by its name")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of what is drawn (default: 0)")
    parser.add_argument("--output", "-o", required=True, metavar="DIR", help="explain.html, explain.json and figures/")


def run(known: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    from rich.console import Console
    from rich.table import Table

    from recbole_mind.analysis.explain import output
    from recbole_mind.analysis.explain.case_study import SHOWN, explain
    from recbole_mind.analysis.explain.histories import CHOICE, draw_users

    users = [token for group in known.user for token in group]
    histories = [text.split() for group in known.history for text in group]
    count = known.users if known.users is not None else 0 if users or histories else SHOWN
    if count < 0 or not (users or histories or count):
        raise InputError(f"--users: {count} is not allowed; allowed: a whole number, at least 1")
    if known.seed < 0:
        raise InputError(f"--seed: {known.seed} is not allowed; allowed: a whole number, at least 0")
    for history in histories:
        if not history:
            raise InputError('--history: an empty one is not allowed; allowed: raw item tokens, such as "50 172 181"')
    output.check_target(known.output)
    overrides = loading.parse_arguments(rest)
    loaded = output.open_model(known.checkpoint, overrides)
    baseline = None if known.baseline is None else output.open_model(known.baseline, overrides)
    drawn = [token for token in draw_users(loaded, count, known.seed) if token not in users]
    found = explain(
        loaded,
        [*users, *drawn],
        histories,
        seed=known.seed,
        title=known.title,
        category=known.category,
        baseline=baseline,
    )
    statement = f"{loaded.config['model']} of {Path(known.checkpoint).name}. "
    statement += "Items of the history are not recalled. "
    if drawn:
        statement += f"Users {', '.join(drawn)} were chosen (seed {known.seed}): {CHOICE}."
    paths = output.write(loaded, found, known.output, statement=statement.strip(), seed=known.seed)
    table = Table("", "behaviours", "interests", "made of", box=None, pad_edge=False, header_style="bold")
    for column in table.columns[1:3]:
        column.justify = "right"
    for one in found:
        named = " | ".join(filter(None, one.names)) or one.fallback or ""
        table.add_row(one.label, str(len(one.behaviors)), str(len(one.names)), named)
    console = Console(markup=False, highlight=False)
    console.print(table)
    for one in found:
        for note in one.notes:
            console.print(f"{one.label}: {note}", soft_wrap=True)
    figures = len([path for path in paths if path.parent.name == "figures"])
    console.print(f"{paths[0]} shows it; {paths[1].name} and {figures} figures beside it", soft_wrap=True)
    return 0


COMMAND = Command(
    "explain",
    "show a model's interests: what each is made of, what it recalls; pictures and a page",
    run,
    _add_arguments,
    epilog=(
        "Without --user and --history, users are drawn that show something. Settings that win over the "
        "checkpoint's, as --key=value: --data_path=data"
    ),
    takes_settings=True,
)
