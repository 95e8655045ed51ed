"""The figures of an experiment, from what :func:`recbole_mind.analysis.ab_test.comparison.compare` gives."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.dates as mdates
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from recbole_mind.analysis.ab_test.comparison import RATES, Comparison
from recbole_mind.report import style

__all__ = ["days", "differences"]


@style.drawn
def differences(found: Comparison, shown: Sequence[str] | None = None, *, width: float = style.WIDE) -> Figure:
    """Each channel's difference from the control with its interval: a panel for each rate that is ``shown``."""
    names = list(shown or RATES)
    channels = list(found.differences)
    figure, panels, _ = style.grid(len(names), width, 2, 1.3 + 0.35 * len(channels))
    for axes, rate in zip(panels, names, strict=True):
        for place, (channel, colour) in enumerate(zip(channels, style.colours(len(channels)), strict=True)):
            one = found.differences[channel][rate].difference
            axes.plot([one.low, one.high], [place, place], color=colour, linewidth=3, solid_capstyle="round")
            axes.plot([one.value], [place], marker="o", markersize=7, color=colour)
        axes.axvline(0, color=style.INK, linewidth=1.2, linestyle="--")
        axes.set_yticks(range(len(channels)), [style.plain(style.short(channel, 16)) for channel in channels])
        axes.set_ylim(len(channels) - 0.4, -0.6)
        axes.yaxis.grid(False)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(xlabel=f"{rate} less {style.plain(style.short(found.control, 16))}'s, in points")
        axes.set_title(RATES[rate], weight="normal")
    return figure


@style.drawn
def days(found: Comparison, shown: Sequence[str] | None = None, *, width: float = style.WIDE) -> Figure:
    """Each channel's rates by day with their intervals: a panel for each rate that is ``shown``."""
    names, channels = list(shown or RATES), list(found.channels)
    figure, panels, _ = style.grid(len(names), width, 2, 2.9)
    for axes, rate in zip(panels, names, strict=True):
        looks = zip(channels, style.colours(len(channels)), style.markers(), strict=False)
        for channel, colour, marker in looks:
            own = {day: getattr(rates[channel], rate) for day, rates in found.days.items() if channel in rates}
            when = mdates.date2num(list(own))  # type: ignore[no-untyped-call]
            values, lows, highs = (np.array(part) for part in zip(*own.values(), strict=True))
            axes.fill_between(when, lows, highs, color=colour, alpha=0.18, linewidth=0)
            axes.plot(
                when, values, color=colour, marker=marker, markersize=5, label=style.plain(style.short(channel, 16))
            )
        locator = mdates.AutoDateLocator(minticks=2, maxticks=5)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_title(f"{rate}: {RATES[rate]}", weight="normal")
        axes.legend()
    return figure
