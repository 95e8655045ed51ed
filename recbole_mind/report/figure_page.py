"""Figures on a page: matplotlib's SVG in the page's colours, light and dark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from recbole_mind.report.style import INK, LINE, OKABE_ITO, OKABE_ITO_DARK, PAGE, SOFT, STEPS, STEPS_DARK

_VARIABLES = {PAGE: "page", INK: "text", SOFT: "soft", LINE: "line"} | {
    colour: f"{kind}{place}"
    for kind, colours in (("c", OKABE_ITO), ("s", STEPS))
    for place, colour in enumerate(colours)
}


def _scheme(series: Sequence[str], steps: Sequence[str]) -> str:
    named = [(f"c{place}", colour) for place, colour in enumerate(series)]
    named += [(f"s{place}", colour) for place, colour in enumerate(steps)]
    return ":root { " + " ".join(f"--{name}: {colour};" for name, colour in named) + " }"


STYLE = (
    f"""\
{_scheme(OKABE_ITO, STEPS)}
@media (prefers-color-scheme: dark) {{ {_scheme(OKABE_ITO_DARK, STEPS_DARK)} }}
"""
    + """\
.best { font-size: 1.05rem; margin: 0 0 .5rem; }
.best b { font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.settings { display: flex; flex-wrap: wrap; gap: .5rem; margin: 0 0 1rem; padding: 0; list-style: none; }
.settings li { padding: .2rem .6rem; border: 1px solid var(--line); border-radius: 6px; background: var(--tint);
  font-size: .875rem; overflow-wrap: anywhere; }
.settings b { font-weight: 600; }
.parts { display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
section.parts { margin-top: 1.5rem; }
figure svg { max-width: 32rem; margin: 0 auto; stroke-linejoin: round; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer;
  text-align: inherit; }
th button::after { content: "↕"; color: var(--soft); font-weight: 400; padding-left: .3em; }
th[aria-sort=ascending] button::after { content: "↑"; color: var(--text); }
th[aria-sort=descending] button::after { content: "↓"; color: var(--text); }
td.state, th:nth-child(3) { text-align: left; }
td.state small { white-space: normal; overflow-wrap: anywhere; min-width: 16rem; max-width: 32rem; }
tr.best-row > * { font-weight: 700; }
tr.failed td, tr.failed th { color: var(--soft); } tr.failed .state span { color: var(--bad); }
"""
)


@dataclass(frozen=True)
class Part:
    """A kind of figure: its name among files, its title, a sentence on how to read it, and its panels as SVG."""

    name: str
    title: str
    read: str
    panels: Sequence[str]


def figures(parts: Sequence[Part]) -> str:
    """The figures, those of one panel beside each other; the page around them takes :data:`STYLE`."""
    shown = []
    for single, group in groupby(parts, lambda part: len(part.panels) < 2):
        if single:
            cards = "\n".join(_card(part) for part in group)
            shown.append(f'<section class="parts">\n{cards}\n</section>\n')
        else:
            shown += [_section(part) for part in group]
    return "".join(shown)


def _card(part: Part) -> str:
    drawn = "".join(_svg(svg, f"{part.name}{place}", part.title) for place, svg in enumerate(part.panels))
    read = f'<p class="read">{escape(part.read)}</p>'
    return f"<figure><figcaption>{escape(part.title)}</figcaption>\n{drawn}{read}</figure>"


def _section(part: Part) -> str:
    drawn = [f"<figure>{_svg(svg, f'{part.name}{i}', part.title)}</figure>" for i, svg in enumerate(part.panels)]
    return (
        f'<section>\n<h2>{escape(part.title)}</h2>\n<p class="read">{escape(part.read)}</p>\n'
        f'<div class="parts">\n{"".join(drawn)}\n</div>\n</section>\n'
    )


def _svg(drawing: str, name: str, label: str) -> str:
    """matplotlib's SVG as a part of the page: colours by scheme, ids of its own, and nothing that names a resource."""
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(
        r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", drawing, flags=re.S
    )
    head = re.search(r'viewBox="[^"]*"', drawing)
    assert head is not None  # noqa: S101 - matplotlib always writes one
    rest = drawing[drawing.index(">") + 1 :]
    rest = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", rest).replace("xlink:href", "href")
    rest = re.sub(r"#[0-9a-f]{6}\b", lambda found: _coloured(found[0]), rest)
    rest = re.sub(r"\s*\n\s*", "\n", rest)
    return f'<svg {head[0]} role="img" aria-label="{escape(label)}">{rest.strip()}'


def _coloured(colour: str) -> str:
    return f"var(--{_VARIABLES[colour]})" if colour in _VARIABLES else colour
