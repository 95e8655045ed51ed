"""A training window's settings: moments, days and what is refused."""

from __future__ import annotations

import math

import pytest

from recbole_mind import InputError
from recbole_mind.config import window
from recbole_mind.training import build
from tests.support.data import small_settings

DAY = 86400
START = 1717200000  # 2024-06-01T00:00 UTC


@pytest.mark.parametrize(
    ("end", "seconds"),
    [
        ("2024-06-05T06:00", START + 4 * DAY + 21600),
        ("2024-06-05 06:00:00Z", START + 4 * DAY + 21600),
        ("2024-06-05T06:00:00+02:00", START + 4 * DAY + 14400),
        (1.5, 1.5),
    ],
)
def test_a_moment_is_read_in_utc(end, seconds):
    assert window.moment(end, 1.0) == seconds
    assert window.moment(end, 1000.0) == (seconds if end == 1.5 else seconds * 1000)


def test_a_day_ends_just_before_the_next():
    end = window.moment("2024-06-05", 1.0)
    assert end < START + 5 * DAY == math.nextafter(end, math.inf)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"window_days": 0}, ["window_days: 0", "above 0"]),
        ({"window_days": True}, ["window_days: True"]),
        ({"window_days": "three"}, ["window_days: 'three'", "number"]),
        ({"window_days": math.inf}, ["window_days: inf"]),
        ({"window_unit": "h"}, ["window_unit: 'h'", "s, ms, us, ns, d"]),
        ({"window_end": "yesterday"}, ["window_end: 'yesterday'", "2024-05-31"]),
        ({"window_end": "2024-13-01"}, ["window_end: '2024-13-01'"]),
        ({"window_end": True}, ["window_end: 'True'"]),
        ({"item_pool": 3}, ["item_pool: 3", "one a line"]),
        ({"window_dayz": 3}, ["unknown key 'window_dayz'", "did you mean 'window_days'"]),
        ({"window_days": 3, "benchmark_filename": ["a", "b", "c"]}, ["window_days", "benchmark_filename"]),
        ({"item_pool": "x", "benchmark_filename": ["a", "b", "c"]}, ["item_pool", "benchmark_filename"]),
    ],
    ids=str,
)
def test_a_bad_window_is_refused_in_one_line(small, bad, words):
    with pytest.raises(InputError) as error:
        build.build_config("MIND", "small", overrides=small_settings(small) | bad)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
