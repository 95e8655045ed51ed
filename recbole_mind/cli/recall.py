"""The command ``recbole-mind recall``: recall for every user of a Parquet file."""

from __future__ import annotations

import argparse
from typing import Any

from recbole_mind.serving.progress import UsersProgress


def add_parser(commands: Any) -> None:
    """Add the command to ``commands``, the subparsers of ``recbole-mind``."""
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
