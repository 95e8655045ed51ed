"""Settings for the leaderboard: the same number of trials for every model, judged on the validation set alone.

    python -m benchmarks.tuning --dataset amazon-beauty --data_path DATA --output DIR

draws each model's trials from ``benchmarks/tuning.yaml``, or the file that ``--plan`` names, runs those that ``DIR``
has no record of, and writes the best settings of each model to ``properties/leaderboard/<dataset>.yaml`` and the trials
with their figures to ``benchmarks/records/<plan>-<dataset>.json``. The test set plays no part in the choice. Stopped,
it goes on from there.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from recbole_mind.config import keys, loading
from recbole_mind.errors import InterruptedRun
from recbole_mind.experiments.executor import spread
from recbole_mind.experiments.progress import RunsProgress
from recbole_mind.experiments.trial import Trial, execute, fingerprint
from recbole_mind.training import build
from recbole_mind.util import json_text
from recbole_mind.util.files import alone_in, write_atomic

HERE = Path(__file__).parent


def draws(plan: dict[str, Any], label: str, usual: Any) -> list[dict[str, Any]]:
    """The trials of a model: its defaults, which are in ``usual``, then different draws from its space."""
    space = plan["spaces"][label]
    random = np.random.default_rng([plan["seed"], *label.encode()])
    every = [_point(dict(zip(space, values, strict=True))) for values in itertools.product(*space.values())]
    others = [one for one in every if any(json_text.plain(usual[key]) != json_text.plain(one[key]) for key in one)]
    return [{}, *(others[place] for place in random.permutation(len(others))[: plan["trials"] - 1])]


def _point(drawn: dict[str, Any]) -> dict[str, Any]:
    """The settings that were drawn; a value that is itself settings stands for them."""
    point: dict[str, Any] = {}
    for key, value in drawn.items():
        point |= value if isinstance(value, dict) else {key: value}
    return point


def trials_of(plan: dict[str, Any], label: str, dataset: str, data_path: str, folder: Path) -> list[Trial]:
    """The trials of a model as runs."""
    made = []
    fixed = {key: value for key, value in plan["models"][label].items() if key != "model"}
    model = plan["models"][label]["model"]
    given = plan["settings"] | plan.get("datasets", {}).get(dataset, {})
    common = {key: value for key, value in given.items() if key in keys.known_keys(model)}
    common = {"epochs": plan["epochs"]} | common | {"protocol": plan["protocol"], "show_progress": False}
    common |= {"data_path": str(Path(data_path).resolve())}
    usual = build.build_config(model, dataset, overrides=common | fixed)
    for drawn in draws(plan, label, usual):
        overrides = common | fixed | drawn
        mark = fingerprint(build.build_config(model, dataset, overrides=overrides), plan["threads"])
        about = {"label": label, "drawn": drawn, "fingerprint": mark}
        name = "@".join([dataset, label, *(f"{key}={value}" for key, value in drawn.items())])
        path = folder.resolve() / "records" / f"{name}.json"
        made.append(Trial(model, dataset, plan["seed"], overrides, path, about, plan["threads"], test=False))
    return made


def choose(plan: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The record that validates best; the earlier one of two."""
    good = [record for record in records if "error" not in record]
    return max(good, key=lambda record: score(plan, record)) if good else None


def score(plan: dict[str, Any], record: dict[str, Any]) -> float:
    """The figure that decides: the protocol's ``valid_metric`` on the validation set."""
    metric = str(loading.defaults("protocol", plan["protocol"])["valid_metric"]).lower()
    return float(record["valid"][metric])


HEADER = """\
# yaml-language-server: $schema=../schema/tuned.json
# The leaderboard's settings on {dataset} by protocol: of equal numbers of trials for each model, the one that validated
# best. Made by `python -m benchmarks.tuning`; benchmarks/records/ has the trials.
"""


def main() -> None:
    """Run the trials that are lacking, then write what was chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data_path", default="dataset/")
    parser.add_argument("--output", type=Path, required=True, help="where the trials' records go")
    parser.add_argument("--plan", type=Path, default=HERE / "tuning.yaml", help="models, spaces and budget")
    parser.add_argument("--models", nargs="+", help="some of the plan's")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    dataset, plan = arguments.dataset, loading.read_file(arguments.plan)
    labels = arguments.models or list(plan["models"])
    unknown = [label for label in labels if label not in plan["models"]]
    if unknown:
        parser.error(f"--models: {', '.join(unknown)}: '{arguments.plan}' has {', '.join(plan['models'])}")
    with alone_in(arguments.output):
        trials = {label: trials_of(plan, label, dataset, arguments.data_path, arguments.output) for label in labels}
        found = [(trial, trial.finished()) for made in trials.values() for trial in made]
        waiting = [trial for trial, record in found if record is None]
        before = [(record["label"], record["seconds"]) for _, record in found if record is not None]
        with RunsProgress(dataset, [trial.about["label"] for trial in waiting], before, arguments.jobs) as progress:
            names = [f"{trial.about['label']} {trial.about['drawn'] or 'defaults'}" for trial in waiting]
            running = spread(
                execute,
                waiting,
                jobs=arguments.jobs,
                started=lambda place: progress.started(names[place], waiting[place].about["label"]),
            )
            try:
                for place, record in running:
                    error = record if isinstance(record, Exception) else record.get("error")
                    outcome = f"validation {score(plan, record):.4f}" if error is None else f"failed: {error}"
                    progress.ended(names[place], outcome, failed=error is not None)
            except (KeyboardInterrupt, InterruptedRun):
                sys.exit("stopped; the same command goes on")
            finally:
                write(plan, arguments.plan.stem, dataset, trials)


def write(plan: dict[str, Any], name: str, dataset: str, trials: dict[str, list[Trial]]) -> None:
    """Write the choice and the record of the trials; models that were not asked for keep what there is."""
    before = loading.defaults("leaderboard", dataset)
    chosen = dict(before.get(plan["protocol"], {}))
    target = HERE / f"records/{name}-{dataset}.json"
    new: dict[str, Any] = {}
    kept: dict[str, Any] = loading.read_file(target)["models"] if target.exists() else {}
    for label, made in trials.items():
        records = [record for trial in made if (record := trial.finished()) is not None]
        best = choose(plan, records)
        if best is None or len(records) < len(made):
            continue  # chosen among all of its trials, or not at all
        fixed = {key: value for key, value in plan["models"][label].items() if key != "model"}
        chosen[label] = fixed | best["drawn"]
        new[label] = {
            "chosen": best["drawn"],
            "seconds": round(sum(record["seconds"] for record in records)),
            "trials": [
                {
                    "settings": record["drawn"],
                    "valid": record["valid"],
                    "epochs": record["epochs"],
                    "seconds": record["seconds"],
                }
                for record in records
            ],
        }
    if not new:
        return  # stopped before a model had all of its trials
    budget = {key: plan[key] for key in ("trials", "epochs", "protocol", "seed", "settings")}
    own = plan.get("datasets", {}).get(dataset, {})
    budget |= {"epochs": own.get("epochs", plan["epochs"]), "settings": plan["settings"] | own}
    write_atomic(target, json_text.to_json({"dataset": dataset, "budget": budget, "models": kept | new}))
    whole = json_text.plain(before | {plan["protocol"]: chosen})
    text = yaml.safe_dump(whole, sort_keys=False, default_flow_style=None, width=120)
    write_atomic(HERE.parent / f"properties/leaderboard/{dataset}.yaml", HEADER.format(dataset=dataset) + text)


if __name__ == "__main__":
    main()
