"""The figures of the paper's case study (Li et al., CIKM 2019, §4.4), for notebooks and files.

::

    from recbole_mind import quick_start
    from recbole_mind.analysis.explain import figures
    from recbole_mind.analysis.explain.case_study import explain
    from recbole_mind.analysis.explain.item_map import item_map

    loaded = quick_start.load("saved/MIND-....pth")
    one, two = explain(loaded, users=["196", "405"])
    figures.coupling(one)
    figures.similarity(one)
    figures.map_of(one, item_map(loaded, one))

Each function returns a ``matplotlib.figure.Figure`` that belongs to no window: a notebook shows it, ``savefig`` writes
it. Interests keep their colour, which colour-blind readers tell apart, and their number through all figures.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.cells import cell_len

from recbole_mind.analysis.explain.case_study import Explained, ExplainedItem
from recbole_mind.analysis.explain.item_map import ItemMap, label_places
from recbole_mind.errors import require
from recbole_mind.evaluation.hits import Doubles
from recbole_mind.report import fonts, style
from recbole_mind.retrieval.types import Floats, Ints

HEAT = LinearSegmentedColormap.from_list("coupling", ["#f3f5f8", "#9ecae1", "#2b7bba", "#08306b"])
BIN = 0.05  # of cosines, as in the paper
CATEGORIES = 8  # rows of categories under the heat map
RECALLED = 12  # items of each interest on the map
STAR = 9.0  # points from the middle of a star to its tips
_TITLE = 30  # letters of a behaviour's title


@style.drawn
def coupling(explained: Explained, *, width: float = style.WIDE) -> Figure:
    """The paper's Figure 5: how much of each interest (a row) each behaviour (a column, oldest first) makes.

    Under it stand the categories of the behaviours where the data has them, first those that name the interests, and
    the titles.

    Args:
        explained: a history with interests.
        width: in inches.

    Raises:
        InputError: a history without interests.
    """
    K, L = _check(explained)
    categories = _categories(explained)
    longest = max(cell_len(style.short(item.title, _TITLE)) for item in explained.behaviors)
    label = max(2, *(cell_len(line) for k in range(K) for line in _lines(explained, k)))
    heat, dots, letters = max(0.34 * K, 1.2), 0.19 * len(categories), 0.065 * longest
    left = 0.25 + 0.075 * max(label, *(cell_len(style.short(name, 18)) for name in categories), 2)
    room = width - left - 0.95
    across = min(room, 0.5 * L)  # of the columns: few stay narrow
    size = min(8.5, max(5.0, 72 * across / L * 0.82))
    width = max(left + across + 0.95, min(width, 5.2))
    top, foot = 0.4, 0.3
    height = top + heat + (0.12 if dots else 0.0) + dots + letters * size / 8.5 + foot
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, 1 - (top + heat) / height, across / width, heat / height))
    highest = max(float(explained.weights.max()), 1e-6)
    edges = np.arange(L + 1) - 0.5, np.arange(K + 1) - 0.5
    line = 0.6 if L <= 60 else 0.0
    mesh = axes.pcolormesh(*edges, explained.weights, cmap=HEAT, vmin=0, vmax=highest, edgecolors="w", linewidth=line)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_yticks(range(K), ["\n".join(map(style.plain, _lines(explained, k))) for k in range(K)])
    for tick, colour in zip(axes.get_yticklabels(), style.colours(K), strict=True):
        tick.set(color=style.legible(colour), fontweight="bold", fontsize=8.5, linespacing=1.0)
    axes.tick_params(length=0)
    title = style.plain(f"{explained.model}, {explained.label}: {L} behaviour{'s' * (L != 1)}")
    figure.text(left / width, 1 - (top - 0.12) / height, title, weight="bold", size=10, va="bottom")
    bar = figure.add_axes(
        ((left + across + 0.12) / width, 1 - (top + heat) / height, 0.11 / width, min(heat, 1.6) / height)
    )
    colours = figure.colorbar(mesh, cax=bar)
    colours.set_label(f"{explained.kind}", size=8)
    colours.outline.set_visible(False)
    bar.tick_params(labelsize=8)
    bar.grid(visible=False)
    bottom = axes
    if categories:
        axes.set_xticks([])
        span = across / width, dots / height
        bottom = figure.add_axes((left / width, 1 - (top + heat + 0.12 + dots) / height, *span))
        _dots(bottom, explained, categories)
    bottom.set_xticks(range(L), [style.plain(style.short(item.title, _TITLE)) for item in explained.behaviors])
    for tick in bottom.get_xticklabels():
        tick.set(rotation=90, size=size, ha="center")
    bottom.tick_params(length=0, pad=3)
    bottom.set_xlabel("behaviour, oldest to newest" if L > 4 else "behaviour", size=9)
    return figure


def _dots(axes: Axes, explained: Explained, categories: Sequence[str]) -> None:
    """Which behaviours have which categories; a dot has the colour of the interest that takes most of the behaviour."""
    K, L = explained.weights.shape
    colours, most = style.colours(K), _strongest(explained)
    for row, name in enumerate(categories):
        axes.axhline(row, color=style.LINE, linewidth=0.7, zorder=0)
        own = [place for place, item in enumerate(explained.behaviors) if name in item.categories]
        axes.scatter(own, [row] * len(own), s=17, color=[colours[most[place]] for place in own], linewidths=0)
    axes.set(xlim=(-0.5, L - 0.5), ylim=(len(categories) - 0.5, -0.5))
    axes.set_yticks(range(len(categories)), [style.plain(style.short(name, 18)) for name in categories], size=8)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


@style.drawn
def similarity(explained: Explained, *, width: float = style.WIDE, titled: bool = True) -> Figure:
    """The paper's Figure 6: how near the recalled items lie to the interests, a row for each list of items.

    Each item that an interest recalls by itself stands at the cosine of its vector and that interest's, v_k. Items of
    the merged list, of the baseline (:func:`~recbole_mind.analysis.explain.case_study.explain`) and random ones stand
    at the cosine to the nearest of the interests, all in this model's space, so that these rows can be compared with
    each other. A bar is the share of a row's items in :data:`BIN` of cosine, the first one's with all below; a tick is
    their median. The paper draws points scaled to each axis's own range; here the cosines stay as they are.

    Args:
        explained: a history with interests.
        width: in inches.
        titled: with a title, which says of what.

    Raises:
        InputError: a history without interests.
    """
    K, _ = _check(explained)
    rows = [row for row in explained.similarities if len(row.cosines)]
    # most random items lie far below: the lowest share the first bar
    low = np.floor(min(float(np.quantile(row.cosines, 0.1)) for row in rows) / BIN) * BIN
    high = np.ceil(max(float(row.cosines.max()) for row in rows) / BIN + 1e-6) * BIN
    edges = low + BIN * np.arange(round((high - low) / BIN) + 1)
    counts = [np.histogram(np.clip(row.cosines, low, high), edges)[0] / len(row.cosines) for row in rows]
    highest = max(float(count.max()) for count in counts)
    figure = Figure(figsize=(width, 0.85 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    colours = style.colours(K)
    for place, (row, count) in enumerate(zip(rows, counts, strict=True)):
        colour = (
            colours[row.interest] if row.interest >= 0 else style.SOFT if row.name != "random items" else style.BASE
        )
        tall = 0.82 * count / highest
        axes.axhline(place, color=style.LINE, linewidth=0.8, zorder=0)
        look: dict[str, Any] = {"color": colour, "alpha": 0.85, "linewidth": 0}
        middle = float(np.median(row.cosines))
        for bar in axes.bar(edges[:-1], -tall, BIN * 0.92, bottom=place, align="edge", **look):
            style.hint(bar, [f"{row.name}: median {middle:.2f} of {len(row.cosines)} items"])
        axes.plot([middle, middle], [place, place - 0.86], color=style.INK, linewidth=1.3)
        axes.annotate(
            f"{middle:.2f}".replace("-", "−"),
            (1.0, place - 0.32),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            size=9,
            va="center",
        )
    axes.annotate("median", (1.0, 1.0), xycoords="axes fraction", xytext=(6, 2), textcoords="offset points", size=8)
    axes.set_ylim(len(rows) - 0.9, -1.02)
    axes.set_xlim(edges[0], edges[-1])
    most = 26 if width > style.NARROW else 22
    axes.set_yticks([place - 0.3 for place in range(len(rows))], [_shortened(row.name, most) for row in rows])
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set(color=style.legible(colours[row.interest]) if row.interest >= 0 else style.INK)
        tick.set_fontweight("bold" if row.interest >= 0 else "normal")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    most_items = max(len(row.cosines) for row in rows)
    clipped = f"; first bar: below {low + BIN:.2g}" if any(float(row.cosines.min()) < low for row in rows) else ""
    to = f" to the interest (or to the nearest) of up to {most_items} items" if width > style.NARROW else ""
    axes.set_xlabel(f"cosine{to}{clipped}")
    if titled:
        title = f"{explained.model}, {explained.label}: items recalled by each interest"
        axes.set_title(style.plain(title), loc="left")
    return figure


@style.drawn
def map_of(explained: Explained, items: ItemMap, *, width: float = style.WIDE, titled: bool = True) -> Figure:
    """A history on the map of items: its interests, its behaviours, and what each interest recalls.

    Args:
        explained: a history with interests.
        items: its map (:func:`~recbole_mind.analysis.explain.item_map.item_map`).
        width: in inches.
        titled: with a title and the names of the axes, which say of what.

    Raises:
        InputError: a history without interests.
    """
    K, _ = _check(explained)
    figure = Figure(figsize=(width, 0.66 * width + (0.5 if width > style.NARROW else 1.1)), layout="constrained")
    axes = figure.subplots()
    axes.scatter(
        items.places[:, 0], items.places[:, 1], s=5, color=style.BASE, alpha=0.45, linewidths=0, rasterized=True
    )
    colours, most = style.colours(K), _strongest(explained)
    own = items.of([item.id for item in explained.behaviors])
    for k, (colour, marker) in enumerate(zip(colours, style.markers(), strict=False)):
        recalled = [found.item for found in explained.recalled[k][:RECALLED]]
        mine = [item for item, strongest in zip(explained.behaviors, most, strict=True) if strongest == k]
        look: dict[str, Any] = {"s": 24, "color": colour, "marker": marker, "linewidths": 0, "alpha": 0.9, "zorder": 3}
        _points(axes, items, recalled, look)
        _points(
            axes, items, mine, {"s": 46, "facecolors": "none", "edgecolors": colour, "linewidths": 1.5, "zorder": 4}
        )
        look = {"s": 300, "color": colour, "marker": "*", "edgecolors": style.INK, "linewidths": 0.9, "zorder": 6}
        style.hint(axes.scatter(*items.interests[k], **look), [explained.title(k)])
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    axes.spines[:].set(visible=True, color=style.LINE)
    if titled:
        axes.set_title(style.plain(f"{explained.model}, {explained.label} among {len(items.ids)} items"), loc="left")
        axes.set_xlabel(f"first principal direction ({items.held:.0%} of the variance with the second)")
        axes.set_ylabel("second principal direction")
    named = [
        Line2D([], [], linestyle="none", marker=marker, markersize=7, color=colour, label=_name(explained, k, 30))
        for k, (colour, marker) in enumerate(zip(colours, style.markers(), strict=False))
    ]
    hollow: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": style.INK}
    kinds = [
        Line2D([], [], linestyle="none", marker="*", markersize=13, color=style.INK, label="interest"),
        Line2D([], [], linestyle="none", marker="o", markersize=7, label="behaviour", **hollow),
        Line2D([], [], linestyle="none", marker="s", markersize=6, color=style.INK, label=f"top {RECALLED} recalled"),
        Line2D([], [], linestyle="none", marker="o", markersize=3, color=style.BASE, label="other item"),
    ]
    columns = 4 if width > style.NARROW else 2
    figure.legend(handles=[*named, *kinds], loc="outside lower left", ncols=columns, columnspacing=1.2)
    figure.draw_without_rendering()  # where labels have room is known in a figure that is laid out
    recalled_by = [found.item.id for part in explained.recalled for found in part[:RECALLED]]
    _number(figure, axes, items.interests, np.concatenate([own, items.of(recalled_by)]), colours)
    return figure


def _points(axes: Axes, items: ItemMap, shown: Sequence[ExplainedItem], look: dict[str, Any]) -> None:
    """Items on the map, each with its title as a hint."""
    if shown:
        places = items.of([item.id for item in shown])
        style.hint(axes.scatter(places[:, 0], places[:, 1], **look), [item.title for item in shown])


def _number(figure: Figure, axes: Axes, stars: Floats, others: Floats, colours: Sequence[str]) -> None:
    """The numbers of the interests beside their stars, with a line to those that found no room near."""
    points = 72 / figure.dpi

    def at(places: Any) -> Doubles:
        found: Doubles = axes.transData.transform(places) * points
        return found

    size = (8.0 * len(str(len(stars))), 11.0)
    frame: Doubles = axes.get_window_extent().get_points() * points
    places = label_places(at(stars), at(others), size, STAR, frame)
    for k, (star, (x, y), colour) in enumerate(zip(stars.tolist(), places - at(stars), colours, strict=True)):
        far = float(np.hypot(x, y)) > 2.5 * STAR
        axes.annotate(
            str(k + 1),
            star,
            xytext=(x, y),
            textcoords="offset points",
            ha="center",
            va="center",
            weight="bold",
            size=11,
            color=style.legible(colour),
            zorder=7,
            bbox={"boxstyle": "round,pad=0.05", "facecolor": style.PAGE, "alpha": 0.75, "edgecolor": "none"},
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
            if far
            else None,
        )


# -- words --------------------------------------------------------------------------------------------------------


def _check(explained: Explained) -> tuple[int, int]:
    K, L = explained.weights.shape
    require(K > 0, f"{explained.label} has no interests: nothing of it is known")
    return K, L


def _strongest(explained: Explained) -> Ints:
    """The interest that takes most of each behaviour, ``[L]``."""
    most: Ints = explained.weights.argmax(0)
    return most


def _categories(explained: Explained) -> list[str]:
    """Those that name the interests, then those of most behaviours."""
    counts: dict[str, int] = {}
    for item in explained.behaviors:
        for name in item.categories:
            counts[name] = counts.get(name, 0) + 1
    named = [part for name in explained.names for part in name.split(", ") if part in counts]
    return list(dict.fromkeys([*named, *sorted(counts, key=lambda name: (-counts[name], name))]))[:CATEGORIES]


def _lines(explained: Explained, interest: int) -> list[str]:
    """An interest's name and share, on two lines at most."""
    title = fonts.visible(explained.title(interest))
    letters = 22 * len(title) // max(1, cell_len(title))  # in a line of 22 places
    lines = textwrap.wrap(title, max(letters, 1)) or [""]
    return lines if len(lines) <= 2 else [lines[0], style.short(" ".join(lines[1:]), 22)]


def _name(explained: Explained, interest: int, most: int) -> str:
    return _shortened(explained.title(interest), most)


def _shortened(text: str, most: int) -> str:
    return style.plain(style.short(text, most))
