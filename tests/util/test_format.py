"""How figures and labels are written."""

import re

import pytest

from recbole_mind.util import format as written


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.04321987, "0.0432"),
        (99.99, "99.9900"),
        (100, "100.0"),
        (1234.56, "1,234.6"),
        (float("nan"), "nan"),
        (-0.5, "-0.5000"),
    ],
)
def test_a_metric_has_four_decimals_unless_it_is_large(value, text):
    assert written.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, written.EMPTY), (0.04, "0.0"), (9.96, "10.0"), (10, "10"), (1234.5, "1,234")]
)
def test_seconds_in_a_table(value, text):
    assert written.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 s"), (99, "99 s"), (100, "2 min"), (5940, "99 min"), (6000, "1 h 40 min"), (7500, "2 h 05 min")],
)
def test_a_time_in_words(value, text):
    assert written.duration(value) == text


def test_nothing_of_a_label_is_markup():
    label = "a|b\n<b>*x*</b> [l](u) `c` #1"
    found = written.md(label)
    assert "\n" not in found
    assert re.sub(r"\\(.)", r"\1", found) == " ".join(label.split())
    assert re.findall(r"(?<!\\)[|<>*\[\]`#]", found) == []
    assert written.md_line(["a", "b"]) == "| a | b |"
