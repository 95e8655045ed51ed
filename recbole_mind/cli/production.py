"""The commands of production: argument parsing and printing, nothing else."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from recbole_mind.config import loading
from recbole_mind.serving.progress import UsersProgress


def add_parsers(commands: Any) -> None:
    """Add the parsers of ``export`` and ``recall`` to ``recbole-mind``'s."""
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
    export.add_argument("--sign", metavar="KEY", help="a private key of ssh-keygen -t ed25519, which signs the bundle")
    export.set_defaults(run=_export, takes_settings=True)
    _add_recall(commands)


def _add_recall(commands: Any) -> None:
    recall = commands.add_parser(
        "recall",
        allow_abbrev=False,
        help="recall for every user of a Parquet file: users to items, scores and interests",
        epilog="The same command goes on where it was stopped. Columns of the file: user, history (a list of item "
        "tokens, oldest first) and, where they are there, n and the profile's fields. Columns of the output: user, "
        "items, scores, interests, fallback.",
    )
    recall.add_argument("bundle", metavar="BUNDLE", help="a folder that recbole-mind export wrote, or a store")
    recall.add_argument("--histories", required=True, metavar="FILE", help="a Parquet file, one row a user")
    recall.add_argument("--output", "-o", required=True, metavar="FILE", help="the Parquet file that is written")
    recall.add_argument("--n", type=int, metavar="N", help="items for each user (default: 1000)")
    seen = recall.add_mutually_exclusive_group()
    seen.add_argument("--exclude-seen", action="store_true", help="leave out a history's own items (the default)")
    seen.add_argument("--include-seen", action="store_true", help="let them come")
    recall.add_argument(
        "--pool", metavar="FILE", help="items that may be recalled: a token a line, or a column of Parquet"
    )
    recall.add_argument("--deny", metavar="FILE", help="items that are left out, in such a file")
    recall.add_argument("--batch", type=int, metavar="N", help="users of a part, held in memory (default: 1024)")
    recall.add_argument("--threads", type=int, metavar="N", help="default: OMP_NUM_THREADS, or the number of cores")
    recall.set_defaults(run=_recall)


def _export(known: argparse.Namespace, rest: Sequence[str]) -> int:
    from recbole_mind.export import export

    manifest = export(
        known.checkpoint,
        known.output,
        factory=known.index,
        parameters=known.parameters,
        categories=known.category,
        record=known.record,
        overrides=loading.parse_arguments(rest),
        sign=known.sign,
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


def _recall(known: argparse.Namespace) -> int:
    from recbole_mind.serving import batch

    given = {"n": known.n, "batch": known.batch, "threads": known.threads, "pool": known.pool, "deny": known.deny}
    with UsersProgress() as progress:
        found = batch.recall(
            known.bundle,
            known.histories,
            known.output,
            exclude_seen=not known.include_seen,
            watch=progress.watch,
            say=progress.say,
            **{key: value for key, value in given.items() if value is not None},
        )
    rate = f", {found.made / found.seconds:,.0f} users/s" if found.made else ""
    print(f"{known.output}: {found.users:,} users{rate}, by bundle {found.bundle[:12]}")
    unknown = found.unknown / found.given if found.given else 0.0
    print(f"{found.fallbacks:,} fallbacks, {unknown:.2%} unknown items in histories, {found.empty:,} empty lists")
    if known.pool is not None or known.deny is not None:
        print(f"unknown tokens: {found.unknown_allowed:,} of the pool, {found.unknown_denied:,} of the denied items")
    return 0
