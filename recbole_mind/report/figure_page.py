"""Figures on a page: matplotlib's SVG in the page's colours, light and dark; templates/figures.html places them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from recbole_mind.report.style import BAR, BASE, INK, LINE, OKABE_ITO, PAGE, SOFT, STEPS, legible

# the variables of static/page.css and static/figures.css
VARIABLES = {PAGE: "page", INK: "text", SOFT: "soft", LINE: "line", BAR: "bar", BASE: "base"} | {
    colour: f"{kind}{place}"
    for kind, colours in (("c", OKABE_ITO), ("s", STEPS))
    for place, colour in enumerate(colours)
}
_LETTERS = {legible(colour): name for colour, name in VARIABLES.items() if legible(colour) != colour}


@dataclass(frozen=True)
class Part:
    """A kind of figure.

    Attributes:
        name: among files, and before the ids of its drawings.
        title: its heading.
        read: a sentence on how to read it.
        panels: its drawings as SVG, as :func:`recbole_mind.report.figure_files.svg` gives them.
        label: what a screen reader says of a drawing; the title if empty.
    """

    name: str
    title: str
    read: str
    panels: Sequence[str]
    label: str = ""

    @property
    def drawings(self) -> list[Markup]:
        """The panels as parts of a page."""
        return [_inline(svg, f"{self.name}{i}", self.label or self.title) for i, svg in enumerate(self.panels)]


def coloured(colour: str) -> str:
    """A colour of :mod:`recbole_mind.report.style` as the page has it in either scheme; another as it is."""
    if colour in _LETTERS:
        return f"color-mix(in srgb, var(--{_LETTERS[colour]}) 65%, var(--text))"
    return f"var(--{VARIABLES[colour]})" if colour in VARIABLES else colour


def _inline(drawing: str, name: str, label: str) -> Markup:
    """matplotlib's SVG as a part of the page: colours by scheme, ids of its own, and nothing that names a resource."""
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(
        r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", drawing, flags=re.S
    )
    box = re.search(r'viewBox="([^"]*)"', drawing)
    assert box is not None  # noqa: S101 - matplotlib always writes one
    rest = drawing[drawing.index(">") + 1 :]
    words = re.split(r"(<title>.*?</title>)", rest, flags=re.S)  # every second part is a hint, which stays as it is
    for place in range(0, len(words), 2):
        part = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", words[place]).replace("xlink:href", "href")
        words[place] = re.sub(r"#[0-9a-f]{6}\b", lambda found: coloured(found[0]), part)
    rest = re.sub(r"\s*\n\s*", "\n", "".join(words)).strip()
    head = Markup('<svg viewBox="{}" role="img" aria-label="{}">').format(box[1], label)
    return head + Markup(rest)  # noqa: S704 - matplotlib has escaped what it holds
