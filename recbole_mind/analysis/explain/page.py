"""Explained histories as one page that loads nothing: a picker, tables, and inline SVG. Without scripts it shows all.

Every word of the data is escaped. Colours follow the reader's light or dark scheme.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from recbole_mind.analysis.explain.case_study import Explained, Item, Recommended, Similarity
from recbole_mind.analysis.explain.item_map import ItemMap, label_places
from recbole_mind.report.html import document
from recbole_mind.report.style import INK, OKABE_ITO, OKABE_ITO_DARK, STEPS, STEPS_DARK, colours
from recbole_mind.retrieval.types import Floats
from recbole_mind.util.format import number

TOP, MERGED = 8, 20  # items of an interest, and of all together, that are listed
BIN = 0.05  # of cosines
WIDTH = 360  # of a drawing, in units of its own; the page scales it
MAP = 300  # height of the map
_UP = np.array([1.0, -1.0])  # SVG counts downwards
_DARK = dict(zip((*OKABE_ITO, *STEPS), (*OKABE_ITO_DARK, *STEPS_DARK), strict=True)) | {INK: "#e6eaf0"}

_STYLE = """\
:root { --heat: #08519c; }
@media (prefers-color-scheme: dark) { :root { --heat: #7cc8f5; } }
h2 { margin-top: 1.5rem; } h3 { font-size: 1rem; margin: 2rem 0 .5rem; }
.pick { position: sticky; top: 0; z-index: 3; display: flex; flex-wrap: wrap; gap: .5rem; align-items: center;
  padding: .6rem 0; background: var(--page); border-bottom: 1px solid var(--line); }
.pick[hidden], section[hidden] { display: none; }
.pick select { flex: 1 1 12rem; min-width: 0; max-width: 32rem; }
.pick select, .pick button { font: inherit; color: inherit; background: var(--tint); border: 1px solid var(--line);
  border-radius: 6px; padding: .35rem .7rem; min-height: 2.5rem; }
.pick button:disabled { color: var(--soft); opacity: .6; }
:focus-visible { outline: 3px solid var(--bar); outline-offset: 1px; }
.dot { display: inline-block; width: .75em; height: .75em; border-radius: 50%; background: var(--i); }
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 16rem), 1fr)); }
.card { padding: .75rem; border: 1px solid var(--line); border-top: 4px solid var(--i); border-radius: 8px; }
.card h4 { margin: 0 0 .4rem; font-size: 1rem; } .card h4 small { color: var(--soft); font-weight: 400; }
.card ol { margin: 0; padding-left: 1.6rem; font-size: .9rem; } .card li { overflow-wrap: anywhere; }
.card li small { color: var(--soft); }
.heat { max-height: 34rem; overflow: auto; }
.heat thead th { position: sticky; top: 0; z-index: 1; } .heat thead th:first-child { z-index: 2; }
.heat th:first-child { max-width: 22rem; } .heat td { padding: 0; min-width: 3.4rem; }
.heat thead th { text-align: center; white-space: normal; } .heat thead th:first-child { text-align: left; }
td.w { position: relative; text-align: center; vertical-align: middle; font-size: .8rem; }
td.w::before { content: ""; position: absolute; inset: 1px; border-radius: 3px; background: var(--heat);
  opacity: var(--w); }
td.w span { position: relative; } td.high span { color: var(--page); }
.ranks th:first-child { min-width: 0; width: 4rem; } .ranks td:last-child { white-space: nowrap; }
td.left, thead th.left { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.strip { margin-bottom: .25rem; }
.pair { margin-top: 1.5rem; display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
svg text { font-size: 12px; fill: var(--text); font-variant-numeric: tabular-nums; }
svg .soft { fill: var(--soft); } svg .axis { stroke: var(--line); }
svg .middle { stroke: var(--text); stroke-width: 2; }
svg .points { stroke: var(--base); stroke-width: 2.4; stroke-linecap: round; opacity: .55; }
svg .recalled { fill: var(--i); } svg .behavior { fill: none; stroke: var(--i); stroke-width: 1.6; }
svg .interest { fill: var(--i); stroke: var(--text); stroke-width: 1; }
svg .number { font-weight: 700; paint-order: stroke; stroke: var(--page); stroke-width: 3px; }
@media (max-width: 40rem) { .name { display: none; } .heat th:first-child { max-width: 10rem; } }
"""
_SCRIPT = """\
const parts = [...document.querySelectorAll("section.one")], picker = document.querySelector(".pick select");
const [back, on] = document.querySelectorAll(".pick button");
const show = place => {
  parts.forEach((part, i) => part.hidden = i !== place);
  picker.value = place; back.disabled = place === 0; on.disabled = place === parts.length - 1;
};
const go = place => { show(place); location.replace("#" + (place + 1)); };
const asked = () => Math.min(Math.max(parseInt(location.hash.slice(1)) - 1 || 0, 0), parts.length - 1);
document.querySelector(".pick").hidden = parts.length < 2;
picker.addEventListener("change", () => go(Number(picker.value)));
back.addEventListener("click", () => go(Number(picker.value) - 1));
on.addEventListener("click", () => go(Number(picker.value) + 1));
addEventListener("hashchange", () => show(asked()));
show(asked());
"""


def page(explained: Sequence[Explained], maps: Sequence[ItemMap | None], title: str, statement: str) -> str:
    """The whole page.

    Args:
        explained: histories, in the order of the picker; at least one.
        maps: of each; ``None`` for one without interests.
        title: of the page.
        statement: what is shown and how it was chosen.
    """
    options = "".join(f'<option value="{place}">{escape(_option(one))}</option>' for place, one in enumerate(explained))
    picker = (
        '<nav class="pick" aria-label="histories" hidden><button type="button" aria-label="previous">←</button>'
        f'<select aria-label="history">{options}</select><button type="button" aria-label="next">→</button></nav>\n'
    )
    sections = "\n".join(_section(one, place, spread) for place, (one, spread) in _numbered(explained, maps))
    body = f'<p class="statement">{escape(statement)}</p>\n{picker}{sections}\n<script>\n{_SCRIPT}</script>\n'
    return document(title, body, _scheme(max(len(one.names) for one in explained)) + _STYLE)


def _numbered(
    explained: Sequence[Explained], maps: Sequence[ItemMap | None]
) -> list[tuple[int, tuple[Explained, ItemMap | None]]]:
    return list(enumerate(zip(explained, maps, strict=True)))


def _scheme(K: int) -> str:
    """A variable for the colour of each interest, in both schemes."""
    light = colours(K)
    dark = [_DARK[colour] for colour in light]
    written = [" ".join(f"--i{k}: {colour};" for k, colour in enumerate(series)) for series in (light, dark)]
    return f":root {{ {written[0]} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {written[1]} }} }}\n"


def _option(one: Explained) -> str:
    named = [name for name in one.names if name]
    return f"{one.label}: {' | '.join(named)}" if named else one.label


def _section(one: Explained, place: int, spread: ItemMap | None) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in one.notes)
    parts = [f"<h2>{escape(one.label)}</h2>", f'<p class="statement">{escape(_facts(one))}</p>']
    parts += [f'<ul class="notes">{notes}</ul>'] if notes else []
    if one.names:
        parts += ["<h3>What each interest recalls</h3>", _cards(one)]
        read = (
            f"The {one.kind} of each behaviour: how much of an interest it makes. After Figure 5 of the MIND paper; "
            "below, the same with titles, the newest behaviour last."
        )
        parts += ["<h3>What each interest is made of</h3>", _strip(one), f'<p class="read">{escape(read)}</p>']
        parts.append(_heat(one))
        parts.append('<div class="pair">')
        parts.append(_figure("How near the recalled items lie", _similarity(one), _NEAR))
        if spread is not None:
            parts.append(_figure("The interests among items", _map(one, spread), _read_map(spread)))
        parts.append("</div>")
    heading = "All interests together" if len(one.names) > 1 else "What is recalled"
    parts += [f"<h3>{heading if one.names else 'The most popular items'}</h3>", _merged(one)]
    return f'<section class="one" aria-label="{escape(one.label)}" id="h{place}">\n' + "\n".join(parts) + "\n</section>"


def _facts(one: Explained) -> str:
    L, K = len(one.behaviors), len(one.names)
    facts = [f"{L} behaviour{'s' * (L != 1)} read", f"{K} interest{'s' * (K != 1)}"]
    if one.followed is not None:
        ranks = [rank for rank, found in enumerate(one.merged, 1) if found.item.id == one.followed.id]
        where = f"recalled as number {ranks[0]}" if ranks else f"not among the {len(one.merged)} recalled"
        facts.append(f"next in the data came “{one.followed.title}”, {where}")
    return "; ".join(facts) + "."


# -- tables -------------------------------------------------------------------------------------------------------


def _item(item: Item) -> str:
    about = ", ".join(item.categories)
    return escape(item.title) + (f" <small>{escape(about)}</small>" if about else "")


def _dot(interest: int) -> str:
    return f'<span class="dot" style="--i:var(--i{interest})"></span>'


def _cards(one: Explained) -> str:
    cards = []
    for k, recalled in enumerate(one.recalled):
        items = "".join(
            f"<li>{_item(found.item)} <small>{number(found.score)}</small></li>" for found in recalled[:TOP]
        )
        share = f"<small>{one.shares[k]:.0%} of the weight</small>"
        name = escape(one.title(k))
        cards.append(
            f'<div class="card" style="--i:var(--i{k})"><h4>{_dot(k)} {name} {share}</h4><ol>{items}</ol></div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _heat(one: Explained) -> str:
    highest = max(float(one.weights.max()), 1e-12)
    heads = "".join(
        f'<th scope="col">{_dot(k)} {k + 1}<span class="name"> {escape(name)}</span></th>'
        for k, name in enumerate(one.names)
    )
    rows = []
    for item, weights in zip(one.behaviors, one.weights.T.tolist(), strict=True):
        cells = "".join(_weight(weight, weight / highest) for weight in weights)
        rows.append(f'<tr><th scope="row">{_item(item)}</th>{cells}</tr>')
    return (
        f'<div class="scroll heat" tabindex="0"><table><thead><tr><th scope="col">behaviour</th>{heads}</tr></thead>'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>"
    )


def _weight(weight: float, share: float) -> str:
    kind = "w high" if share > 0.65 else "w"
    return f'<td class="{kind}" style="--w:{share:.3f}"><span>{weight:.2f}</span></td>'


def _merged(one: Explained) -> str:
    rows = "".join(f"<tr>{_row(rank, found)}</tr>\n" for rank, found in enumerate(one.merged[:MERGED], 1))
    score = "score" if one.names else "interactions in training"
    by = '<th scope="col">interest</th>' if one.names else ""
    return (
        '<div class="scroll ranks" tabindex="0"><table><thead><tr><th scope="col">rank</th>'
        f'<th scope="col" class="left">item</th>{by}<th scope="col">{score}</th></tr></thead>'
        f"<tbody>\n{rows}</tbody></table></div>"
    )


def _row(rank: int, found: Recommended) -> str:
    by = "" if found.interest < 0 else f"<td>{_dot(found.interest)} {found.interest + 1}</td>"
    score = f"{found.score:,.0f}" if found.interest < 0 else number(found.score)
    return f'<th scope="row">{rank}</th><td class="left">{_item(found.item)}</td>{by}<td>{score}</td>'


# -- drawings -----------------------------------------------------------------------------------------------------


def _strip(one: Explained) -> str:
    """Figure 5: a row for each interest, a column for each behaviour, oldest first."""
    (K, L), highest = one.weights.shape, max(float(one.weights.max()), 1e-12)
    left, tall = 22, 26
    wide = min(2 * WIDTH - left, 36 * L) / L
    cells = [
        f'<rect x="{left + place * wide:.1f}" y="{k * tall}" width="{wide - 1:.1f}" height="{tall - 1}" '
        f'fill-opacity="{max(weight / highest, 0.04):.3f}"><title>{escape(item.title)}: {weight:.2f}</title></rect>'
        for k, weights in enumerate(one.weights.tolist())
        for place, (item, weight) in enumerate(zip(one.behaviors, weights, strict=True))
    ]
    names = "".join(
        f'<circle cx="5" cy="{k * tall + 13}" r="4.5" fill="var(--i{k})"/>'
        f'<text x="12" y="{k * tall + 17}">{k + 1}</text>'
        for k in range(K)
    )
    label = f"{one.kind} of each behaviour of {one.label}, as in the table below"
    return (
        f'<svg class="strip" viewBox="0 0 {2 * WIDTH} {K * tall}" role="img" aria-label="{escape(label)}">'
        f'<g fill="var(--heat)">{"".join(cells)}</g>{names}</svg>'
    )


_NEAR = (
    "Cosine of the items that each interest recalls to that interest; of the other rows' items to the nearest of the "
    "interests. A bar is a share of the row's items (the first with all below), a tick their median. After Figure 6 of "
    "the MIND paper."
)


def _figure(title: str, svg: str, read: str) -> str:
    caption = f"<figcaption>{escape(title)}</figcaption>"
    return f'<figure>{caption}{svg}<p class="read">{escape(read)}</p></figure>'


def _read_map(spread: ItemMap) -> str:
    return (
        "Stars are the interests, hollow circles the behaviours, each in the colour of the interest that takes most "
        f"of it, full circles the {TOP} best items of each interest, grey ones others of the catalogue. The directions "
        f"are the two in which these items differ most; they hold {spread.held:.0%} of the variance."
    )


def _similarity(one: Explained) -> str:
    """Figure 6: a small histogram for each list of items, its name above it."""
    rows = [row for row in one.similarities if len(row.cosines)]
    low = float(np.floor(min(float(np.quantile(row.cosines, 0.1)) for row in rows) / BIN) * BIN)
    high = float(np.ceil(max(float(row.cosines.max()) for row in rows) / BIN + 1e-6) * BIN)
    edges = low + BIN * np.arange(round((high - low) / BIN) + 1)
    counts = [np.histogram(np.clip(row.cosines, low, high), edges)[0] / len(row.cosines) for row in rows]
    tallest, step = max(float(count.max()) for count in counts), 54
    scale = (WIDTH - 8) / (high - low)
    drawn = [
        _bars(row, count / tallest, 4 + scale * (edges[:-1] - low), scale * BIN, step * (place + 1), scale, low)
        for place, (row, count) in enumerate(zip(rows, counts, strict=True))
    ]
    foot = step * len(rows)
    every = 0.1 if high - low < 0.75 else 0.2
    ticks = np.arange(np.ceil(low / every - 1e-6) * every, high + 1e-6, every)
    marks = "".join(
        f'<text class="soft" x="{min(max(4 + scale * (tick - low), 12), WIDTH - 12):.1f}" y="{foot + 16}" '
        f'text-anchor="middle">{abs(tick) if abs(tick) < 1e-9 else tick:.1f}</text>'
        for tick in ticks.tolist()
    )
    label = f"cosines of the items recalled for {one.label}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {foot + 22}" role="img" aria-label="{escape(label)}">{"".join(drawn)}{marks}</svg>'
    )


def _bars(row: Similarity, shares: Floats, lefts: Floats, wide: float, foot: int, scale: float, low: float) -> str:
    middle = float(np.median(row.cosines))
    fill = f"var(--i{row.interest})" if row.interest >= 0 else "var(--soft)"
    bars = "".join(
        f'<rect x="{x:.1f}" y="{foot - 30 * share:.1f}" width="{wide - 1:.1f}" height="{30 * share:.1f}"/>'
        for x, share in zip(lefts.tolist(), shares.tolist(), strict=True)
        if share
    )
    x = max(4 + scale * (middle - low), 4)
    name = row.name if len(row.name) <= 38 else f"{row.name[:37]}…"
    return (
        f"<g><title>{escape(row.name)}: median {middle:.2f} of {len(row.cosines)} items</title>"
        f'<line class="axis" x1="0" x2="{WIDTH}" y1="{foot}" y2="{foot}"/><g fill="{fill}">{bars}</g>'
        f'<line class="middle" x1="{x:.1f}" x2="{x:.1f}" y1="{foot}" y2="{foot - 33}"/>'
        f'<text x="4" y="{foot - 37}">{escape(name)}</text>'
        f'<text class="soft" x="{WIDTH - 4}" y="{foot - 37}" text-anchor="end">median {middle:.2f}</text></g>'
    )


def _map(one: Explained, spread: ItemMap) -> str:
    every = np.concatenate([spread.places, spread.interests])
    low, high = every.min(0), every.max(0)
    scale = min((WIDTH - 24) / max(float(high[0] - low[0]), 1e-9), (MAP - 24) / max(float(high[1] - low[1]), 1e-9))
    middle = (low + high) / 2

    def at(places: Floats) -> list[tuple[float, float]]:
        shifted = (places - middle) * scale
        return [(WIDTH / 2 + x, MAP / 2 - y) for x, y in shifted.tolist()]

    points = "".join(f"M{x:.0f} {y:.0f}h0" for x, y in sorted({(round(x), round(y)) for x, y in at(spread.places)}))
    drawn = [f'<path class="points" d="{points}"/>']
    most = one.weights.argmax(0).tolist()
    for k, recalled in enumerate(one.recalled):
        shown = [found.item for found in recalled[:TOP]]
        drawn += _circles("recalled", 3.4, k, shown, at(spread.of([item.id for item in shown])))
    for k in range(len(one.names)):
        own = [item for item, strongest in zip(one.behaviors, most, strict=True) if strongest == k]
        drawn += _circles("behavior", 4.2, k, own, at(spread.of([item.id for item in own]))) if own else []
    ids = [item.id for item in one.behaviors] + [found.item.id for part in one.recalled for found in part[:TOP]]
    stars, others = (np.array(at(places), np.float64) for places in (spread.interests, spread.of(ids)))
    size = (8.0 * len(str(len(stars))), 12.0)
    labels = label_places(stars * _UP, others * _UP, size, 9.0, np.array([[0.0, -MAP], [WIDTH, 0.0]])) * _UP
    for k, ((x, y), (left, down)) in enumerate(zip(stars.tolist(), labels.tolist(), strict=True)):
        star = f'<path class="interest" style="--i:var(--i{k})" d="{_star(x, y)}"/>'
        drawn.append(
            f"<g><title>{escape(one.title(k))}</title>{_leader(x, y, left, down, k)}{star}"
            f'<text class="number" x="{left:.1f}" y="{down + 4.3:.1f}" text-anchor="middle">{k + 1}</text></g>'
        )
    label = f"map of items with the interests of {one.label}"
    return f'<svg viewBox="0 0 {WIDTH} {MAP}" role="img" aria-label="{escape(label)}">{"".join(drawn)}</svg>'


def _leader(x: float, y: float, left: float, down: float, interest: int) -> str:
    """A line from a star to its number, where that found no room near."""
    if np.hypot(left - x, down - y) <= 22.5:
        return ""
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{left:.1f}" y2="{down:.1f}" stroke="var(--i{interest})" '
        'stroke-width="1"/>'
    )


def _circles(kind: str, r: float, interest: int, items: Sequence[Item], places: list[tuple[float, float]]) -> list[str]:
    return [
        f'<circle class="{kind}" style="--i:var(--i{interest})" cx="{x:.1f}" cy="{y:.1f}" r="{r}">'
        f"<title>{escape(item.title)}</title></circle>"
        for item, (x, y) in zip(items, places, strict=True)
    ]


def _star(x: float, y: float) -> str:
    angles = np.pi * (np.arange(10) / 5 - 0.5)
    lengths = np.where(np.arange(10) % 2 == 0, 9.0, 3.8)
    corners = zip((x + lengths * np.cos(angles)).tolist(), (y + lengths * np.sin(angles)).tolist(), strict=True)
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in corners) + "Z"
