"""Figures as files: PNG and SVG that are the same bytes for the same figure."""

from __future__ import annotations

import io
import re
import textwrap
from typing import Any

from matplotlib.figure import Figure

from recbole_mind.report import style

_CUT: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.08}  # to what is drawn


def png(figure: Figure, title: str = "") -> bytes:
    """Give a figure as PNG: under a title, or cut to what is drawn where it has its own."""
    file = io.BytesIO()
    with style.styled():
        if title:
            figure.set_layout_engine("constrained")
            figure.suptitle(style.plain(textwrap.fill(" ".join(title.split()), 80)), size=11)
        metadata = {"Software": None}
        figure.savefig(file, format="png", dpi=style.DPI, metadata=metadata, **({} if title else _CUT))
    return file.getvalue()


def svg(figure: Figure, *, whole: bool = False) -> str:
    """Give a figure as SVG, with the words of :func:`recbole_mind.report.style.hint` as titles.

    Args:
        figure: what is drawn.
        whole: it is a file of its own, on a page of its own colour and cut to what is drawn; else it is for
            :class:`recbole_mind.report.figure_page.Part`.
    """
    file = io.StringIO()
    look: dict[str, Any] = _CUT if whole else {"facecolor": "none"}
    with style.styled():
        figure.savefig(file, format="svg", dpi=2 * style.DPI, metadata={"Date": None}, **look)
    # matplotlib has escaped the words, for an attribute in either kind of quotes
    titled = re.sub(r"""<a xlink:href=(["'])(.*?)\1[^>]*>""", r"<g><title>\2</title>", file.getvalue())
    return titled.replace("</a>", "</g>")
