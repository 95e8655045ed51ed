"""The page of an experiment: what it says is what was found, and it loads nothing."""

import json
from html import unescape

from recbole_mind.analysis.ab_test import comparison, page
from recbole_mind.analysis.ab_test.words import difference_words, rate_words
from tests.analysis.ab_test.test_comparison import logged
from tests.support.pages import Page


def test_the_page_says_what_was_found(tmp_path):
    found = comparison.compare(logged(names=("a", "<b>", "c")), control="a")
    paths = page.write(found, tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in paths} == {
        "experiment.html", "experiment.json", "figures/differences.png", "figures/days.png",
    }  # fmt: skip
    text = (tmp_path / "experiment.html").read_text()
    read = Page(text)
    assert all(link.startswith("#") for link in read.links)
    assert "<b>" not in text
    said = unescape(text)
    for rate in comparison.RATES:
        for one in found.channels.values():
            assert rate_words(one, rate) in said
        for by_rate in found.differences.values():
            assert all(word in said for word in difference_words(by_rate[rate]))
    assert text.count('style="font-weight: bold"') == sum(
        one.p < 0.05 for by_rate in found.differences.values() for one in by_rate.values()
    )
    assert "3 repeated events" in text
    assert json.loads((tmp_path / "experiment.json").read_text())["control"] == "a"
    first = {path: path.read_bytes() for path in paths}
    page.write(found, tmp_path)
    assert first == {path: path.read_bytes() for path in paths}


def test_a_mismatch_stands_out(tmp_path):
    page.write(comparison.compare(logged(), control="a", shares={"a": 2, "b": 1, "c": 1}), tmp_path)
    assert '<p class="fault">sample-ratio mismatch' in (tmp_path / "experiment.html").read_text()


def test_one_channel_has_days_alone(tmp_path):
    page.write(comparison.compare(logged(), control="a"), tmp_path)
    page.write(comparison.compare(logged(names=("a",), rates=(0.1,))), tmp_path)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["days.png"]
    assert "Against" not in (tmp_path / "experiment.html").read_text()
