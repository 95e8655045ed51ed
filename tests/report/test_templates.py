"""Templates escape what they are given, static files are whole, and the palette is one in CSS and in figures."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from jinja2 import UndefinedError
from matplotlib.figure import Figure

from recbole_mind.report import figure_page, style, templates
from recbole_mind.report.figure_files import svg
from recbole_mind.report.figure_page import Part
from tests import ROOT
from tests.support.pages import HOSTILE, Page

PACKAGE = ROOT / "recbole_mind"
TEMPLATES = sorted(PACKAGE.glob("**/templates/*.html"))
STATIC = sorted(PACKAGE.glob("**/static/*"))


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def filled(source, **values):
    return templates._ENVIRONMENT.from_string(source).render(values)


def test_values_are_escaped_and_none_may_be_missing():
    page = Page(filled('<p title="{{ a }}">{{ a }}</p>', a=HOSTILE))
    assert not page.open
    assert page.texts == [("p", HOSTILE)]
    with pytest.raises(UndefinedError, match="'b' is undefined"):
        filled("{{ b }}")


def test_a_page_has_its_title_twice_and_loads_nothing():
    page = Page(templates.render("report/templates/base.html", title=HOSTILE))
    assert not page.open
    assert (page.links, page.seen.count("script"), page.seen.count("style")) == ([], 0, 1)
    assert {("title", HOSTILE), ("h1", HOSTILE)} <= set(page.texts)


@pytest.mark.parametrize("path", STATIC, ids=name_of)
def test_a_static_file_is_whole_loads_nothing_and_is_used(path):
    text = path.read_text("utf-8")
    assert templates.static(name_of(path)) == text
    assert not re.search(r"</(script|style)|@import|url\(|https?:", text)
    for opening, closing in ("{}", "()", "[]"):
        assert text.count(opening) == text.count(closing)
    assert [one for one in TEMPLATES if f'static("{name_of(path)}")' in one.read_text("utf-8")]


def test_every_variable_of_the_styles_is_given_a_value():
    common = "".join(templates.static(f"report/static/{name}.css") for name in ("page", "figures"))
    for path in STATIC:
        if path.suffix == ".css":
            text = path.read_text("utf-8")
            used = set(re.findall(r"var\((--\w+)\)", text))
            given = set(re.findall(r"(--\w+):", text + common))
            assert used - given <= {"--i", "--c", "--w", "--columns", "--values", "--wide"}, path  # set on elements


def test_figures_and_pages_have_the_same_colours():
    text = "".join(templates.static(f"report/static/{name}.css") for name in ("page", "figures"))
    for colour, name in figure_page.VARIABLES.items():
        light, dark = re.findall(rf"--{name}: (#[0-9a-f]+);", text)
        assert light == colour
        assert dark != colour
    assert set(figure_page.VARIABLES) >= {*style.OKABE_ITO, *style.STEPS, style.INK, style.PAGE, style.BAR}


@style.drawn
def hinted(words):
    figure = Figure(figsize=(3, 2), layout="constrained")
    axes = figure.subplots()
    (bar,) = axes.barh([0], [1], color=style.BLUE)
    style.hint(bar, words[:1])
    style.hint(axes.scatter(range(len(words)), range(len(words)), color=style.legible(style.OKABE_ITO[3])), words)
    axes.set_title(style.plain(words[0]))
    return figure


@pytest.mark.parametrize("words", [[HOSTILE], ['a "quoted" one', "it's", HOSTILE], ["a", "", "\u200d\n"]])
def test_hints_are_titles_and_only_the_drawing_is_coloured(words):
    drawing = svg(hinted(words))
    part = Part("p", HOSTILE, HOSTILE, [drawing], HOSTILE)
    text = filled('{% from "report/templates/figures.html" import figures %}{{ figures([part]) }}', part=part)
    page = Page(text)
    assert not page.open
    assert [said for tag, said in page.texts if tag == "title"] == [
        words[0],
        *filter(str.strip, map(style.plain, words)),
    ]
    assert {("figcaption", HOSTILE), ("p", HOSTILE)} <= set(page.texts)
    assert not {"a", "b", "script", "style", "metadata"} & set(page.seen)
    assert {link[:2] for link in page.links} == {"#p"}
    shown = re.sub(r"<title>.*?</title>|aria-label=\"[^\"]*\"", "", text)
    assert "var(--c0)" in shown
    assert "color-mix(in srgb, var(--c3) 65%, var(--text))" in shown
    assert style.BLUE not in shown


def test_panels_stand_alone_or_under_a_heading():
    drawing = svg(hinted(["a"]))
    parts = [Part(name, name, "", [drawing] * count) for name, count in (("a", 1), ("b", 1), ("c", 2), ("d", 1))]
    text = filled('{% from "report/templates/figures.html" import figures %}{{ figures(parts) }}', parts=parts)
    page = Page(text)
    assert not page.open
    assert (page.seen.count("section"), page.seen.count("figure"), page.seen.count("svg")) == (3, 5, 5)
    assert [said for tag, said in page.texts if tag in ("figcaption", "h2")] == ["a", "b", "c", "d"]
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))


def test_templates_need_neither_matplotlib_nor_torch():
    code = (
        "import sys; from recbole_mind.report import templates\n"
        "templates.render('report/templates/base.html', title='t')\n"
        "assert not {'matplotlib', 'numpy', 'torch', 'recbole'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
