"""The command ``recbole-mind export``: a checkpoint becomes a bundle that recalls."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from recbole_mind.cli.parsing import Command
from recbole_mind.config import loading


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a .pth file of MIND, ComiRecSA, ComiRecDR, YouTubeDNN, ItemKNN or Pop"
    )
    parser.add_argument(
        "--output", "-o", required=True, metavar="DIR", help="the bundle; one that is there is replaced"
    )
    parser.add_argument(
        "--index", default="auto", metavar="FACTORY", help="exact, auto or a FAISS factory string (default: auto)"
    )
    parser.add_argument("--parameters", metavar="nprobe=32,...", help="FAISS's search parameters")
    parser.add_argument(
        "--category", action="append", default=[], metavar="FIELD", help="an item feature for diversity"
    )
    parser.add_argument("--record", metavar="PATH", help="the run's record, for the metrics on test data")
    parser.add_argument(
        "--ranker", metavar="RANKER", help="a .pth file of recbole-mind rank, trained on this checkpoint"
    )
    parser.add_argument("--sign", metavar="KEY", help="a private key of ssh-keygen -t ed25519, which signs the bundle")


def run(known: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command."""
    from recbole_mind.export import export
    from recbole_mind.serving.bundle.manifest import INTERESTS

    manifest = export(
        known.checkpoint,
        known.output,
        factory=known.index,
        parameters=known.parameters,
        categories=known.category,
        record=known.record,
        overrides=loading.parse_arguments(rest),
        sign=known.sign,
        ranker=known.ranker,
    )
    data, index, files = manifest["data"], manifest["index"], manifest["files"]
    size = sum(entry["bytes"] for entry in files.values())
    print(f"{known.output}: {manifest['model']['name']} on {data['name']}, {size / 2**20:,.1f} MiB")
    trained = f", {data['untrained_items']:,} of them never seen in training" if data["untrained_items"] else ""
    print(f"{data['items']:,} items{trained}")
    if manifest["kind"] == INTERESTS:
        exact = index["factory"] == "exact"
        how = "searched exactly" if exact else f"recall@{index['n']} {index['recall']:.4f} of exact"
        print(f"index {index['factory']}: {how}")
    else:
        print(f"recalls by {index['factory']}")
    if manifest["ranker"] is not None:
        figures = manifest["ranker"]["metrics"]
        without = f"{figures['recall_ndcg@10']:.4f} without it"
        print(f"ranker: NDCG@10 {figures['ndcg@10']:.4f} on held-out histories, {without}")
    print(f"id {manifest['id']}")
    return 0


COMMAND = Command(
    "export",
    "turn a checkpoint into a bundle that recalls: encoder, item index, tokens, popularity",
    run,
    _add_arguments,
    epilog="Settings that win over the checkpoint's, as --key=value: --data_path=data",
    takes_settings=True,
)
