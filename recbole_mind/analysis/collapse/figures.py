"""The figures of a report on interests, from what :func:`recbole_mind.analysis.collapse.measure.build` gives.

In a notebook: ``report_figures.spreads(report)`` shows a figure, ``.savefig("spreads.svg")`` keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from recbole_mind.report import style

__all__ = ["agreement", "by_interest", "coverage", "gaps", "recency", "spreads"]

Report = Mapping[str, Any]
PLACES = 20  # of a history's behaviours, the newest, whose weights are drawn
SPREADS = {
    "active": "active interests",
    "effective": "effective number of interests",
    "cosine": "mean cosine of a user's interests",
}


@style.drawn
def spreads(report: Report, shown: Sequence[str] | None = None, *, width: float = style.WIDE) -> Figure:
    """How users spread over active interests, their effective number and their cosine: a panel for each ``shown``."""
    names = [name for name in shown or SPREADS if report["interests"][name]["users"]]
    figure, panels, _ = style.grid(len(names), width, 3, 2.7)
    for axes, name in zip(panels, names, strict=True):
        spread = report["interests"][name]
        _histogram(axes, spread)
        if name == "active":
            axes.set_xlim(0.4, report["K"] + 0.6)
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        elif name == "cosine":
            axes.set_xlim(min(0.0, _filled(spread)[0]) - 0.02, 1.02)
        axes.set(xlabel=SPREADS[name])
        axes.set_title(f"mean {spread['mean']:.2f}", weight="normal")
    return figure


@style.drawn
def by_interest(report: Report, *, width: float = style.WIDE) -> Figure:
    """What each interest takes of the histories, and brings of the listed items and of the hits."""
    figure, (axes,), _ = style.grid(1, width, 1, 3.0)
    rows = report["by_interest"]
    kinds = {"history": "of the history", "listed": f"of the top {report['n']}", "hits": "of the hits"}
    kinds = {key: label for key, label in kinds.items() if key in rows[0]}
    places = np.arange(len(rows))
    thick = 0.8 / len(kinds)
    for place, ((key, label), colour, hatch) in enumerate(
        zip(kinds.items(), (style.BLUE, style.ORANGE, style.VERMILLION), ("", "//", ".."), strict=False)
    ):
        at = places + (place - (len(kinds) - 1) / 2) * thick
        look: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": style.PAGE, "linewidth": 0}
        axes.bar(at, [row[key] for row in rows], thick * 0.92, label=label, **look)
    axes.set_xticks(places, [str(row["interest"] + 1) for row in rows])
    axes.xaxis.grid(False)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set(xlabel="interest", ylabel="share")
    _legend(axes)
    return figure


@style.drawn
def agreement(report: Report, *, width: float = style.WIDE) -> Figure:
    """How users spread over the agreement of their interests with categories, adjusted so that 0 is chance."""
    figure, (axes,), _ = style.grid(1, width, 1, 3.0)
    found = report["categories"]
    _histogram(axes, found["ami"], "users")
    axes.axvline(0, color=style.INK, linewidth=1.4, linestyle="--", label="chance")
    axes.axvline(found["ami"]["mean"], color=style.VERMILLION, linewidth=2, label=f"mean {found['ami']['mean']:.2f}")
    axes.set(xlabel=f"adjusted mutual information with '{style.plain(style.short(found['field'], 20))}'")
    axes.set_xlim(min(-0.1, _filled(found["ami"])[0]) - 0.02, 1.02)
    _legend(axes)
    return figure


@style.drawn
def coverage(report: Report, *, width: float = style.WIDE) -> Figure:
    """How many categories the lists hold, beside the baseline's where there is one."""
    figure, (axes,), _ = style.grid(1, width, 1, 3.0)
    sides = [(report["model"], report["lists"])]
    if "baseline" in report:
        sides.append((f"{report['baseline']['model']} (baseline)", report["baseline"]))
    looks = ((style.BLUE, "-", 2.0), (style.VERMILLION, "--", 1.6))
    ends = []
    for (name, lists), (colour, line, thick) in zip(sides, looks, strict=False):
        spread = lists["distinct"]
        counts = np.array(spread["counts"]) / spread["users"]
        ends += _filled(spread)
        label = f"{style.plain(style.short(name, 24))}, mean {spread['mean']:.1f}"
        look: dict[str, Any] = {"color": colour, "linestyle": line, "linewidth": thick, "label": label}
        axes.stairs(counts, spread["edges"], **look)
        if name == report["model"]:
            axes.stairs(counts, spread["edges"], fill=True, color=colour, alpha=0.15)
    axes.set_xlim(min(ends) - 0.5, max(ends) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set(xlabel=f"categories in a user's top {report['n']}", ylabel="users")
    _legend(axes, 2 if width > style.NARROW else 1)
    return figure


@style.drawn
def recency(report: Report, *, width: float = style.WIDE) -> Figure:
    """What the learned curves of weights give each place of a history, newest first, a line for each curve."""
    figure, (axes,), _ = style.grid(1, width, 1, 3.0)
    beside = report.get("baseline", {})
    for look, shares in _curves(report["recency"], beside, beside.get("recency")):
        places = np.arange(1, min(len(shares), PLACES) + 1)
        axes.plot(places, shares[:PLACES], **look)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set(xlabel="behaviour, 1 is the newest", ylabel="share of the weights")
    _legend(axes, 3 if width > style.NARROW else 2)
    return figure


@style.drawn
def gaps(report: Report, *, width: float = style.WIDE) -> Figure:
    """What multiplies a behaviour's weight by the time between it and the newest one, a line for each curve."""
    figure, (axes,), _ = style.grid(1, width, 1, 3.0)
    beside, span = report.get("baseline", {}), report["gaps"]["span"]
    for look, factors in _curves(report["gaps"]["factors"], beside, beside.get("gaps", {}).get("factors")):
        knots = len(factors) - 1
        axes.plot(span * 2.0 ** np.arange(-knots, 1), factors, **look)
    axes.set(xscale="log", yscale="log")
    axes.set(xlabel="time before the newest behaviour, in the data's unit", ylabel="factor of the weight")
    _legend(axes, 3 if width > style.NARROW else 2)
    return figure


def _curves(
    curves: Sequence[Sequence[float]], beside: Report, other: Sequence[Sequence[float]] | None
) -> list[tuple[dict[str, Any], Sequence[float]]]:
    """How the line of each curve looks, with the curve; the baseline's, if there is one, is dashed and the last."""
    names = [f"interest {k + 1}" for k in range(len(curves))] if len(curves) > 1 else ["all interests"]
    sides = list(zip(names, curves, style.colours(len(curves)), ["-"] * len(curves), strict=True))
    if other is not None:
        sides.append((style.plain(style.short(beside["model"], 24)), other[0], style.INK, "--"))
    return [
        ({"label": name, "color": colour, "linestyle": line, "marker": marker, "markersize": 4}, curve)
        for (name, curve, colour, line), marker in zip(sides, style.markers(), strict=False)
    ]


def _histogram(axes: Axes, spread: Mapping[str, Any], label: str | None = None) -> None:
    """Shares of users over bins."""
    shares = np.array(spread["counts"]) / spread["users"]
    edges = np.array(spread["edges"])
    axes.bar(edges[:-1], shares, np.diff(edges) * 0.94, align="edge", color=style.BLUE, linewidth=0, label=label)
    axes.xaxis.grid(False)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set(ylabel="users")


def _filled(spread: Mapping[str, Any]) -> list[float]:
    """The edges between which all users are."""
    filled = np.flatnonzero(spread["counts"])
    return [float(spread["edges"][filled[0]]), float(spread["edges"][filled[-1] + 1])]


def _legend(axes: Axes, columns: int = 3) -> None:
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, columnspacing=1.2)
