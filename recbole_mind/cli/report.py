"""The command ``recbole-mind report``: argument parsing and printing, nothing else."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from recbole_mind.cli.parsing import Command
from recbole_mind.config import loading
from recbole_mind.errors import require


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a .pth file of MIND, ComiRecSA or ComiRecDR")
    parser.add_argument("--baseline", metavar="CHECKPOINT", help="of YouTubeDNN, say, on the same data")
    parser.add_argument("--category", metavar="FIELD", help="of the .item file (default: class, genre, category, ...)")
    parser.add_argument("--n", type=int, default=50, metavar="N", help="items in a user's list (default: 50)")
    parser.add_argument(
        "--output", "-o", required=True, metavar="DIR", help="report.json, report.md, report.html and figures/"
    )


def run(known: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    folder = Path(known.output)
    require(not folder.exists() or folder.is_dir(), f"output: '{folder}' is not a folder")
    overrides = loading.parse_arguments(rest)
    from recbole_mind.analysis.collapse import measure, page

    found = measure.build(
        known.checkpoint,
        baseline=known.baseline,
        category=known.category,
        n=known.n,
        overrides=overrides,
        show_progress=sys.stderr.isatty(),
    )
    page.write(found, folder)
    console = Console()
    console.print(Text(f"\n{page.title(found)}", "bold"))
    console.print(Text(page.statement(found), "dim"))
    beside = found.get("baseline")
    for section, lines in page.lines(found).items():
        compared = beside is not None and any(line.baseline for line in lines)
        names = [found["model"], beside["model"]] if beside is not None and compared else [""]
        table = _table([section, *names, ""])
        for line in lines:
            values = [Text(value) for value in (line.value, line.baseline)[: len(names)]]
            table.add_row(Text(line.name), *values, Text(line.meaning, "dim"))
        console.print()
        console.print(table)
    heads, rows = page.interest_table(found)
    table = _table([*heads, ""])
    for row in rows:
        table.add_row(*row)
    console.print()
    console.print(table)
    if "categories" not in found:
        console.print("\nThe .item file has no field of categories by its name; --category names one.", style="dim")
    console.print(f"\n{folder / 'report.html'} shows it; report.md, report.json, figures/", soft_wrap=True)
    return 0


def _table(heads: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, head in enumerate(heads):
        table.add_column(Text(head), justify="right" if 0 < place < len(heads) - 1 else "left")
    return table


COMMAND = Command(
    "report",
    "do a model's interests collapse, do they follow categories, what do its lists cover",
    run,
    _add_arguments,
    epilog="Settings that win over the checkpoint's, as --key=value: --data_path=data --mask_history=True",
    takes_settings=True,
)
