"""The command ``recbole-mind evaluate``: a saved model judged again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from recbole_mind.cli.parsing import Command
from recbole_mind.cli.printing import print_report, print_results
from recbole_mind.config import loading
from recbole_mind.errors import InputError


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a .pth file of run_recbole or of RecBole")
    parser.add_argument("--search", metavar="dense|exact|FACTORY", help="how the catalogue is ranked (eval_search)")
    parser.add_argument(
        "--mask-history", choices=("true", "false"), type=str.lower, help="keep each user's history out of the ranking"
    )
    parser.add_argument("--record", metavar="PATH", help="write the result as JSON")


def run(known: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    from recbole_mind.training.run import evaluate

    overrides = loading.parse_arguments(rest)
    given = {
        "eval_search": known.search,
        "mask_history": None if known.mask_history is None else known.mask_history == "true",
    }
    for key, value in given.items():
        if value is not None and overrides.setdefault(key, value) != value:
            raise InputError(f"{key} is given twice, with different values")
    result = evaluate(known.checkpoint, overrides=overrides, record=known.record, show_progress=sys.stderr.isatty())
    print_results([result], known.record)
    print_report(result)
    return 0


COMMAND = Command(
    "evaluate",
    "evaluate a saved model again; which users, items and interests its hits come from",
    run,
    _add_arguments,
    epilog="Other settings, as --key=value: --topk='[20, 50]' --search_parameters=nprobe=32",
    takes_settings=True,
)
