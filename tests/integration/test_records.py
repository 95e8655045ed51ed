"""The boards' records hold together, and every figure of the tables of docs/leaderboard.md is a record's."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from tests.support.documents import ROOT, prose

# the sections of the page and the records that they show
SECTIONS = {
    "Tuned, with the first defaults": "leaderboard",
    "Negatives that meet the nearest interest": "nearest",
    "What K and side information bring": "ablation",
}
LABELS = {"YouTubeDNN, categories": "YouTubeDNN+categories", "K=3 (MIND)": "MIND", "K=3, categories": "MIND+categories"}
METRICS = ("recall@10", "recall@50", "recall@100", "ndcg@10", "ndcg@50", "ndcg@100")
CELL = re.compile(r"(?P<mean>\.\d{4})( ± (?P<sd>\.\d{4}))?( (?P<mark>[↑↓])?(?P<change>[+-][\d.]+%))?")


def record(name):
    return json.loads((ROOT / f"benchmarks/records/{name}.json").read_text())


def boards(name):
    """A table's rows by data set and label."""
    return {
        (table["dataset"], row["label"]): row["cells"]
        for table in record(name)["board"]["tables"]
        for row in table["rows"]
    }


def shown(section):
    """What a section's tables say: data set, label, metric and the cell's text."""
    _, _, text = prose("docs/leaderboard.md").partition(f"\n## {section}\n")
    dataset, heads = "", []
    for line in text.partition("\n## ")[0].splitlines():
        if not line.startswith("|") or "---" in line:
            continue
        first, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if "Recall@10" in cells:
            dataset, heads = first, cells
            continue
        where, label = (dataset, first) if dataset else first.split(": ")
        for head, cell in zip(heads, cells, strict=True):
            yield where, LABELS.get(label, label), head, cell


def written(value):
    return f"{value:.4f}".lstrip("0")


@pytest.mark.parametrize(
    ("section", "name", "number"), [(*pair, n) for pair, n in zip(SECTIONS.items(), (234, 144, 70), strict=True)]
)
def test_the_pages_figures_are_the_records(section, name, number):
    rows, cold = boards(name), {}
    for group in record(name).get("cold_items", []):
        cold[group["dataset"], group["label"]] = group
    single = boards("sasrec")
    count = 0
    for dataset, label, head, text in shown(section):
        found = CELL.fullmatch(text.replace("*", ""))
        assert found, text
        if head.startswith("cold: "):
            mean, sd = cold[dataset, label][head.removeprefix("cold: ").lower()]
            assert (found["mean"], found["sd"]) == (written(mean), written(sd))
        else:
            cell = (single if label == "SASRec" else rows)[dataset, label][head.lower()]
            assert found["mean"] == written(cell["mean"]), (dataset, label, head)
            assert found["sd"] in (None, written(cell["sd"] or 0)), (dataset, label, head)
            if found["change"]:
                assert found["change"] == f"{cell['change']:+.1f}%", (dataset, label, head)
                assert ("**" in text) == cell["best"]
        count += 1
    assert count == number


# of the section on the defaults, the records that its parts show
PARTS = {
    "": ("next-item", "several-items", "new-users"),
    "### Beside every single vector": ("single-vector",),
    "### How many interests pay": ("interests",),
    "### Tuned, where several items are asked for": ("several-items-tuned",),
}


def test_the_figures_of_the_defaults_are_their_records():
    _, _, text = prose("docs/leaderboard.md").partition("\n## The defaults, untuned\n")
    records = {}
    for part, names in PARTS.items():
        for name in names:
            for table in record(name)["board"]["tables"]:
                for row in table["rows"]:
                    records[part, f"{table['dataset']}, {table['protocol']}", row["label"]] = row["cells"]
    part, head, seen = "", [], set()
    for line in text.partition("\n## ")[0].splitlines():
        part = line if line in PARTS and line else part
        if not line.startswith("|") or "---" in line:
            continue
        first, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if first.split(", ")[-1] in ("leave-one-out", "last-fifth", "comirec"):
            head = [first, *cells]
            continue
        own = records[part, head[0], first]
        for metric, text_of in zip(head[1:], cells, strict=True):
            found, cell = CELL.fullmatch(text_of.replace("*", "")), own[metric.lower()]
            assert found, text_of
            assert found["mean"] == written(cell["mean"]), (head[0], first, metric)
            assert found["sd"] == (written(cell["sd"]) if cell["sd"] is not None else None), (head[0], first, metric)
            change = None if cell["change"] is None else f"{cell['change']:+.1f}%"
            mark = ("↑" if cell["change"] > 0 else "↓") if cell["p"] is not None and cell["p"] < 0.05 else None
            assert (found["change"], found["mark"]) == (change, mark), (head[0], first, metric)
            seen.add((part, head[0], first))
    assert seen == {place for place, cells in records.items() if cells}


@pytest.mark.parametrize("name", ["leaderboard", "nearest", "ablation"])
def test_means_and_changes_of_a_board_are_made_from_unrounded_figures(name):
    content = record(name)
    runs = {}
    for run in content["runs"]:
        runs.setdefault((run["dataset"], run["label"]), []).append(run)
    tested = 0
    for table in content["board"]["tables"]:
        rows = {row["label"]: row["cells"] for row in table["rows"] if row["cells"]}
        base = rows[table["baseline"]]
        for run in runs[table["dataset"], table["baseline"]]:
            assert {metric: round(value, 4) for metric, value in run["exact"].items()} == run["test"]
        for label, cells in rows.items():
            own = runs[table["dataset"], label]
            for metric in METRICS:
                cell, rounded = cells[metric], np.mean([run["test"][metric] for run in own])
                assert abs(cell["mean"] - rounded) <= 0.00005 + 1e-9  # of three figures, each within half a digit
                if label == table["baseline"]:
                    exact = [run["exact"][metric] for run in own]
                    assert cell["mean"] == pytest.approx(np.mean(exact), abs=1e-11)
                    assert cell["sd"] == pytest.approx(np.std(exact, ddof=1), abs=1e-11)
                    continue
                difference = cell["comparison"]["difference"]
                assert cell["mean"] - base[metric]["mean"] == pytest.approx(difference, abs=1e-11)
                assert cell["change"] == pytest.approx(100 * difference / base[metric]["mean"], abs=1e-7)
                tested += 1
            means = [row["recall@10"]["mean"] for row in rows.values()]
            assert cells["recall@10"]["best"] == (cells["recall@10"]["mean"] == max(means))
    assert tested == {"leaderboard": 180, "nearest": 126, "ablation": 72}[name]


def test_changes_against_other_baselines_are_made_from_the_same_means():
    rows, checked = boards("nearest"), 0
    for other, tables in record("nearest")["against"].items():
        for dataset, labels in tables.items():
            for label, cells in labels.items():
                for metric, cell in cells.items():
                    ratio = rows[dataset, label][metric]["mean"] / rows[dataset, other][metric]["mean"]
                    assert cell["change"] == pytest.approx(100 * (ratio - 1), abs=1e-9)
                    checked += 1
    assert checked == 4 * 3 * 7 * 6


def test_recall_on_ml_100k_is_a_whole_number_of_its_users():
    for (dataset, _), cells in boards("leaderboard").items():
        for metric in ("recall@10", "recall@50", "recall@100"):
            if dataset == "ml-100k" and cells:
                hits = 3 * 943 * cells[metric]["mean"]
                assert hits == pytest.approx(round(hits), abs=1e-6)


def test_the_readmes_figures_of_the_defaults_are_the_records():
    lines = prose("README.md").partition("| Recall@50 / NDCG@50 |")[2].partition("\n\n")[0].splitlines()
    datasets = [name.strip() for name in lines[0].strip("|").split("|")]
    rows = {
        (table["dataset"], row["label"]): row["cells"]
        for name, protocol in (("next-item", "leave-one-out"), ("several-items", "last-fifth"))
        for table in record(name)["board"]["tables"]
        if table["protocol"] == protocol
        for row in table["rows"]
    }
    checked = 0
    for line in lines[2:]:
        label, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        for dataset, text in zip(datasets, cells, strict=True):
            own = rows[dataset, label]
            assert text == f"{written(own['recall@50']['mean'])} / {written(own['ndcg@50']['mean'])}"
            checked += 1
    assert checked == 15


def test_the_figures_of_two_stages_are_their_records():
    """Every cell of the tables of docs/two-stages.md."""
    content = record("two-stages")
    head, rows, checked = [], {}, 0
    for line in prose("docs/two-stages.md").splitlines():
        if not line.startswith("|") or "---" in line:
            continue
        first, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if first in content["datasets"]:
            head, rows = cells, content["datasets"][first]["rows"]
            continue
        for metric, text in zip(head, cells, strict=True):
            cell = rows[first].get(metric.lower())
            form = "{:.2f}".format if metric == "PCOC" else written
            wanted = "–" if cell is None else f"{form(cell['mean'])} ± {form(cell['sd'])}"
            if cell is not None and cell.get("change") is not None:
                mark = ("↑" if cell["change"] > 0 else "↓") if cell["p"] < 0.05 else ""
                wanted += f" {mark}{cell['change']:+.1f}%"
            assert text == wanted, (first, metric)
            checked += 1
    assert checked == 6 * sum(len(table["rows"]) for table in content["datasets"].values())
    assert len(content["datasets"]) == 2
