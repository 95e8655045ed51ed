"""The command ``recbole-mind experiment``: argument parsing and printing, nothing else."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from recbole_mind.cli.parsing import Command, day
from recbole_mind.errors import require

if TYPE_CHECKING:
    from recbole_mind.analysis.ab_test.comparison import Comparison


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", metavar="LOG", nargs="+", help="a Parquet file of events, or a folder of them")
    parser.add_argument("--control", metavar="CHANNEL", help="what the others are compared with")
    parser.add_argument(
        "--share", nargs="+", metavar="CHANNEL=SHARE", help="how users were assigned to channels (default: alike)"
    )
    parser.add_argument("--since", metavar="DAY", help="the first day of impressions, as 2026-03-01 (UTC)")
    parser.add_argument("--until", metavar="DAY", help="the last one")
    parser.add_argument("--seed", type=int, default=1, help="of the resampling of users (default: 1)")
    parser.add_argument(
        "--output", "-o", metavar="DIR", help="write experiment.html, experiment.json and figures/ there"
    )


def run(known: argparse.Namespace, _: Sequence[str]) -> int:
    """Run the command."""
    require(known.seed >= 0, f"seed: {known.seed} is not allowed; allowed: a whole number, at least 0")
    shares = None if known.share is None else _shares(known.share)
    folder = None if known.output is None else Path(known.output)
    require(folder is None or not folder.exists() or folder.is_dir(), f"output: '{folder}' is not a folder")
    since, until = (day(key, getattr(known, key)) for key in ("since", "until"))
    from recbole_mind.analysis.ab_test import comparison, events

    found = comparison.compare(
        events.read(*known.log, since=since, until=until), control=known.control, shares=shares, seed=known.seed
    )
    if folder is not None:
        from recbole_mind.analysis.ab_test import page

        page.write(found, folder)
    _print(found, Console())
    if folder is not None:
        print(f"\n{folder / 'experiment.html'} shows it")
    return 0


def _shares(given: Sequence[str]) -> dict[str, float]:
    shares = {}
    for one in given:
        name, _, text = one.partition("=")
        try:
            share = float(text)
        except ValueError:
            share = 0.0
        require(bool(name) and 0 < share < float("inf"), f"share: '{one}' is not understood; as mind=0.5")
        require(name not in shares, f"share: '{name}' is there twice")
        shares[name] = share
    return shares


def _print(found: Comparison, console: Console) -> None:
    from recbole_mind.analysis.ab_test.comparison import RATES
    from recbole_mind.analysis.ab_test.statistics import MISMATCH
    from recbole_mind.analysis.ab_test.words import (
        channel_words,
        difference_words,
        rate_words,
        shares_words,
        significant,
    )

    for reason, number in found.left_out.items():
        console.print(f"left out: {number:,} {reason}", style="dim", highlight=False)
    table = _table("channel", "users", "impressions", "clicks", *RATES)
    for name, rates in found.channels.items():
        table.add_row(Text(name), *channel_words(rates), *(rate_words(rates, rate) for rate in RATES))
    console.print(table)
    if found.mismatch is not None:
        fault = found.mismatch < MISMATCH
        console.print(Text(f"\n{shares_words(found)}", "bold red" if fault else "dim"))
    if found.differences:
        table = _table("against " + found.control, "rate", "difference", "95%", "relative", "p", "detectable")
        for name, by_rate in found.differences.items():
            for rate, one in by_rate.items():
                table.add_row(Text(name), rate, *difference_words(one), style="bold" if significant(one) else None)
        console.print()
        console.print(table)
        about = "In brackets 95% of resamplings of users; detectable: what 80% of such experiments find."
        console.print(about, style="dim", highlight=False)
    if len(found.days) > 1:
        table = _table("day (UTC)", "channel", "users", "impressions", *RATES)
        for day, channels in found.days.items():
            for name, rates in channels.items():
                seen = channel_words(rates)[:2]
                table.add_row(day.isoformat(), Text(name), *seen, *(rate_words(rates, rate) for rate in RATES))
        console.print()
        console.print(table)


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, head in enumerate(heads):
        table.add_column(Text(head), justify="left" if place == 0 or head in ("channel", "rate") else "right")
    return table


COMMAND = Command(
    "experiment",
    "what channels did to those who saw them: click-through, differences, mismatches",
    run,
    _add_arguments,
    epilog="A row of LOG is an event: time, request, channel, user, item, event (impression or click).",
)
