"""Figures draw what their fonts have, and say in one line what none has; the map's numbers hide nothing."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from recbole_mind.analysis.explain.item_map import label_places
from recbole_mind.report import fonts, style
from recbole_mind.report.figure_files import png, svg

NOWHERE = "\U00100000\U00100001"  # of private use, in no font


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch):
    monkeypatch.setattr(fonts, "_said", set())


@style.drawn
def titled(text):
    figure = Figure(figsize=(3, 2), layout="constrained")
    axes = figure.subplots()
    axes.set_title(style.plain(text))
    axes.set_xticks([0, 1], [style.plain(text), "b"])
    return figure


def characters(family):
    return set(font_manager.get_font(font_manager.findfont(FontProperties(family=[family]))).get_charmap())


def test_a_figure_takes_the_first_family_that_has_what_the_usual_one_lacks(monkeypatch):
    monkeypatch.setattr(fonts, "PREFERRED", ("cmr10", "STIXGeneral"))  # matplotlib brings both
    lacking = characters("STIXGeneral") - characters("DejaVu Sans") - characters("cmr10")
    letter = next(chr(code) for code in sorted(lacking) if fonts.visible(chr(code)))
    figure = titled(f"a {letter}")
    assert figure.axes[0].title.get_fontfamily() == ["DejaVu Sans", "STIXGeneral"]
    assert figure.axes[0].get_xticklabels()[0].get_fontfamily() == ["DejaVu Sans", "STIXGeneral"]
    assert titled("plain").axes[0].title.get_fontfamily() == ["DejaVu Sans"]
    with monkeypatch.context() as patch:
        patch.setattr(fonts, "_installed", lambda: iter(()))
        boxes = titled(f"a {letter}")
    assert png(figure) != png(boxes)
    assert svg(figure) != svg(boxes)


def test_chinese_is_drawn_where_a_font_for_it_is_installed(caplog):
    fonts._look_again()
    here = {font.name for font in font_manager.fontManager.ttflist}
    if not any(0x4E2D in characters(name) for name in fonts.PREFERRED if name in here):
        pytest.skip("no font with Chinese is installed; fonts-noto-cjk has one")
    family = titled("用户 中文").axes[0].title.get_fontfamily()
    assert len(family) == 2
    assert {ord(letter) for letter in "用户中文"} <= characters(family[1])
    assert not caplog.records


def test_what_no_font_has_is_said_in_one_line(caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            figure = titled(f"a {NOWHERE}")
            png(figure)
            svg(figure)
    (said,) = caplog.records
    assert said.levelno == logging.WARNING
    assert "no installed font has 2 of their characters" in said.message
    assert "install fonts-noto-core, or another font that has them" in said.message


@pytest.mark.parametrize(
    ("letter", "package"), [("中", "fonts-noto-cjk"), ("한", "fonts-noto-cjk"), ("🚀", "fonts-symbola")]
)
def test_the_package_to_install_is_named(letter, package, caplog, monkeypatch):
    monkeypatch.setattr(fonts, "_installed", lambda: iter(()))
    titled(letter)
    assert f"install {package}, or" in caplog.messages[0]


def test_joiners_and_selectors_take_no_box():
    assert style.plain("a\u200db\ufe0fc\x07") == "abc"
    assert style.short("中文标题很长", 7) == "中文标…"
    assert style.short("a title", 7) == "a title"


def overlapping(one, other, reach):
    return bool((np.abs(one - other) < np.asarray(reach) - 1e-3).all())


@pytest.mark.parametrize("spread", [0.0, 1.0, 8.0, 60.0])
@pytest.mark.parametrize("number", [2, 4, 7])
def test_numbers_on_the_map_hide_neither_each_other_nor_a_star(number, spread):
    stars = 150 + spread * np.random.default_rng(number).standard_normal((number, 2))
    size, radius, frame = (8.0, 11.0), 9.0, np.array([[0.0, 0.0], [400.0, 300.0]])
    places = label_places(stars, stars[:0], size, radius, frame)
    for k, place in enumerate(places):
        assert not any(overlapping(place, other, size) for other in places[:k])
        assert not any(overlapping(place, star, radius + np.array(size) / 2) for star in stars)
        assert (place >= 0).all()
        assert (place <= frame[1]).all()
        assert np.linalg.norm(place - stars[k]) < 100


def test_a_number_leaves_a_behaviour_in_sight_and_stays_within_the_frame():
    star, size, frame = np.array([[50.0, 50.0]]), (8.0, 10.0), np.array([[0.0, 0.0], [100.0, 100.0]])
    free = label_places(star, star[:0], size, 9.0, frame)
    beside = label_places(star, free, size, 9.0, frame)
    assert not overlapping(beside[0], free[0], np.array(size) / 2)
    corner = label_places(np.array([[95.0, 95.0]]), star[:0], size, 9.0, frame)[0]
    assert (corner + np.array(size) / 2 <= 100).all()
