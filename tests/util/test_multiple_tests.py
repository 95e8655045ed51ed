"""Corrections of several p-values."""

import math

import pytest

from recbole_mind.errors import InputError
from recbole_mind.util.multiple_tests import holm


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        ([0.03], [0.03]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.02, 0.02, 0.5], [0.06, 0.06, 0.5]),
        ([0.6, 0.9, 0.4], [1, 1, 1]),
        ([0.02, 0.011], [0.022, 0.022]),
    ],
)
def test_holm_by_hand(given, expected):
    assert holm(given) == pytest.approx(expected)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_probability(p):
    with pytest.raises(InputError, match="allowed: 0 to 1"):
        holm([0.5, p])
