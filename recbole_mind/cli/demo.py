"""The command ``recbole-mind demo``: MIND beside two baselines on ml-100k, one table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from recbole_mind.cli.printing import print_results
from recbole_mind.config import loading


def add_parser(commands: Any) -> None:
    """Add the command to ``commands``, the subparsers of ``recbole-mind``."""
    demo = commands.add_parser("demo", help="train and test MIND, YouTubeDNN and Pop on ml-100k; one table")
    demo.add_argument("--output", "-o", default="demo", metavar="DIR", help="where the records go (default: demo)")
    demo.set_defaults(run=_demo)


def _demo(known: argparse.Namespace) -> int:
    from recbole_mind.training.run import run

    protocol, folder = loading.defaults("examples", "demo"), Path(known.output)
    results = []
    for model, name in (("Pop", "Pop"), ("YouTubeDNN", "YouTubeDNN"), ("MIND", "record")):
        overrides = protocol["all"] | (protocol.get(model) or {}) | {"checkpoint_dir": str(folder / "saved")}
        results.append(run(model, "ml-100k", overrides=overrides, record=folder / f"{name}.json"))
    print_results(results, folder / "record.json")
    return 0
