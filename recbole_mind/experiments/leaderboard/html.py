"""A board as one self-contained page: tables, and bars for every metric; no script, no other file."""

from __future__ import annotations

from recbole_mind.experiments.leaderboard import labels
from recbole_mind.experiments.leaderboard.figures import bars
from recbole_mind.experiments.leaderboard.table import Board, Table
from recbole_mind.report.figure_files import svg
from recbole_mind.report.figure_page import Part
from recbole_mind.report.templates import render
from recbole_mind.util.format import EMPTY, number


def to_html(board: Board) -> str:
    """The page; it follows the reader's light or dark scheme and fits a phone."""
    sections = [(table, _charts(table, f"t{place}")) for place, table in enumerate(board.tables)]
    values = {"title": board.title, "sections": sections, "labels": labels, "number": number, "EMPTY": EMPTY}
    return render("experiments/leaderboard/templates/leaderboard.html", **values)


def _charts(table: Table, name: str) -> list[Part]:
    """A chart for each metric of which there is a figure to draw."""
    drawn = [(metric, bars(table, metric)) for metric in table.metrics]
    return [
        Part(f"{name}m{place}-", metric, "", [svg(figure)], f"{metric} of each model, as in the table")
        for place, (metric, figure) in enumerate(drawn)
        if figure is not None
    ]
