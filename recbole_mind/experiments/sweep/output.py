"""What a sweep leaves for people: the trials as a table, the winner's settings as a file to run, the figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import yaml

from recbole_mind.util.files import write_atomic
from recbole_mind.util.json_text import plain

if TYPE_CHECKING:
    from recbole_mind.experiments.sweep.result import SweepResult
    from recbole_mind.experiments.sweep.state import Sweep


def write(sweep: Sweep, result: SweepResult) -> None:
    """Write ``trials.csv``, ``trials.md``, ``best.yaml`` and the figures into the sweep's folder."""
    trials = result.trials
    names = list(sweep.spec.curves) if sweep.spec.space is None else list(sweep.spec.space.names)
    write_atomic(sweep.folder / "trials.csv", to_csv(trials, names))
    if result.best is not None:
        write_atomic(sweep.folder / "best.yaml", best_yaml(sweep, result))
    if not trials:
        return
    from recbole_mind.experiments.sweep import figures as sweep_figures  # matplotlib takes a second

    title, metric = _title(sweep), sweep.metric
    table = sweep_figures.table(trials, metric, sweep.bigger)
    paragraphs = [f"# {title}", _judged(result), _tested(sweep, result), table.rstrip()]
    write_atomic(sweep.folder / "trials.md", "\n\n".join(text for text in paragraphs if text) + "\n")
    axes = list(sweep.spec.curves) or None
    about: dict[str, Any] = {"metric": metric, "title": title, "bigger": sweep.bigger}
    sweep_figures.write(trials, sweep.folder, curves=axes, defaults=sweep.plan.base, **about)


def to_csv(trials: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """One line a trial: its settings under ``names``, how it ended, its validation figures."""
    metrics = list(dict.fromkeys(metric for trial in trials for metric in trial["valid"]))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["trial", "seed", *names, "status", *(f"valid {m}" for m in metrics), "epochs", "seconds", "error"])
    for trial in trials:
        status = "failed" if trial["error"] else "stopped" if trial["stopped"] else "done"
        drawn = [plain(trial["settings"].get(name, "")) for name in names]
        figures = [trial["valid"].get(metric, "") for metric in metrics]
        ended = [status, *figures, trial["epochs"], trial["seconds"], trial["error"] or ""]
        writer.writerow([trial["number"], trial["seed"], *drawn, *ended])
    return file.getvalue()


def best_yaml(sweep: Sweep, result: SweepResult) -> str:
    """The winner's settings as ``run_recbole --config_files`` takes them, under what they came to."""
    best = result.best or {}
    seed = next(iter(sweep.spec.final_seeds), sweep.spec.seeds[0])
    own = {"model": sweep.spec.model(best), "dataset": sweep.spec.dataset, "seed": seed}
    own |= {key: value for key, value in sweep.spec.overrides(best).items() if key != "show_progress"}
    about = [_title(sweep), _judged(result), _tested(sweep, result), "Run it: run_recbole --config_files best.yaml"]
    comment = "".join(f"# {line}\n" for line in about if line)
    return comment + yaml.safe_dump(plain(own), sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def _title(sweep: Sweep) -> str:
    how = "curves" if sweep.spec.space is None else f"{sweep.spec.algo} search"
    return f"Sweep of {', '.join(sweep.spec.models)} on {sweep.spec.dataset}: {how}, {len(sweep.records)} trials"


def _judged(result: SweepResult) -> str:
    """What the winner reached on the validation set."""
    if result.best is None or result.value is None:
        return "No trial succeeded."
    drawn = ", ".join(f"{name}: {value}" for name, value in result.best.items())
    return f"Best on the validation set: {result.metric} {result.value:.4f} with {drawn}"


def _tested(sweep: Sweep, result: SweepResult) -> str:
    """What the winner reached on the test set."""
    if not result.test:
        return ""
    seeds = [str(seed) for seed, record in sorted(sweep.tested.items()) if "error" not in record]
    figures = ", ".join(
        f"{metric} {mean:.4f}" + ("" if sd is None else f" ± {sd:.4f}") for metric, (mean, sd) in result.test.items()
    )
    return f"Test of the best, seed {', '.join(seeds)}: {figures}"
