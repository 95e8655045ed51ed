"""The commands of production: argument parsing and printing, nothing else."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from recbole_mind import settings


def add_parsers(commands: Any) -> None:
    """Add the parsers of :data:`COMMANDS` to ``recbole-mind``'s."""
    export = commands.add_parser(
        "export",
        allow_abbrev=False,
        help="turn a checkpoint into a bundle that recalls: encoder, item index, tokens, popularity",
        epilog="Settings that win over the checkpoint's, as --key=value: --data_path=data",
    )
    export.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a .pth file of MIND, ComiRecSA, ComiRecDR or YouTubeDNN"
    )
    export.add_argument(
        "--output", "-o", required=True, metavar="DIR", help="the bundle; one that is there is replaced"
    )
    export.add_argument(
        "--index", default="auto", metavar="FACTORY", help="exact, auto or a FAISS factory string (default: auto)"
    )
    export.add_argument("--parameters", metavar="nprobe=32,...", help="FAISS's search parameters")
    export.add_argument(
        "--category", action="append", default=[], metavar="FIELD", help="an item feature for diversity"
    )
    export.add_argument("--record", metavar="PATH", help="the run's record, for the metrics on test data")


def run(known: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command that ``known`` names."""
    return COMMANDS[known.command](known, rest)


def _export(known: argparse.Namespace, rest: Sequence[str]) -> int:
    from recbole_mind.export import export

    manifest = export(
        known.checkpoint,
        known.output,
        factory=known.index,
        parameters=known.parameters,
        categories=known.category,
        record=known.record,
        overrides=settings.parse_arguments(rest),
    )
    data, index, files = manifest["data"], manifest["index"], manifest["files"]
    size = sum(entry["bytes"] for entry in files.values())
    print(f"{known.output}: {manifest['model']['name']} on {data['name']}, {size / 2**20:,.1f} MiB")
    trained = f", {data['untrained_items']:,} of them never seen in training" if data["untrained_items"] else ""
    print(f"{data['items']:,} items{trained}")
    how = "searched exactly" if index["factory"] == "exact" else f"recall@{index['n']} {index['recall']:.4f} of exact"
    print(f"index {index['factory']}: {how}")
    print(f"id {manifest['id']}")
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace, Sequence[str]], int]] = {"export": _export}
