"""How many interests pay, as a curve for each data set: what K brings over one interest (the paper's Figure 4).

python -m benchmarks.interest_curve benchmarks/records/interests.json benchmarks/records/interests.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from recbole_mind.report import figure_files, style
from recbole_mind.util.files import write_atomic

METRICS = ("recall@50", "ndcg@50")
LABELS = {"MIND-1": 1, "K=2": 2, "MIND": 4, "K=8": 8}


def curves(record: dict[str, Any], metric: str) -> dict[str, list[float]]:
    """By data set the change against one interest in percent, for each K of :data:`LABELS`."""
    return {
        table["dataset"]: [
            100 * (cells[label][metric]["mean"] / cells["MIND-1"][metric]["mean"] - 1) for label in LABELS
        ]
        for table in record["board"]["tables"]
        for cells in [{row["label"]: row["cells"] for row in table["rows"]}]
    }


@style.drawn
def draw(record: dict[str, Any]) -> Figure:
    """A panel a metric, a line a data set."""
    figure, panels, _ = style.grid(len(METRICS), style.WIDE, 2, 3.4)
    places = range(len(LABELS))
    for axes, metric in zip(panels, METRICS, strict=True):
        found = curves(record, metric)
        for (name, values), colour, marker in zip(
            found.items(), style.colours(len(found)), style.markers(), strict=False
        ):
            axes.plot(places, values, marker=marker, color=colour, label=name)
        axes.axhline(0, color=style.SOFT, linewidth=0.8)
        axes.set_xticks(places, [str(K) for K in LABELS.values()])
        axes.set_xlabel("K, the number of interests")
        axes.set_ylabel(f"{metric} (test), gain over K = 1, %")
    panels[0].legend(fontsize="small")
    return figure


if __name__ == "__main__":
    source, target = sys.argv[1:]
    write_atomic(target, figure_files.png(draw(json.loads(Path(source).read_text()))))
