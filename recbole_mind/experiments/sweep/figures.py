"""The figures of a sweep, and all that is written of them: the paper's Figures 3 and 4, and what a search found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory

from recbole_mind.experiments.sweep import outcomes, page
from recbole_mind.experiments.sweep.outcomes import Curve, TrialOutcome
from recbole_mind.report import figure_set, style
from recbole_mind.report.axis_scale import Scale, text
from recbole_mind.report.figure_set import Kind

__all__ = ["best_so_far", "importances", "over_epochs", "over_values", "parallel", "scatter", "table", "write"]


NAMES = ("epochs", "values", "best", "parallel", "importance", "settings")  # of files


table = page.table


@style.drawn
def over_epochs(curves: Mapping[str, Curve], metric: str, *, width: float = style.WIDE) -> Figure:
    """The paper's Figure 3: a panel for each setting, a line for each of its values.

    A line is the mean over seeds, its band one standard deviation to each side; where only some seeds still train it is
    dotted and has no band.
    """
    figure, panels, _ = style.grid(len(curves), width, 2, 3.0)
    for axes, (name, groups) in zip(panels, curves.items(), strict=True):
        looks = zip(style.colours(len(groups)), style.markers(), strict=False)
        for (value, group), (colour, marker) in zip(groups.items(), looks, strict=False):
            course = outcomes.course(group)
            epochs = np.arange(1, len(course.mean) + 1)
            whole = course.count == len(group)
            rest = ~whole | np.append(~whole[1:], False)  # joined to the last epoch that all seeds have
            every: dict[str, Any] = {
                "markevery": max(1, len(epochs) // 8),
                "markeredgecolor": style.PAGE,
                "markeredgewidth": 0.4,
            }
            solid = np.where(whole, course.mean, np.nan)
            label = style.plain(style.short(text(value), 14))
            axes.plot(epochs, solid, color=colour, marker=marker, markersize=4, linewidth=1.6, label=label, **every)
            if not whole.all():
                axes.plot(epochs, np.where(rest, course.mean, np.nan), color=colour, linewidth=1.2, linestyle=":")
            low, high = course.mean - course.sd, course.mean + course.sd
            axes.fill_between(epochs, low, high, where=whole, color=colour, alpha=0.13, linewidth=0)
        axes.set(xlabel=f"epoch ({averaged(groups)})", ylabel=style.axis(metric))
        axes.set_title(style.named(name))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.03), borderaxespad=0.2, labelspacing=0.35)
    return figure


@style.drawn
def over_values(curves: Mapping[str, Curve], metric: str, *, width: float = style.WIDE) -> Figure:
    """The paper's Figure 4: the metric at the best epoch over each value; mean ± standard deviation, dots for seeds."""
    figure, panels, across = style.grid(len(curves), width, 2, 2.9)
    for axes, (name, groups) in zip(panels, curves.items(), strict=True):
        scale = Scale.of(groups)
        numbers = [value for value in groups if not isinstance(value, str)]
        line = [(scale.place(value), outcomes.spread(groups[value])[0]) for value in numbers]
        axes.plot([x for x, _ in line], [y for _, y in line], color=style.BLUE, linewidth=1.4)
        for value, group in groups.items():
            mean, sd = outcomes.spread(group)
            x = scale.place(value)
            if sd is not None:
                seeds = outcomes.results(group)
                axes.scatter([x + 0.02] * len(seeds), seeds, s=9, color=style.SOFT, linewidths=0)
                axes.errorbar(x, mean, sd, color=style.BLUE, capsize=3.5, linewidth=1.4)
            axes.scatter(x, mean, s=36, color=style.BLUE, edgecolors=style.PAGE, linewidths=0.6, zorder=3)
        style.ticks(axes, scale, across)
        axes.set(xlabel=style.named(name), ylabel=style.axis(metric))
        axes.set_title(averaged(groups), weight="normal")
    return figure


@style.drawn
def best_so_far(runs: Sequence[TrialOutcome], metric: str, *, bigger: bool = True, width: float = style.WIDE) -> Figure:
    """The result of each trial and the best up to it; those that were stopped early or failed are marked."""
    figure, (axes,), _ = style.grid(1, width, 1, 3.0)
    steps = outcomes.best_so_far(runs, bigger)
    last = max((run.number for run in runs), default=0)
    if steps:
        xs, ys = [*(x for x, _ in steps), last], [*(y for _, y in steps), steps[-1][1]]
        axes.step(xs, ys, where="post", color=style.VERMILLION, linewidth=1.8, label="best so far")
    _points(axes, runs, [run.number for run in runs])
    failed = [run.number for run in runs if run.value is None]
    if failed:
        at_foot = blended_transform_factory(axes.transData, axes.transAxes)
        look: dict[str, Any] = {"color": style.INK, "marker": "x", "linewidths": 1.5, "s": 30, "clip_on": False}
        axes.scatter(failed, [0.025] * len(failed), transform=at_foot, label="failed", **look)
    first = min((run.number for run in runs), default=0)
    axes.set_xlim(first - 0.5, last + 0.5)
    if not steps:
        axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set(xlabel="trial", ylabel=style.axis(metric))
    columns = 4 if width > style.NARROW else 2
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, columnspacing=1.2)
    return figure


@style.drawn
def parallel(runs: Sequence[TrialOutcome], metric: str, *, bigger: bool = True, width: float = style.WIDE) -> Figure:
    """Parallel coordinates, an axis a row and the metric's at the foot; the better a trial, the darker its line."""
    names = outcomes.varied(runs)
    good = outcomes.ranked(outcomes.good(runs), bigger)[::-1]
    found = outcomes.best(runs, bigger)
    scales = [Scale.of(run.settings.get(name) for run in good) for name in names]
    scales.append(replace(Scale.of(run.value for run in good), log=False))
    figure, (axes,), _ = style.grid(1, width, 1, 0.35 + 0.66 * len(scales))
    axes.axis("off")
    rows = -np.arange(len(scales), dtype=float)
    for run, step in zip(good, _steps(good, bigger), strict=True):
        values = [*(run.settings.get(name) for name in names), run.value]
        places = [scale.place(value) for scale, value in zip(scales, values, strict=True)]
        if found is not None and run in found.runs:
            axes.plot(places, rows, color=style.VERMILLION, linewidth=2.6, marker="o", markersize=5, zorder=4)
        else:
            share = (step + 1) / len(style.STEPS)
            look: dict[str, Any] = {"color": style.STEPS[step], "alpha": 0.4 + 0.6 * share, "zorder": 2 + share}
            axes.plot(places, rows, linewidth=0.7 + 0.8 * share, marker="o", markersize=2.5, **look)
    beside = 0.42  # inches on either side, for labels
    space = width - 0.2 - 2 * beside
    margin = beside / space
    boxed = {"facecolor": style.PAGE, "alpha": 0.8, "edgecolor": "none", "pad": 0.6}
    for row, scale, name in zip(rows, scales, [*map(style.named, names), style.axis(metric)], strict=True):
        axes.plot([0, 1], [row, row], color=style.SOFT, linewidth=1, zorder=1)
        axes.text(-margin, row + 0.17, name, weight="bold", size=9.5, va="bottom", zorder=6, bbox=boxed)
        each = 2 * beside if scale.finite else min(2 * beside, space / max(1, len(scale.apart) - 1))
        most = max(3, int(each / style.LETTER) - 1)
        ticks = [(place, style.short(label, most)) for place, label in scale.ticks()]
        for place, label in style.fitting(ticks, space) if scale.finite else ticks:
            axes.plot([place, place], [row - 0.06, row + 0.06], color=style.SOFT, linewidth=1, zorder=1)
            axes.text(place, row - 0.12, style.plain(label), size=9, va="top", ha="center", zorder=5, bbox=boxed)
    axes.set(xlim=(-margin, 1 + margin), ylim=(rows[-1] - 0.42, 0.5))
    return figure


@style.drawn
def importances(found: outcomes.Importance, *, width: float = style.WIDE) -> Figure:
    """How much each setting decides, with a standard deviation over the forest's trees."""
    shown = min(12, len(found.names))
    figure, (axes,), _ = style.grid(1, width, 1, 1.05 + 0.3 * shown)
    mean, sd = np.array(found.mean[:shown]), np.array(found.sd[:shown])
    places = -np.arange(shown)
    axes.barh(places, mean, color=style.BLUE, height=0.62)
    sides = [np.minimum(sd, mean), sd]
    axes.errorbar(mean, places, xerr=sides, fmt="none", color=style.INK, linewidth=1.2, capsize=2.5)
    axes.set_yticks(places, [style.named(name, 20) for name in found.names[:shown]])
    axes.grid(visible=False, axis="y")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("share explained (± sd over trees)")
    axes.set_title(f"{found.trials} trials, out-of-bag R² = {found.r2:.2f}".replace("= -", "= −"))
    return figure


@style.drawn
def scatter(
    runs: Sequence[TrialOutcome], metric: str, names: Sequence[str], *, bigger: bool = True, width: float = style.WIDE
) -> Figure:
    """The metric over each of ``names``, a point for each trial that has a result, a star for the best."""
    good = outcomes.good(runs)
    found = outcomes.best(runs, bigger)
    figure, panels, across = style.grid(len(names), width, 3, 2.5)
    for axes, name in zip(panels, names, strict=True):
        scale = Scale.of(run.settings.get(name) for run in good)
        _points(axes, good, [scale.place(run.settings.get(name)) for run in good])
        stars = found.runs if found else ()
        xs = [scale.place(run.settings.get(name)) for run in stars]
        look: dict[str, Any] = {"color": style.VERMILLION, "edgecolors": style.PAGE, "linewidths": 0.8}
        axes.scatter(xs, outcomes.results(stars), marker="*", s=170, zorder=5, **look)
        style.ticks(axes, scale, across)
        axes.set_xlabel(style.named(name))
    for axes in panels[:: min(3, len(names)) if width > style.NARROW else 1]:
        axes.set_ylabel(style.axis(metric))
    return figure


def _points(axes: Axes, runs: Sequence[TrialOutcome], places: Sequence[float]) -> None:
    """A point for each trial that has a result."""
    for state, colour, marker, filled in (("done", style.BLUE, "o", True), ("stopped", style.ORANGE, "^", False)):
        shown = [(x, run.value) for x, run in zip(places, runs, strict=True) if run.state == state]
        if shown:
            xs, ys = zip(*shown, strict=True)
            face, edge = (colour, style.PAGE) if filled else ("none", colour)
            label = "stopped early" if state == "stopped" else "trial"
            axes.scatter(xs, ys, s=26, marker=marker, facecolors=face, edgecolors=edge, label=label, zorder=3)


def _steps(good: Sequence[TrialOutcome], bigger: bool) -> list[int]:
    """The colour of each trial, from the lower quartile (the poorer ones are all alike) to the best."""
    values = np.array([run.value for run in good], float) * (1 if bigger else -1)
    if not len(values):
        return []
    low, high = np.quantile(values, 0.25), values.max()
    share = (values - low) / (high - low) if high > low else np.ones(len(values))
    return [int(step) for step in np.clip(share * len(style.STEPS), 0, len(style.STEPS) - 1)]


def write(
    trials: Iterable[Mapping[str, Any]],
    folder: str | Path,
    *,
    metric: str,
    title: str,
    curves: Sequence[str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    bigger: bool = True,
) -> list[Path]:
    """Write ``figures/*.png`` and ``sweep.html``, each whole or not at all; the same trials give the same bytes.

    Args:
        trials: each with ``number``, ``seed``, ``settings``, ``valid`` (metrics of the best epoch; empty if it failed),
            ``curve`` (``metric`` after each epoch), ``epochs``, ``seconds``, ``stopped`` (early) and ``error`` or None.
        folder: where they go; a figure of an earlier call that these trials do not give is removed.
        metric: what was selected by, ``bigger`` if more of it is better.
        title: what was swept.
        curves: the axes of a sweep along axes; None for a search.
        defaults: where each axis is while another is varied; None for the value that most trials have.

    Returns:
        the paths of what was written.

    Raises:
        InputError: the folder cannot be written.
    """
    runs = outcomes.outcomes(trials, metric)
    kinds = _along_axes(runs, metric, curves, bigger, defaults) if curves else _of_search(runs, metric, bigger)
    files, parts = figure_set.drawn(kinds, title)
    contents: dict[str, bytes | str] = {**files, "sweep.html": page.page(runs, parts, metric, title, bigger)}
    return figure_set.write(folder, contents, NAMES)


def _along_axes(
    runs: Sequence[TrialOutcome], metric: str, names: Sequence[str], bigger: bool, defaults: Mapping[str, Any] | None
) -> list[Kind]:
    values = {name: curve for name in names if (curve := outcomes.along(runs, name, names, defaults))}
    epochs: dict[str, Curve] = {}
    for name, curve in values.items():
        trained = {value: [run for run in group if run.curve] for value, group in curve.items()}
        if trained := {value: group for value, group in trained.items() if group}:
            epochs[name] = trained
    kinds = []
    if epochs:
        read = (
            "A line is the mean over seeds, its band one standard deviation to each side; where some seeds have ended, "
            "the line is the mean of the others, dotted. The other settings are at their defaults."
        )

        def draw_epochs(shown: Sequence[str], width: float) -> Figure:
            return over_epochs({name: epochs[name] for name in shown}, metric, width=width)

        kinds.append(Kind("epochs", f"{metric} over epochs", read, draw_epochs, list(epochs)))
    if values:
        read = (
            "The best epoch's validation figure: the mean over seeds with one standard deviation to each side, a small "
            "dot for each seed. Differences within the bars are noise."
        )

        def draw_values(shown: Sequence[str], width: float) -> Figure:
            return over_values({name: values[name] for name in shown}, metric, width=width)

        kinds.append(Kind("values", f"{metric} over the values of a setting", read, draw_values, list(values)))
    return [*kinds, *_progress(runs, metric, bigger)]


def _of_search(runs: Sequence[TrialOutcome], metric: str, bigger: bool) -> list[Kind]:
    kinds = _progress(runs, metric, bigger)
    good = len(outcomes.good(runs))
    names = outcomes.varied(runs)
    if names:
        read = (
            "A line is a trial, from the setting in the top row to its result in the bottom one: the more it stands "
            "out, the better, the poorest quarter all alike. Orange: the best."
        )

        def draw_parallel(_: Sequence[str], width: float) -> Figure:
            return parallel(runs, metric, bigger=bigger, width=width)

        kinds.append(Kind("parallel", "All settings together", read, draw_parallel))
    found = outcomes.importance(runs)
    if found is not None:
        read = (
            f"How much of the differences between {found.trials} trials a random forest puts down to each setting. "
            "Out-of-bag R² is 1 where it predicts trials that it has not seen, 0 or less where its shares mean nothing."
        )

        def draw_importances(_: Sequence[str], width: float) -> Figure:
            return importances(found, width=width)

        kinds.append(Kind("importance", "Importance of each setting", read, draw_importances))
    else:
        need = f"It takes {outcomes.MIN_TRIALS} trials with a result to tell; so far there are {good}."
        alike = "The trials do not differ, in their settings or in their results."
        read = need if good < outcomes.MIN_TRIALS else alike
        kinds.append(Kind("importance", "Importance of each setting", read, None))
    if names:
        read = "A point is a trial, a star the best, a hollow triangle one stopped early, with what it had reached."

        def draw_scatter(shown: Sequence[str], width: float) -> Figure:
            return scatter(runs, metric, shown, bigger=bigger, width=width)

        kinds.append(Kind("settings", f"{metric} over each setting", read, draw_scatter, names))
    return kinds


def _progress(runs: Sequence[TrialOutcome], metric: str, bigger: bool) -> list[Kind]:
    read = "A point is a trial; the line is the best result up to it. A line long flat: more trials bring little."

    def draw(_: Sequence[str], width: float) -> Figure:
        return best_so_far(runs, metric, bigger=bigger, width=width)

    return [Kind("best", "Best so far", read, draw)] if runs else []


def averaged(curve: Curve) -> str:
    """What a point of a curve is: of how many seeds."""
    seeds = [len({run.seed for run in group}) for group in curve.values()]
    low, high = min(seeds, default=1), max(seeds, default=1)
    return "one seed" if high == 1 else f"mean ± sd, {high if low == high else f'{low}–{high}'} seeds"
