"""The command ``recbole-mind recall``: recall for every user of a Parquet file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from recbole_mind.cli.parsing import Command
from recbole_mind.serving.progress import UsersProgress


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that recbole-mind export wrote, or a store")
    parser.add_argument("--histories", required=True, metavar="FILE", help="a Parquet file, one row a user")
    parser.add_argument("--output", "-o", required=True, metavar="FILE", help="the Parquet file that is written")
    parser.add_argument("--n", type=int, metavar="N", help="items for each user (default: 1000)")
    seen = parser.add_mutually_exclusive_group()
    seen.add_argument("--exclude-seen", action="store_true", help="leave out a history's own items (the default)")
    seen.add_argument("--include-seen", action="store_true", help="let them come")
    parser.add_argument(
        "--pool", metavar="FILE", help="items that may be recalled: a token a line, or a column of Parquet"
    )
    parser.add_argument("--deny", metavar="FILE", help="items that are left out, in such a file")
    parser.add_argument("--batch", type=int, metavar="N", help="users of a part, held in memory (default: 1024)")
    parser.add_argument("--threads", type=int, metavar="N", help="default: OMP_NUM_THREADS, or the number of cores")


def run(known: argparse.Namespace, _: Sequence[str]) -> int:
    """Run the command."""
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


COMMAND = Command(
    "recall",
    "recall for every user of a Parquet file: users to items, scores and interests",
    run,
    _add_arguments,
    epilog="The same command goes on where it was stopped. Columns of the file: user, history (a list of item "
    "tokens, oldest first) and, where they are there, n and the profile's fields. Columns of the output: user, "
    "items, scores, interests, fallback.",
)
