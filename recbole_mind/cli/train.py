"""The command ``run_recbole``: train and test one model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recbole_mind import __version__
from recbole_mind.cli.parsing import Parser
from recbole_mind.cli.printing import print_results
from recbole_mind.config import loading
from recbole_mind.errors import InputError

if TYPE_CHECKING:
    from recbole_mind.training.result import RunResult


def train(arguments: Sequence[str]) -> int:
    """Run the command ``run_recbole``."""
    parser = Parser(
        prog="run_recbole",
        allow_abbrev=False,
        description="Train and test a recommender: MIND, ComiRec, YouTubeDNN or any model of RecBole.",
        epilog="Every setting of RecBole and of the model: --key=value or --key value, such as --K=5 --p inf.",
    )
    parser.add_argument("--model", "-m", help="the model's name, such as MIND")
    parser.add_argument("--dataset", "-d", help="the data set's name; ml-100k ships with RecBole")
    parser.add_argument("--config_files", action="append", help="YAML files of settings, or a record; several in order")
    parser.add_argument("--record", metavar="PATH", help="write the result as JSON")
    parser.add_argument("--resume", metavar="CHECKPOINT", help="go on from a checkpoint")
    parser.add_argument("--nproc", type=int, default=1, help="processes on this machine")
    parser.add_argument("--world_size", type=int, default=-1, help="processes on all machines; -1 means nproc")
    parser.add_argument("--ip", default="localhost", help="address of the process of rank 0")
    parser.add_argument("--port", type=int, default=5678, help="port of the process of rank 0")
    parser.add_argument("--group_offset", type=int, default=0, help="rank of the first process here")
    parser.add_argument("--version", action="version", version=__version__)
    known, rest = parser.parse_known_args(arguments)
    overrides = loading.parse_arguments(rest)
    if "local_rank" in overrides:
        raise InputError("--local_rank is not for users; --nproc starts the processes")
    files = [name for entry in known.config_files or [] for name in entry.split()]
    keywords = {
        "model": known.model,
        "dataset": known.dataset,
        "config_files": files,
        "overrides": overrides,
        "record": known.record,
        "resume": known.resume,
    }
    if known.nproc == 1 and known.world_size <= 0:
        from recbole_mind.training.run import run

        result: RunResult | None = run(**keywords)
    else:
        from recbole_mind.training import launch

        group = {key: getattr(known, key) for key in ("nproc", "world_size", "ip", "port", "group_offset")}
        result = launch.run(keywords, **group)
    if result is not None:
        print_results([result], known.record)
    return 0
