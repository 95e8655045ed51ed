"""JSON that any reader reads."""

import json
import math

import numpy as np
import pytest

from recbole_mind.config import loading
from recbole_mind.util.json_text import plain, same, to_json


def test_settings_become_what_json_holds():
    given = {1: (1, 2.5), "set": {3}, "numpy": np.float64(0.5), "whole": np.int64(3), "yes": True, "none": None}
    assert plain(given) == {"1": [1, 2.5], "set": [3], "numpy": 0.5, "whole": 3, "yes": True, "none": None}
    assert type(plain(np.int64(3))) is int
    assert plain([math.inf, -math.inf]) == ["inf", "-inf"]
    assert plain(ValueError("x")) == "x"


def test_what_is_written_is_strict_and_read_back_as_a_setting(tmp_path):
    text = to_json({"p": math.inf, "found": math.nan, "K": 3})
    assert json.loads(text, parse_constant=pytest.fail) == {"p": "inf", "found": "nan", "K": 3}
    assert text.endswith("}\n")
    (tmp_path / "a.json").write_text(to_json({"p": math.inf, "learning_rate": 1e-5}))
    found = loading.read_file(tmp_path / "a.json")
    assert float(found["p"]) == math.inf
    assert found["learning_rate"] == 1e-5


def test_values_that_mean_the_same_are_the_same():
    assert same(1) == same(1.0) == same(np.int64(1))
    assert same(math.inf) == same("inf")
    assert len({same(1), same(True), same("1"), same(None), same([1])}) == 5
