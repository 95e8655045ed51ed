"""Explained histories as one page that loads nothing: a picker, tables and figures. Without scripts it shows all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recbole_mind.analysis.explain import figures
from recbole_mind.analysis.explain.case_study import Explained
from recbole_mind.analysis.explain.item_map import ItemMap
from recbole_mind.report import style
from recbole_mind.report.figure_files import svg
from recbole_mind.report.figure_page import Part, coloured
from recbole_mind.report.templates import render
from recbole_mind.util.format import number

TOP, MERGED = 8, 20  # items of an interest, and of all together, that are listed
_NEAR = (
    "Cosine of the items that each interest recalls to that interest; of the other rows' items to the nearest of the "
    "interests. A bar is a share of the row's items (the first with all below), a tick their median. After Figure 6 of "
    "the MIND paper."
)


def page(explained: Sequence[Explained], maps: Sequence[ItemMap | None], title: str, statement: str) -> str:
    """The whole page.

    Args:
        explained: histories, in the order of the picker; at least one.
        maps: of each; ``None`` for one without interests.
        title: of the page.
        statement: what is shown and how it was chosen.
    """
    return render(
        "analysis/explain/templates/explain.html",
        title=title,
        statement=statement,
        histories=[_view(one, f"h{place}", maps[place]) for place, one in enumerate(explained)],
        top=TOP,
        most=MERGED,
        number=number,
    )


def _view(one: Explained, name: str, items: ItemMap | None) -> dict[str, Any]:
    """What the page shows of a history beside its data."""
    named = [name for name in one.names if name]
    return {
        "one": one,
        "option": f"{one.label}: {' | '.join(named)}" if named else one.label,
        "facts": _facts(one),
        "colours": [coloured(colour) for colour in style.colours(len(one.names))],
        "weights": one.weights.tolist(),
        "highest": max(float(one.weights.max(initial=0.0)), 1e-12),
        "charts": _charts(one, name, items),
    }


def _facts(one: Explained) -> str:
    L, K = len(one.behaviors), len(one.names)
    facts = [f"{L} behaviour{'s' * (L != 1)} read", f"{K} interest{'s' * (K != 1)}"]
    if one.followed is not None:
        ranks = [rank for rank, recalled in enumerate(one.merged, 1) if recalled.item.id == one.followed.id]
        where = f"recalled as number {ranks[0]}" if ranks else f"not among the {len(one.merged)} recalled"
        facts.append(f"next in the data came “{one.followed.title}”, {where}")
    return "; ".join(facts) + "."


def _charts(one: Explained, name: str, items: ItemMap | None) -> list[Part]:
    if not one.names:
        return []
    near = svg(figures.similarity(one, width=style.NARROW, titled=False))
    label = f"cosines of the items recalled for {one.label}"
    charts = [Part(f"{name}near", "How near the recalled items lie", _NEAR, [near], label)]
    if items is not None:
        read = (
            "Stars are the interests, hollow circles the behaviours, each in the colour of the interest that takes "
            f"most of it, full shapes the {figures.RECALLED} best items of each interest, grey dots others of the "
            "catalogue. The directions are the two in which these items differ most; they hold "
            f"{items.held:.0%} of the variance."
        )
        drawn = svg(figures.map_of(one, items, width=style.NARROW, titled=False))
        label = f"map of items with the interests of {one.label}"
        charts.append(Part(f"{name}map", "The interests among items", read, [drawn], label))
    return charts
