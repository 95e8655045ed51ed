"""The command that loads a bundle into Milvus: argument parsing and printing, nothing else."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from recbole_mind.cli.parsing import Command

TOKEN = "MILVUS_TOKEN"  # noqa: S105 - the name of the variable that holds it


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle that recbole-mind export has made")
    parser.add_argument(
        "--uri", required=True, help="the server, such as http://localhost:19530, or a file *.db for milvus-lite"
    )
    parser.add_argument("--alias", default="recbole_mind", help="what stands for it (default: recbole_mind)")
    parser.add_argument(
        "--index", default="auto", metavar="TYPE", help="auto, FLAT, IVF_FLAT, IVF_SQ8 or HNSW (default: auto)"
    )
    parser.add_argument("--parameters", metavar="nlist=4000,...", help="of building the index")


def run(known: argparse.Namespace, _: Sequence[str]) -> int:
    """Run the command."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from recbole_mind.serving.bundle.bundle import Bundle
    from recbole_mind.serving.milvus import load

    bundle = Bundle.load(known.bundle)
    columns = TextColumn("items"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("items", total=len(bundle.index))
        loaded = load(
            bundle,
            known.uri,
            known.alias,
            index_type=known.index,
            parameters=known.parameters,
            token=os.environ.get(TOKEN, ""),
            progress=lambda inserted: bar.update(task, completed=inserted),
        )
    how = f"{loaded.inserted:,} items inserted" if loaded.inserted else "whole already"
    print(f"{loaded.collection}: {how}, index {loaded.index_type}")
    print(f"alias {known.alias} stands for it{f', before for {loaded.before}' if loaded.before else ''}")
    for name in loaded.dropped:
        print(f"dropped {name}")
    return 0


COMMAND = Command(
    "milvus",
    "put a bundle's item vectors into Milvus and switch an alias to them",
    run,
    _add_arguments,
    epilog=f"The environment variable {TOKEN} holds the token or user:password of the server. "
    "The same command goes again after one that was stopped.",
)
