"""Figures as files: PNG and SVG that are the same bytes for the same figure."""

from __future__ import annotations

import io
import textwrap

from matplotlib.figure import Figure

from recbole_mind.report import style


def png(figure: Figure, title: str) -> bytes:
    """A figure under its title, as a PNG; the same figure gives the same bytes."""
    file = io.BytesIO()
    with style.styled():
        figure.set_layout_engine("constrained")
        figure.suptitle(style.plain(textwrap.fill(" ".join(title.split()), 80)), size=11)
        figure.savefig(file, format="png", dpi=style.DPI, metadata={"Software": None})
    return file.getvalue()


def svg(figure: Figure) -> str:
    """A figure for :class:`recbole_mind.report.figure_page.Part`."""
    file = io.StringIO()
    with style.styled():
        figure.savefig(file, format="svg", facecolor="none", metadata={"Date": None})
    return file.getvalue()
