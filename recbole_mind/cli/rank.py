"""The command ``recbole-mind rank``: a second stage for a trained recall."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from recbole_mind.cli.parsing import Command
from recbole_mind.config import loading

if TYPE_CHECKING:
    from recbole_mind.ranking.run import RankingResult

_COLUMNS = ("ndcg@10", "ndcg@50", "recall@10", "recall@50")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a .pth file of MIND, ComiRecSA, ComiRecDR or YouTubeDNN"
    )
    parser.add_argument("--seed", type=int, help="of the ranker's training (default: recall's)")
    parser.add_argument("--resume", metavar="RANKER", help="a checkpoint of the ranker to go on from")
    parser.add_argument("--record", metavar="PATH", help="write the result as JSON")


def run(known: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    from recbole_mind.ranking.run import rank

    given = loading.parse_arguments(rest)
    result, _ = rank(
        known.checkpoint,
        given,
        seed=known.seed,
        record=known.record,
        resume=known.resume,
        show_progress=True,
    )
    _show(result)
    if known.record:
        print(f"record {known.record}")
    return 0


def _show(result: RankingResult) -> None:
    """What both stages come to, as a table."""
    console = Console(file=sys.stdout)
    settings = result.settings
    title = f"{result.dataset}: the best {settings['candidates']} of {result.model}, ranked by DIN"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    for heading in ("", *_COLUMNS):
        table.add_column(heading, justify="right" if heading else "left")
    for name, figures in (("held-out histories", result.valid), ("test", result.test)):
        table.add_row(f"{name}: recall alone", *_cells(figures, "recall_"))
        table.add_row(f"{name}: ranked", *_cells(figures, ""))
    console.print()
    console.print(table)
    test = result.test
    console.print(f"test: AUC {test['auc']:.4f}, PCOC {test['pcoc']:.3f}, loss {test['loss']:.4f}", highlight=False)
    learnt = f"{result.positives:,} clicks of {settings['learn_from']} data, {settings['num_negatives']} negatives each"
    console.print(f"learnt from {learnt}, {result.epochs} epochs, {result.seconds:.0f} s", highlight=False)
    if result.valid["ndcg@10"] <= result.valid["recall_ndcg@10"]:
        console.print("the ranker is no better than recall's own order on the held-out histories", highlight=False)
    console.print(f"ranker {result.checkpoint}", soft_wrap=True, highlight=False)


def _cells(figures: Mapping[str, float], prefix: str) -> list[str]:
    return [f"{figures[prefix + name]:.4f}" for name in _COLUMNS]


COMMAND = Command(
    "rank",
    "train RecBole's DIN to rank what a trained recall brings",
    run,
    _add_arguments,
    epilog="Settings of properties/ranking/DIN.yaml, and where the data are, as --key=value: --candidates=500",
    takes_settings=True,
)
