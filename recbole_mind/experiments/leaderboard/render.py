"""A board as Markdown, LaTeX, CSV, a page and in the terminal. Labels come from users and are escaped everywhere."""

from __future__ import annotations

from pathlib import Path

from recbole_mind.experiments.leaderboard.csv import to_csv
from recbole_mind.experiments.leaderboard.html import to_html
from recbole_mind.experiments.leaderboard.latex import to_latex
from recbole_mind.experiments.leaderboard.markdown import to_markdown
from recbole_mind.experiments.leaderboard.table import Board
from recbole_mind.util.files import write_atomic

NAME = "leaderboard"


def write(board: Board, folder: str | Path) -> list[Path]:
    """Write ``leaderboard.md``, ``.tex``, ``.csv`` and ``.html``, each whole or not at all; their paths.

    Raises:
        InputError: the folder cannot be written.
    """
    contents = {".md": to_markdown, ".tex": to_latex, ".csv": to_csv, ".html": to_html}
    paths = []
    for ending, render in contents.items():
        paths.append(Path(folder) / f"{NAME}{ending}")
        write_atomic(paths[-1], render(board))
    return paths
