"""The command ``recbole-mind demo``: MIND beside two baselines on ml-100k, one table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from recbole_mind.cli.parsing import Command
from recbole_mind.cli.printing import print_results
from recbole_mind.config import loading


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", "-o", default="demo", metavar="DIR", help="where the records go (default: demo)")


def run(known: argparse.Namespace, _: Sequence[str]) -> int:
    """Run the command."""
    from recbole_mind.training.run import run

    protocol, folder = loading.defaults("examples", "demo"), Path(known.output)
    results = []
    for model, name in (("Pop", "Pop"), ("YouTubeDNN", "YouTubeDNN"), ("MIND", "record")):
        overrides = protocol["all"] | (protocol.get(model) or {}) | {"checkpoint_dir": str(folder / "saved")}
        results.append(run(model, "ml-100k", overrides=overrides, record=folder / f"{name}.json"))
    print_results(results, folder / "record.json")
    return 0


COMMAND = Command(
    "demo",
    "train and test MIND, YouTubeDNN and Pop on ml-100k; one table",
    run,
    _add_arguments,
)
