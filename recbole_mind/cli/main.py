"""The commands ``run_recbole`` and ``recbole-mind``: argument parsing and printing, nothing else."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from recbole_mind import __version__
from recbole_mind.cli import explain, milvus, production, serve, store, sweep
from recbole_mind.cli import report as cli_report
from recbole_mind.config import loading, protocols
from recbole_mind.data.counts import describe
from recbole_mind.errors import InputError, InterruptedRun

if TYPE_CHECKING:
    from recbole_mind.training.result import RunResult


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise InputError(message)


def _guarded(command: Callable[[Sequence[str]], int], arguments: Sequence[str] | None) -> int:
    """Run a command; what a user can cause becomes one line and exit status 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may be other bytes than text
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return command(sys.argv[1:] if arguments is None else arguments)
    except (InputError, InterruptedRun) as error:
        print(f"error: {error}" if isinstance(error, InputError) else str(error), file=sys.stderr)
    except ModuleNotFoundError as error:
        print(f"error: this needs the library '{error.name}', which is not installed", file=sys.stderr)
    except MemoryError:
        print("error: out of memory: something that is read is larger than this machine's", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    return 2


def run_recbole(arguments: Sequence[str] | None = None) -> int:
    """The command ``run_recbole``."""
    return _guarded(_run, arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command ``recbole-mind``."""
    return _guarded(_main, arguments)


def _run(arguments: Sequence[str]) -> int:
    parser = _Parser(
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
        _print_results([result], known.record)
    return 0


def _main(arguments: Sequence[str]) -> int:
    parser = _Parser(prog="recbole-mind", allow_abbrev=False, description="MIND for RecBole.")
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(takes_settings=False)  # a command that does is given the arguments that it does not name
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser("doctor", help="does RecBole run here, what is mended, which command helps")
    doctor.set_defaults(run=_doctor)
    demo = commands.add_parser("demo", help="train and test MIND, YouTubeDNN and Pop on ml-100k; one table")
    demo.add_argument("--output", "-o", default="demo", metavar="DIR", help="where the records go (default: demo)")
    demo.set_defaults(run=_demo)
    evaluate = commands.add_parser(
        "evaluate",
        allow_abbrev=False,
        help="evaluate a saved model again; which users, items and interests its hits come from",
        epilog="Other settings, as --key=value: --topk='[20, 50]' --search_parameters=nprobe=32",
    )
    evaluate.add_argument("checkpoint", metavar="CHECKPOINT", help="a .pth file of run_recbole or of RecBole")
    evaluate.add_argument("--search", metavar="dense|exact|FACTORY", help="how the catalogue is ranked (eval_search)")
    evaluate.add_argument(
        "--mask-history", choices=("true", "false"), type=str.lower, help="keep each user's history out of the ranking"
    )
    evaluate.add_argument("--record", metavar="PATH", help="write the result as JSON")
    evaluate.set_defaults(run=_evaluate, takes_settings=True)
    pack = commands.add_parser(
        "pack",
        allow_abbrev=False,
        help="write a data set's .inter file as sorted columns, for data larger than memory",
        epilog="Settings that say what is read, as --key=value: --data_path=data --load_col='{inter: [user_id, "
        "item_id, timestamp]}'. Runs take the folder by themselves while the file does not change.",
    )
    pack.add_argument("dataset", metavar="DATASET", help="its name, a folder under data_path")
    pack.add_argument("--output", "-o", metavar="DIR", help="the folder (default: DATASET.packed beside the file)")
    pack.set_defaults(run=_pack, takes_settings=True)
    board = commands.add_parser(
        "leaderboard",
        allow_abbrev=False,
        help="models × data sets × protocols × seeds: run what is missing, one table with significance",
        epilog="The same command goes on where it was stopped. A run that is done is made again only if its settings, "
        "the code's version or the data changed.",
    )
    board.add_argument(
        "spec", metavar="FILE.yaml", help="models, datasets, data_path, protocols, seeds, baseline, settings"
    )
    board.add_argument(
        "--output", "-o", required=True, metavar="DIR", help="records/ and leaderboard.md, .tex, .csv, .html"
    )
    _add_spread(board)
    board.set_defaults(run=_leaderboard)
    _add_spread(sweep.add_parser(commands))
    for module in (production, store, serve, milvus, explain, cli_report):
        module.add_parsers(commands)
    known, rest = parser.parse_known_args(arguments)
    if rest and not known.takes_settings:
        raise InputError(f"argument '{rest[0]}' is not understood")
    status: int = known.run(known, rest) if known.takes_settings else known.run(known)
    return status


def _add_spread(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", "-j", type=int, default=1, metavar="N", help="runs at a time (default: 1)")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="host:port of a Ray cluster, or auto; by default one here if N > 1"
    )


def _evaluate(known: argparse.Namespace, rest: Sequence[str]) -> int:
    from recbole_mind.training.run import evaluate

    overrides = loading.parse_arguments(rest)
    given = {
        "eval_search": known.search,
        "mask_history": None if known.mask_history is None else known.mask_history == "true",
    }
    for key, value in given.items():
        if value is not None and overrides.setdefault(key, value) != value:
            raise InputError(f"{key} is given twice, with different values")
    result = evaluate(known.checkpoint, overrides=overrides, record=known.record, show_progress=sys.stderr.isatty())
    _print_results([result], known.record)
    _print_report(result)
    return 0


def _pack(known: argparse.Namespace, rest: Sequence[str]) -> int:
    from recbole_mind.data.packed_dataset import pack_data
    from recbole_mind.training.build import build_config

    config = build_config("MIND", known.dataset, overrides=loading.parse_arguments(rest))
    console = Console(stderr=True)
    columns = [TextColumn("{task.description}"), BarColumn(24), TaskProgressColumn(), TextColumn("left")]
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def watch(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(f"{known.dataset}: {what}", total=total)
            bar.update(tasks[what], completed=done)

        pack = pack_data(config, known.output, watch)
    users, items = (f"{pack.tokens[field]:,}" for field in (pack.user, pack.item))
    print(f"{pack.interactions:,} interactions of {users} users with {items} items in {pack.folder}")
    return 0


def _leaderboard(known: argparse.Namespace) -> int:
    from recbole_mind.experiments.leaderboard.render import write
    from recbole_mind.experiments.leaderboard.runner import Leaderboard
    from recbole_mind.experiments.leaderboard.spec import read_spec
    from recbole_mind.experiments.leaderboard.terminal import print_board
    from recbole_mind.util.files import alone_in

    spec, folder, console = read_spec(known.spec), Path(known.output), Console()
    with alone_in(folder):
        board = Leaderboard(spec, folder, known.jobs)
        board.clear()
        for cell, changed in board.outdated:
            console.print(f"{cell}: made again, since the record's {changed} changed", markup=False, highlight=False)
        try:
            board.run(ray=known.ray)
        except InterruptedRun:
            write(board.board(), folder)
            raise
        board.clear()
        result = board.board()
        write(result, folder)
        print_board(result, console)
        failed = {cell: record["error"] for cell, record in board.done.items() if "error" in record}
    console.print(f"{folder / 'leaderboard.html'} and .md, .tex, .csv; records in {folder / 'records'}", soft_wrap=True)
    for cell, error in failed.items():
        print(f"error: {cell}: {error}", file=sys.stderr)
    return 1 if failed else 0


def _demo(known: argparse.Namespace) -> int:
    from recbole_mind.training.run import run

    protocol, folder = loading.defaults("examples", "demo"), Path(known.output)
    results = []
    for model, name in (("Pop", "Pop"), ("YouTubeDNN", "YouTubeDNN"), ("MIND", "record")):
        overrides = protocol["all"] | (protocol.get(model) or {}) | {"checkpoint_dir": str(folder / "saved")}
        results.append(run(model, "ml-100k", overrides=overrides, record=folder / f"{name}.json"))
    _print_results(results, folder / "record.json")
    return 0


# -- printing -----------------------------------------------------------------------------------------------------


def _print_results(results: Sequence[RunResult], record: str | Path | None) -> None:
    """One table: metrics of the test set (and of validation, for a single run), then protocol and interests."""
    console = Console()
    first = results[0]
    title = f"{first.dataset}, seed {first.seed}" + (", test" if len(results) > 1 else "")
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    table.add_column("" if len(results) > 1 else first.model)
    if len(results) == 1:
        columns = [("valid", first.valid), ("test", first.test)]
    else:
        columns = [(result.model, result.test) for result in results]
    for heading, _ in columns:
        table.add_column(heading, justify="right")
    form = _form(first)
    for metric in first.test:
        table.add_row(metric, *(form(figures[metric]) if metric in figures else "-" for _, figures in columns))
    if len(results) > 1:
        table.add_row("epochs", *(str(result.epochs) for result in results))
        table.add_row("seconds", *(f"{result.seconds:.0f}" for result in results))
    console.print()
    console.print(table)
    console.print(_describe_protocol(results[-1]), style="dim", highlight=False)
    for text in dict.fromkeys(describe(result.data) for result in results):
        console.print(text, style="dim", highlight=False)
    for result in results:
        if result.interests:
            console.print(f"{result.model}'s interests: {_describe_interests(result.interests)}", highlight=False)
    for result in results[-1:]:
        if result.checkpoint:
            console.print(f"checkpoint {result.checkpoint}", soft_wrap=True, highlight=False)
    if record:
        console.print(f"record {record}", soft_wrap=True, highlight=False)


def _form(result: RunResult) -> Callable[[float], str]:
    """How figures are printed: with four decimals, unless ``metric_decimal_place`` asks for others."""
    asked = result.config.get("metric_decimal_place")
    return f"{{:.{4 if asked is None else asked}f}}".format


def _describe_protocol(result: RunResult) -> str:
    protocol = result.protocol
    masked = "history kept out of the ranking" if protocol["mask_history"] else "history not masked"
    order = f"time order '{protocol['timestamp_order']}'" if protocol["timestamp_order"] else "random order"
    order = "" if protocol["split"] == "files" else f"{order}, "
    mode = protocol["mode"]["test"]
    ranked = "whole catalogue ranked" if mode == "full" else f"candidates '{mode}'"
    search = protocol["search"]
    names = {"dense": "by RecBole's dense scores", "exact": "by exact search"}
    parameters = ", ".join(f"{key}={value:g}" for key, value in search.get("parameters", {}).items())
    how = names.get(search["factory"], f"by '{search['factory']}', {parameters or 'no parameters'}")
    found = [
        f"; {key} {round(value, 4)} of the exact search" for key, value in search.items() if key.startswith("recall@")
    ]
    named = "" if protocol["name"] is None else f"protocol {protocol['name']}"
    named += f", but for {', '.join(protocol['changed'])}" if protocol["changed"] else ""
    named += ": " if named else ""
    split = protocols.user_split(protocol) or f"split {protocol['split']}"
    window = ", ".join(f"{key} {value}" for key, value in protocol.get("window", {}).items())
    split = f"{split}, {window}" if window else split
    return f"{named}{split}, {order}{ranked}, {masked}\nranked {how}{''.join(found)}"


def _print_report(result: RunResult) -> None:
    """Metrics by group, side by side with the size of each group, and what each interest brought."""
    console, report, form = Console(), result.report, _form(result)
    groups = {
        "by_active_interests": "active interests",
        "by_history_length": "history length",
        "by_target_popularity": "target's training count",
    }
    for key, title in groups.items():
        names = [name for name in next(iter(report.get(key, [])), {}) if "@" in name]
        shown = ([name for name in names if name.startswith(("recall@", "ndcg@"))] or names)[:4]
        if not shown:
            continue
        table = Table(title, "users", *shown, "", box=None, pad_edge=False, header_style="bold")
        for column in table.columns[1:-1]:
            column.justify = "right"
        longest = max(row["users"] for row in report[key])
        for row in report[key]:
            bar = "█" * max(1, round(16 * row["users"] / longest))
            table.add_row(row["group"], str(row["users"]), *(form(row[name]) for name in shown if name in row), bar)
        console.print()
        console.print(table)
    if "hits_by_interest" in report:
        shares = ", ".join(f"{interest}: {share:.1%}" for interest, share in report["hits_by_interest"].items())
        lists = report["lists"]
        text = f"hits by interest: {shares}"
        if lists["users"]:
            text += f"; two interests' lists share {lists['jaccard']:.1%} of their items (Jaccard)"
        console.print(f"\n{text}", highlight=False)


def _describe_interests(interests: dict[str, float]) -> str:
    text = f"{interests['mean_active_interests']:.2f} active per user"
    if "collapsed_users" in interests:
        text += f", collapsed into one for {interests['collapsed_users']:.1%} of users"
        text += f", mean pairwise cosine {interests['mean_pairwise_cosine']:.2f}"
    return text


def _doctor(_: argparse.Namespace) -> int:
    from recbole_mind.plugin.doctor import examine

    report = examine()
    console = Console()
    table = Table("library", "installed", "known to work", "remark", box=None, pad_edge=False, header_style="bold")
    for row in report.versions:
        table.add_row(*row)
    console.print(table)
    if not report.problems:
        from recbole_mind.plugin.patches import catalogue

        console.print("\nMended in RecBole 1.2.1", style="bold")
        for patch in catalogue():
            console.print(f"- {patch}", highlight=False)
    console.print("\nCannot be mended from outside", style="bold")
    for text in report.cannot:
        console.print(f"- {text}", highlight=False)
    for text in report.problems:
        console.print(f"\nRecBole cannot run: {text}", style="bold red", highlight=False)
    for command in report.help:
        console.print(f"  {command}", highlight=False, soft_wrap=True)
    if not report.problems:
        console.print("\nRecBole runs here.", style="bold green")
    return 1 if report.problems else 0
