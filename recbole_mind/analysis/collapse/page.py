"""A report on interests in words: the lines of its tables, ``report.md``, ``report.html`` and the figures beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from recbole_mind.analysis.collapse import figures
from recbole_mind.layers.interest_statistics import COLLAPSED, ONE_ITEM
from recbole_mind.report import figure_set
from recbole_mind.report.figure_page import Part
from recbole_mind.report.figure_set import Kind
from recbole_mind.report.templates import render
from recbole_mind.util import json_text
from recbole_mind.util.format import EMPTY, md, md_line

Report = Mapping[str, Any]
FIGURES = ("interests", "by-interest", "categories", "coverage", "recency", "gaps")  # names of files


class Line(NamedTuple):
    """A figure of the report: what it is called, its value, the baseline's or ``""``, and what it means."""

    name: str
    value: str
    baseline: str
    meaning: str


def title(report: Report) -> str:
    """What was measured."""
    return f"Interests of {report['model']} on {report['dataset']}"


def statement(report: Report) -> str:
    """How, in a sentence."""
    masked = "kept out of the lists" if report["mask_history"] else "not masked"
    return f"{report['users']:,} test users; lists of {report['n']} items by exact search, history {masked}."


def lines(report: Report) -> dict[str, list[Line]]:
    """The figures by section; those that are not defined are not there."""
    sections = {"Do the interests collapse?": _collapse(report)}
    if "categories" in report:
        sections["Do they follow categories?"] = _following(report["categories"])
    sections["What do the lists hold?"] = _lists(report)
    return sections


def _collapse(report: Report) -> list[Line]:
    found = report["interests"]
    lines = [
        Line("active interests", _spread(found["active"], 2), "", f"of {report['K']} (K); mean ± sd over users"),
        Line(
            "effective number",
            _spread(found["effective"], 2),
            "",
            "exp of the entropy of the shares of the history that the interests take; 1: one takes all",
        ),
    ]
    if found["cosine"]["users"]:
        users = f"{found['cosine']['users']:,} users with two interests or more"
        lines += [
            Line("pairwise cosine", _spread(found["cosine"], 3), "", f"mean over a user's pairs; {users}"),
            Line(
                "users all alike",
                _percent(found["alike"]["share"]),
                "",
                f"of them, all their interests within cosine {COLLAPSED}",
            ),
        ]
    if found["one_item"]["interests"]:
        meaning = f"of {found['one_item']['interests']:,} interests of users with more behaviours than interests, "
        meaning += f"those with over {ONE_ITEM:.0%} of their weight on one behaviour"
        lines.append(Line("one-item interests", _percent(found["one_item"]["share"]), "", meaning))
    return lines


def _following(found: Mapping[str, Any]) -> list[Line]:
    about = f"'{found['field']}', {found['values']:,} values; an item counts as the rarest it has"
    if not found["ami"]["users"]:
        meaning = f"{about}; no user has two interests, two categories and one of these twice"
        return [Line("agreement", EMPTY, "", meaning)]
    users = f"{found['ami']['users']:,} users with two interests, two categories and one of these twice"
    return [
        Line("adjusted mutual information", _spread(found["ami"], 3), "", f"0: chance, 1: the same; {about}"),
        Line("normalised mutual information", _spread(found["nmi"], 3), "", f"above 0 by chance already; {users}"),
        Line("… of chance", _spread(found["chance"], 3), "", "what assignments with the same sizes have on average"),
    ]


def _lists(report: Report) -> list[Line]:
    n, own, beside = report["n"], report["lists"], report.get("baseline")
    against = "" if beside is None else beside["model"]

    def line(name: str, key: str, shown: Callable[[Any], str], meaning: str) -> Line:
        return Line(name, shown(own[key]), "" if beside is None else shown(beside[key]), meaning)

    lines = [line(f"recall@{n}", "recall", lambda value: f"{value:.4f}", "share of a user's targets in the list")]
    if "distinct" in own:
        lines += [
            line("categories", "distinct", lambda value: _spread(value, 1), f"different ones among the {n}"),
            line("their entropy", "entropy", lambda value: _spread(value, 2), "in nats; 0: all of one category"),
        ]
    if beside is not None and "more_categories" in beside:
        shares = beside["more_categories"]
        text = f"{_percent(shares['more'])} / {_percent(shares['equal'])} / {_percent(shares['fewer'])}"
        lines.append(Line("more / as many / fewer", text, "", f"users by their categories against {against}'s"))
    if "overlap" in own:
        meaning = f"share that two interests' lists have in common (Jaccard); {own['overlap']['users']:,} users"
        lines.append(Line("lists' overlap", _percent(own["overlap"]["jaccard"]), "", meaning))
    return lines


def interest_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table by interest."""
    kinds = {
        "users": "users who have it",
        "history": "of the history",
        "listed": f"of the top {report['n']}",
        "hits": "of the hits",
        "one_item": "one-item",
    }
    kinds = {key: head for key, head in kinds.items() if any(key in row for row in report["by_interest"])}
    rows = [
        [str(row["interest"] + 1), *(_percent(row[key]) if key in row else EMPTY for key in kinds)]
        for row in report["by_interest"]
    ]
    return ["interest", *kinds.values()], rows


def _spread(found: Mapping[str, Any], decimals: int) -> str:
    return f"{found['mean']:.{decimals}f} ± {found['sd']:.{decimals}f}" if found["users"] else EMPTY


def _percent(share: float) -> str:
    return f"{share:.1%}"


# -- files --------------------------------------------------------------------------------------------------------


def _kinds(report: Report) -> list[Kind]:
    """The figures that the report has."""
    spreads = [name for name in figures.SPREADS if report["interests"][name]["users"]]
    read = (
        "A bar is a share of users. Cosines near 1: the interests of a user are one interest under several names; "
        "an effective number near 1: one interest takes the whole history."
    )
    kinds = [Kind("interests", "How users spread", read, _drawing(figures.spreads, report), spreads)]
    if report["K"] > 1:
        read = "What each interest takes of the histories, and what it brings of the lists and of the hits."
        kinds.append(Kind("by-interest", "By interest", read, _drawing(figures.by_interest, report)))
    if report.get("categories", {}).get("ami", {}).get("users"):
        read = (
            "A bar is a share of users. 1: behaviours of one category go to one interest, others to others; 0: "
            "as a random assignment with the same sizes does."
        )
        kinds.append(Kind("categories", "Interests and categories", read, _drawing(figures.agreement, report)))
    if "distinct" in report["lists"]:
        read = f"How many different categories a user's top {report['n']} holds; a bar is a share of users."
        kinds.append(Kind("coverage", "Categories in the lists", read, _drawing(figures.coverage, report)))
    if "recency" in report:
        read = (
            "What share of its weights an interest gives to each of the newest behaviours, of a history of full length."
        )
        kinds.append(Kind("recency", "How much behaviours count", read, _drawing(figures.recency, report)))
    if "gaps" in report:
        read = "What multiplies a behaviour's weight by its age: the time between it and the newest one."
        kinds.append(Kind("gaps", "How the time between them counts", read, _drawing(figures.gaps, report)))
    return kinds


def _drawing(draw: Callable[..., Figure], report: Report) -> Callable[[Sequence[str], float], Figure]:
    """A figure of a report as a kind of figure draws it; one alone has no names of panels."""

    def drawn(panels: Sequence[str], width: float) -> Figure:
        return draw(report, panels, width=width) if any(panels) else draw(report, width=width)

    return drawn


def write(report: Report, folder: str | Path) -> list[Path]:
    """Write ``report.json``, ``report.md``, ``report.html`` and ``figures/*.png``; the same report, the same bytes.

    A figure of an earlier report in ``folder`` that this one does not give is removed.

    Raises:
        InputError: the folder cannot be written.
    """
    kinds = _kinds(report)
    files, parts = figure_set.drawn(kinds, title(report))
    contents: dict[str, bytes | str] = {"report.json": json_text.to_json(dict(report)), **files}
    contents["report.md"] = to_markdown(report, {kind.name: kind.title for kind in kinds})
    contents["report.html"] = to_html(report, parts)
    return figure_set.write(folder, contents, FIGURES)


def to_markdown(report: Report, titles: Mapping[str, str]) -> str:
    """The report for GitHub; ``titles`` are those of the PNGs by name."""
    beside = report.get("baseline")
    text = [f"# {md(title(report))}", statement(report)]
    for section, rows in lines(report).items():
        compared = beside is not None and any(line.baseline for line in rows)
        names = [md(str(report["model"])), md(f"{beside['model']} (baseline)")] if beside and compared else ["value"]
        table = [md_line(["", *names, "meaning"]), md_line(["---", *["---:"] * len(names), "---"])]
        for line in rows:
            values = [line.value, line.baseline][: len(names)]
            table.append(md_line([md(line.name), *values, md(line.meaning)]))
        text += [f"## {section}", "\n".join(table)]
    heads, each = interest_table(report)
    text += ["## By interest", "\n".join([md_line(heads), md_line(["---:"] * len(heads)), *map(md_line, each)])]
    text += [f"![{heading}](figures/{name}.png)" for name, heading in titles.items()]
    return "\n\n".join(text) + "\n"


def to_html(report: Report, parts: Sequence[Part]) -> str:
    """The whole page: it loads nothing, and follows the reader's light or dark scheme."""
    heads, rows = interest_table(report)
    return render(
        "analysis/collapse/templates/report.html",
        title=title(report),
        statement=statement(report),
        model=str(report["model"]),
        baseline=str(report["baseline"]["model"]) if "baseline" in report else "",
        sections=lines(report),
        heads=heads,
        rows=rows,
        parts=parts,
    )
