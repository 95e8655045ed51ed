"""The command ``recbole-mind pack``: a data set as sorted columns on disk."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console

from recbole_mind.cli.parsing import Command
from recbole_mind.cli.progress import watching
from recbole_mind.config import loading


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="its name, a folder under data_path")
    parser.add_argument("--output", "-o", metavar="DIR", help="the folder (default: DATASET.packed beside the file)")


def run(known: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    from recbole_mind.data.packed_dataset import pack_data
    from recbole_mind.training.build import build_config

    config = build_config("MIND", known.dataset, overrides=loading.parse_arguments(rest))
    with watching(Console(stderr=True)) as watch:
        told = lambda what, done, total: watch(f"{known.dataset}: {what}", done, total)  # noqa: E731
        pack = pack_data(config, known.output, told)
    users, items = (f"{pack.tokens[field]:,}" for field in (pack.user, pack.item))
    print(f"{pack.interactions:,} interactions of {users} users with {items} items in {pack.folder}")
    return 0


COMMAND = Command(
    "pack",
    "write a data set's .inter file as sorted columns, for data larger than memory",
    run,
    _add_arguments,
    epilog=(
        "Settings that say what is read, as --key=value: --data_path=data --load_col='{inter: [user_id, "
        "item_id, timestamp]}'. Runs take the folder by themselves while the file does not change."
    ),
    takes_settings=True,
)
