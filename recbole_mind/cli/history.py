"""The command ``recbole-mind history``: what was published, blocked and rolled back, with figures and their trend."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from recbole_mind.cli.parsing import Command
from recbole_mind.errors import require

if TYPE_CHECKING:
    from recbole_mind.serving.store.log import Event

_BARS = "▁▂▃▄▅▆▇█"
_STYLES = {"published": "green", "forced": "yellow", "blocked": "red", "rolled back": "cyan"}
_COLUMNS, _WIDTH, _REST = 4, 16, 72  # figures in the table of a store's history, letters of each and of the rest


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", metavar="STORE", help="the folder of versions")
    parser.add_argument("--last", type=int, default=30, metavar="N", help="events to show (default: 30)")


def run(known: argparse.Namespace, _: Sequence[str]) -> int:
    """Run the command."""
    from recbole_mind.serving.store.store import Store

    require(known.last >= 1, f"last: {known.last} is not allowed; allowed: a whole number, at least 1")
    events, console = Store(known.store).history(), Console()
    current = next((event for event in reversed(events) if event.event != "blocked"), None)
    if not events:
        print("nothing was published")
        return 0
    served = [event for event in events if event.event in ("published", "forced")][-known.last :]
    names = list(dict.fromkeys(name for event in reversed(served) for name in event.figures))
    shown = _first(names)[: max(1, (console.width - _REST) // _WIDTH)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("time (UTC)", "version", "status"):
        table.add_column(heading, no_wrap=True)
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("who, why")
    for event in events[-known.last :]:
        here = event is current
        table.add_row(
            event.time[:16].replace("T", " "),
            event.id[:12],
            Text(event.event + (" ◀ current" if here else ""), _STYLES[event.event]),
            *(_figure(event.figures.get(name)) for name in shown),
            Text(_words(event)),
        )
    console.print(table)
    trends = Table("figure", "trend", "last", "mean", "min", "max", box=None, pad_edge=False, header_style="bold")
    for name in names:
        values = [_number(event.figures.get(name)) for event in served]
        finite = [value for value in values if value is not None]
        if len(finite) > 1:
            spread = (finite[-1], sum(finite) / len(finite), min(finite), max(finite))
            trends.add_row(name, sparkline(values), *(_figure(value) for value in spread))
    if trends.row_count:
        console.print(f"\nof the last {len(served)} that were served, oldest first", style="dim", highlight=False)
        console.print(trends)
    return 0


def sparkline(values: Sequence[float | None]) -> str:
    """A bar for each value, from the least to the largest of them; a dot where there is none."""
    finite = [value for value in values if value is not None]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    step = (high - low) / (len(_BARS) - 1)
    return "".join(
        "·" if value is None else _BARS[round((value - low) / step) if step > 0 else len(_BARS) // 2]
        for value in values
    )


def _first(names: Sequence[str]) -> list[str]:
    """The figures that a table has room for: the loss, then test's (or validation's) recall and NDCG."""
    found = [name for name in names if name == "loss"]
    for part in ("test.", "valid."):
        metrics = [name for name in names if name.startswith(part)]
        chosen = [name for name in metrics if name.startswith((f"{part}recall@", f"{part}ndcg@"))] or metrics
        if chosen:
            found += chosen
            break
    return found[:_COLUMNS]


def _number(value: Any) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


def _figure(value: Any) -> str:
    number = _number(value)
    return ("-" if value is None else str(value)) if number is None else f"{number:.4g}"


def _words(event: Event) -> str:
    parts = [event.who or "", f"“{event.why}”" if event.why else "", *event.reasons]
    if event.event == "rolled back" and event.before:
        parts.insert(1, f"from {event.before[:12]}")
    return "; ".join(part for part in parts if part)


COMMAND = Command(
    "history", "what was published, blocked and rolled back, with figures and their trend", run, _add_arguments
)
