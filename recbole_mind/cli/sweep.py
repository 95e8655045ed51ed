"""The command ``recbole-mind sweep``: argument parsing and printing, nothing else."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from recbole_mind.cli.parsing import Command, add_jobs
from recbole_mind.config import loading

_SHOWN = 5  # trials in the printed table


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("space", metavar="SPACE.yaml", help="the space: a file, one that ships (mind.yaml), hyper.test")
    parser.add_argument("--output", "-o", required=True, metavar="DIR", help="records/, trials.csv, best.yaml, figures")
    parser.add_argument("--model", "-m", help="the model, if the file does not say")
    parser.add_argument("--dataset", "-d", help="the data set, if the file does not say")
    parser.add_argument("--algo", metavar="tpe|random|anneal|exhaustive", help="how trials are chosen (default: tpe)")
    parser.add_argument("--max-evals", type=int, metavar="N", help="trials (default: 30; exhaustive: all)")
    parser.add_argument("--seed", type=int, help="of the search (default: 1)")
    parser.add_argument("--resume", action="store_true", help="go on with the sweep that is in DIR")
    add_jobs(parser)


def run(known: argparse.Namespace, rest: Sequence[str]) -> int:
    """Run the command; exit status 1 if there is no winner, or its test failed."""
    from recbole_mind.experiments.sweep.runner import run
    from recbole_mind.experiments.sweep.state import words

    names = ("model", "dataset", "algo", "max_evals", "seed", "jobs", "ray", "resume")
    result = run(
        known.space,
        known.output,
        overrides=loading.parse_arguments(rest),
        show_progress=True,
        **{name: getattr(known, name) for name in names},
    )
    console, folder = Console(), Path(known.output)
    good = [trial for trial in result.trials if not trial["error"]]
    good.sort(key=lambda trial: trial["valid"][result.metric], reverse=result.bigger)
    table = Table("trial", result.metric, "epochs", "settings", box=None, pad_edge=False, header_style="bold")
    for trial in good[:_SHOWN]:
        epochs = f"{trial['epochs']}{' (stopped)' if trial['stopped'] else ''}"
        value = f"{trial['valid'][result.metric]:.4f}"
        table.add_row(str(trial["number"]), value, epochs, Text(words(trial["settings"])))
    console.print()
    console.print(table)
    if result.best is not None:
        best = ", ".join(f"{name}={value}" for name, value in result.best.items())
        console.print(f"\nbest on the validation set: {best}\n", highlight=False, markup=False)
    for metric, (mean, sd) in result.test.items():
        console.print(f"test {metric} {mean:.4f}{'' if sd is None else f' ± {sd:.4f}'}", highlight=False)
    files = ", ".join(([f"{folder / 'best.yaml'}"] if result.best is not None else []) + ["trials.csv", "trials.md"])
    console.print(f"{folder / 'sweep.html'} shows it; {files}; records in {folder / 'records'}", soft_wrap=True)
    for what, error in result.failed.items():
        print(f"failed: {what}: {error}", file=sys.stderr)
    tested = not any(what.startswith("test ") for what in result.failed)
    return 0 if result.best is not None and tested else 1


COMMAND = Command(
    "sweep",
    "search settings, or try the values of a curve; trials are judged on the validation set",
    run,
    _add_arguments,
    epilog=(
        "Settings of all trials, as --key=value: --epochs=5 --data_path=data. With --resume the same command "
        "goes on where it was stopped; a larger --max-evals then adds trials."
    ),
    takes_settings=True,
)
