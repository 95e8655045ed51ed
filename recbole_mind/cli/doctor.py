"""The command ``recbole-mind doctor``: does RecBole run here, what is patched, which command helps."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from recbole_mind.cli.parsing import Command


def run(known: argparse.Namespace, _: Sequence[str]) -> int:
    """Run the command."""
    from recbole_mind.plugin.doctor import examine

    report = examine()
    console = Console()
    table = Table("library", "installed", "tested", "remark", box=None, pad_edge=False, header_style="bold")
    for row in report.versions:
        table.add_row(*map(Text, row))  # [sweep] is no markup
    console.print(table)
    if not report.problems:
        from recbole_mind.plugin.patches import catalogue

        console.print("\nMended in RecBole 1.2.1", style="bold")
        for patch in catalogue():
            console.print(f"- {patch}", highlight=False, markup=False)
    console.print("\nCannot be mended from outside", style="bold")
    for text in report.cannot:
        console.print(f"- {text}", highlight=False, markup=False)
    for text in report.problems:
        console.print(f"\nRecBole cannot run: {text}", style="bold red", highlight=False, markup=False)
    for command in report.help:
        console.print(f"  {command}", highlight=False, markup=False, soft_wrap=True)
    if not report.problems:
        console.print("\nRecBole runs here.", style="bold green")
    return 1 if report.problems else 0


COMMAND = Command(
    "doctor",
    "does RecBole run here, what is mended, which command helps",
    run,
)
