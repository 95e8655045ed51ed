"""A run's result on the terminal: its figures, the protocol they are under, groups of users, interests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from recbole_mind.config import protocols
from recbole_mind.data.counts import describe

if TYPE_CHECKING:
    from recbole_mind.training.result import RunResult


def print_results(results: Sequence[RunResult], record: str | Path | None) -> None:
    """One table: metrics of the test set (and of validation, for a single run), then protocol and interests."""
    console = Console()
    first = results[0]
    title = f"{first.dataset}, seed {first.seed}" + (", test" if len(results) > 1 else "")
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    table.add_column("" if len(results) > 1 else first.model)
    if len(results) == 1:
        columns = [("valid", first.valid), ("test", first.test)]
    else:
        columns = [(result.model, result.test) for result in results]
    for heading, _ in columns:
        table.add_column(heading, justify="right")
    form = _form(first)
    for metric in first.test:
        table.add_row(metric, *(form(figures[metric]) if metric in figures else "-" for _, figures in columns))
    if len(results) > 1:
        table.add_row("epochs", *(str(result.epochs) for result in results))
        table.add_row("seconds", *(f"{result.seconds:.0f}" for result in results))
    console.print()
    console.print(table)
    console.print(_describe_protocol(results[-1]), style="dim", highlight=False)
    for text in dict.fromkeys(describe(result.data) for result in results):
        console.print(text, style="dim", highlight=False)
    for result in results:
        if result.interests:
            console.print(f"{result.model}'s interests: {_describe_interests(result.interests)}", highlight=False)
    for result in results[-1:]:
        if result.checkpoint:
            console.print(f"checkpoint {result.checkpoint}", soft_wrap=True, highlight=False)
    if record:
        console.print(f"record {record}", soft_wrap=True, highlight=False)


def _form(result: RunResult) -> Callable[[float], str]:
    """How figures are printed: with four decimals, unless ``metric_decimal_place`` asks for others."""
    asked = result.config.get("metric_decimal_place")
    return f"{{:.{4 if asked is None else asked}f}}".format


def _describe_protocol(result: RunResult) -> str:
    protocol = result.protocol
    masked = "history kept out of the ranking" if protocol["mask_history"] else "history not masked"
    order = f"time order '{protocol['timestamp_order']}'" if protocol["timestamp_order"] else "random order"
    order = "" if protocol["split"] == "files" else f"{order}, "
    mode = protocol["mode"]["test"]
    ranked = "whole catalogue ranked" if mode == "full" else f"candidates '{mode}'"
    search = protocol["search"]
    names = {"dense": "by RecBole's dense scores", "exact": "by exact search"}
    parameters = ", ".join(f"{key}={value:g}" for key, value in search.get("parameters", {}).items())
    how = names.get(search["factory"], f"by '{search['factory']}', {parameters or 'no parameters'}")
    found = [
        f"; {key} {round(value, 4)} of the exact search" for key, value in search.items() if key.startswith("recall@")
    ]
    named = "" if protocol["name"] is None else f"protocol {protocol['name']}"
    named += f", but for {', '.join(protocol['changed'])}" if protocol["changed"] else ""
    named += ": " if named else ""
    split = protocols.list_split(protocol) or f"split {protocol['split']}"
    window = ", ".join(f"{key} {value}" for key, value in protocol.get("window", {}).items())
    split = f"{split}, {window}" if window else split
    return f"{named}{split}, {order}{ranked}, {masked}\nranked {how}{''.join(found)}"


def print_report(result: RunResult) -> None:
    """Metrics by group, side by side with the size of each group, and what each interest brought."""
    console, report, form = Console(), result.report, _form(result)
    groups = {
        "by_active_interests": "active interests",
        "by_history_length": "history length",
        "by_target_popularity": "target's training count",
    }
    for key, title in groups.items():
        names = [name for name in next(iter(report.get(key, [])), {}) if "@" in name]
        shown = ([name for name in names if name.startswith(("recall@", "ndcg@"))] or names)[:4]
        if not shown:
            continue
        table = Table(title, "users", *shown, "", box=None, pad_edge=False, header_style="bold")
        for column in table.columns[1:-1]:
            column.justify = "right"
        longest = max(row["users"] for row in report[key])
        for row in report[key]:
            bar = "█" * max(1, round(16 * row["users"] / longest))
            table.add_row(row["group"], str(row["users"]), *(form(row[name]) for name in shown if name in row), bar)
        console.print()
        console.print(table)
    if "hits_by_interest" in report:
        shares = ", ".join(f"{interest}: {share:.1%}" for interest, share in report["hits_by_interest"].items())
        lists = report["lists"]
        text = f"hits by interest: {shares}"
        if lists["users"]:
            text += f"; two interests' lists share {lists['jaccard']:.1%} of their items (Jaccard)"
        console.print(f"\n{text}", highlight=False)


def _describe_interests(interests: dict[str, float]) -> str:
    text = f"{interests['mean_active_interests']:.2f} active per user"
    if "collapsed_users" in interests:
        text += f", collapsed into one for {interests['collapsed_users']:.1%} of users"
        text += f", mean pairwise cosine {interests['mean_pairwise_cosine']:.2f}"
    return text
