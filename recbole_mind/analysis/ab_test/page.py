"""An experiment on a page: ``experiment.html``, ``experiment.json`` and the figures beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recbole_mind.analysis.ab_test import figures
from recbole_mind.analysis.ab_test.comparison import RATES, Comparison, as_json
from recbole_mind.analysis.ab_test.statistics import MISMATCH
from recbole_mind.analysis.ab_test.words import channel_words, difference_words, rate_words, shares_words, significant
from recbole_mind.report import figure_set
from recbole_mind.report.figure_set import Kind
from recbole_mind.report.templates import render
from recbole_mind.util import json_text

FIGURES = ("differences", "days")  # names of files


def write(found: Comparison, folder: str | Path) -> list[Path]:
    """Write the page, its figures and what they show; the same experiment, the same bytes.

    Raises:
        InputError: the folder cannot be written.
    """
    rows = found.channels.items()
    title = f"Experiment: {', '.join(found.channels)}"
    files, parts = figure_set.drawn(_kinds(found), title)
    page = render(
        "analysis/ab_test/templates/experiment.html",
        title=title,
        control=found.control,
        rates=list(RATES),
        channels=[[name, *channel_words(one), *(rate_words(one, rate) for rate in RATES)] for name, one in rows],
        differences=[
            [f"{name}, {rate}", *difference_words(one)]
            for name, by_rate in found.differences.items()
            for rate, one in by_rate.items()
        ],
        significant=[significant(one) for by_rate in found.differences.values() for one in by_rate.values()],
        assigned=None if found.mismatch is None else shares_words(found),
        mismatch=found.mismatch is not None and found.mismatch < MISMATCH,
        left_out=[f"{number:,} {reason}" for reason, number in found.left_out.items()],
        parts=parts,
    )
    contents: dict[str, bytes | str] = {"experiment.json": json_text.to_json(as_json(found)), "experiment.html": page}
    return figure_set.write(folder, contents | files, FIGURES)


def _kinds(found: Comparison) -> Sequence[Kind]:
    kinds = []
    panels = tuple(RATES)
    if found.differences:
        read = f"What a channel's users do more than {found.control}'s; bars hold 95% of resamplings of users."
        kinds.append(
            Kind(
                "differences", "Differences", read, lambda shown, w: figures.differences(found, shown, width=w), panels
            )
        )
    if len(found.days) > 1:
        read = "Rates by day (UTC) with their 95% intervals; a day's users are its own."
        kinds.append(Kind("days", "Day by day", read, lambda shown, w: figures.days(found, shown, width=w), panels))
    return kinds
