"""When several interests pay: the gain over a single vector by how many categories a user's history has.

    python -m benchmarks.deciles FILE.yaml DIR --dataset NAME --field category --output RECORD.json

reads a leaderboard that ``recbole-mind leaderboard FILE.yaml --output DIR`` has run, and the data: users in ten groups
of like size by the different values of ``--field`` among the items before the test's targets; in each the mean of
``--metric`` of both rows over all seeds, and the difference with a 95% interval (bootstrap over users). It writes the
record and, beside it, the figure.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from recbole_mind.data.history_mask import HISTORY_ROW
from recbole_mind.errors import require
from recbole_mind.evaluation.hits import Hits, per_user
from recbole_mind.experiments.leaderboard.runner import Leaderboard
from recbole_mind.experiments.leaderboard.spec import read_spec
from recbole_mind.experiments.trial import hits_beside, tokens_of
from recbole_mind.report import figure_files, style
from recbole_mind.training import build
from recbole_mind.util.files import write_atomic
from recbole_mind.util.json_text import to_json

GROUPS, DRAWS, SEED = 10, 2000, 1
Doubles = npt.NDArray[np.float64]


def categories(config: Any, field: str) -> tuple[npt.NDArray[np.int64], Any]:
    """How many values of ``field`` the items before each test row's targets have, in the order of users' tokens."""
    dataset, _, _, test = build.build_data(config)
    known = dataset.item_feat is not None and field in dataset.item_feat
    require(known, f"field: '{field}' is no feature of the items of '{config['dataset']}'")
    values = np.asarray(dataset.item_feat[field])
    values = values.reshape(len(values), -1)
    rows = test.dataset.inter_feat
    items, starts = test.dataset.history
    ends, first = np.asarray(rows[HISTORY_ROW]), starts[np.asarray(rows[dataset.uid_field])]
    counts = np.empty(len(ends), np.int64)
    for row, (begin, end) in enumerate(zip(first, ends, strict=True)):
        found = np.unique(values[items[begin:end]])
        counts[row] = (found > 0).sum()
    tokens = tokens_of(test)
    order = np.argsort(tokens, kind="stable")
    return counts[order], tokens[order]


def interval(values: Doubles, generator: np.random.Generator) -> list[float]:
    """The middle 95% of the means of users drawn again."""
    means = [values[generator.integers(0, len(values), len(values))].mean() for _ in range(DRAWS)]
    return np.percentile(means, [2.5, 97.5]).tolist()


def groups(counts: npt.NDArray[np.int64], several: Doubles, single: Doubles) -> list[dict[str, Any]]:
    """The figures of each group of users, by the number of categories; users alike in it share a group."""
    edges = np.unique(np.quantile(counts, np.linspace(0, 1, GROUPS + 1)[1:-1], method="lower"))
    place, generator = np.searchsorted(edges, counts, side="left"), np.random.default_rng(SEED)
    result = []
    for group in np.unique(place):
        chosen = place == group
        result.append(
            {
                "categories": [int(counts[chosen].min()), int(counts[chosen].max())],
                "users": int(chosen.sum()),
                "several": float(several[chosen].mean()),
                "single": float(single[chosen].mean()),
                "difference": float((several - single)[chosen].mean()),
                "interval": interval((several - single)[chosen], generator),
            }
        )
    return result


@style.drawn
def draw(record: dict[str, Any]) -> Figure:
    """The figures of both rows by group and, beside them, the difference with its interval."""
    figure, (left, right), _ = style.grid(2, style.WIDE, 2, 3.4)
    rows = record["groups"]
    names = [f"{low}" if low == high else f"{low}–{high}" for low, high in (row["categories"] for row in rows)]
    x = np.arange(len(rows))
    for key, colour, label in (("single", style.BASE, record["baseline"]), ("several", style.BAR, record["label"])):
        left.plot(x, [row[key] for row in rows], marker="o", color=colour, label=label)
    left.set_ylabel(f"{record['metric']} (test)")
    left.legend()
    share = np.array([[row["single"], row["difference"], *row["interval"]] for row in rows])
    gain = 100 * share[:, 1:] / share[:, :1]
    right.axhline(0, color=style.SOFT, linewidth=0.8)
    right.errorbar(x, gain[:, 0], yerr=[gain[:, 0] - gain[:, 1], gain[:, 2] - gain[:, 0]], fmt="o", color=style.BAR)
    right.set_ylabel(f"gain of {record['label']}, %")
    for axes in (left, right):
        axes.set_xticks(x, names, rotation=45)
        axes.set_xlabel("categories in the user's history")
    return figure


def main() -> None:
    """Write the record and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--protocol")
    parser.add_argument("--field", required=True)
    parser.add_argument("--metric", default="recall@50")
    parser.add_argument("--label", default="MIND")
    parser.add_argument("--baseline", default="YouTubeDNN")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    board = Leaderboard(read_spec(arguments.spec), arguments.folder)
    found: dict[str, list[Doubles]] = {arguments.label: [], arguments.baseline: []}
    config: Any = None
    users, seeds = set(), []
    for cell, record in board.done.items():
        asked = cell.dataset == arguments.dataset and arguments.protocol in (None, cell.protocol)
        if not asked or cell.label not in found or "error" in record:
            continue
        hits = Hits.load(hits_beside(board.folder / "records" / cell.file))
        found[cell.label].append(per_user(hits, arguments.metric))
        users.add(hits.users)
        seeds.append(cell.seed)
        config = config or board.spec.overrides(cell) | {"protocol": cell.protocol}
    require(all(found.values()), f"the board has no run of {arguments.label} and {arguments.baseline} on that data")
    require(len(users) == 1, "the runs were tested on different users; name a protocol")
    config |= {"mask_history": True, "load_col": None, "item_features": []}
    counts, _ = categories(build.build_config("MIND", arguments.dataset, overrides=config), arguments.field)
    means = {label: np.mean(values, axis=0) for label, values in found.items()}
    content = {
        "what": "gain by the number of categories in the history",
        **{key: getattr(arguments, key) for key in ("dataset", "protocol", "field", "metric", "label", "baseline")},
        "seeds": sorted(set(seeds)),
        "groups": groups(counts, means[arguments.label], means[arguments.baseline]),
    }
    write_atomic(arguments.output, to_json(content))
    write_atomic(arguments.output.with_suffix(".png"), figure_files.png(draw(content)))
    for row in content["groups"]:
        print(row)


if __name__ == "__main__":
    main()
