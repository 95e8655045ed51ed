"""Search spaces: what a file may say, which settings apply, what each distribution can give."""

from __future__ import annotations

import math

import pytest

from recbole_mind import InputError
from recbole_mind.space import Parameter, parse, read_text, same

SEVERAL = {"K": {"int": [1, 3]}, "p": {"choice": [0, math.inf], "when": {"K": [2, 3]}}}


def test_values_that_mean_the_same_have_one_text():
    assert same(1) == same(1.0) != same(True)
    assert same(math.inf) == same("inf")
    assert same([1, 2]) != same([2, 1])


def test_conditions_decide_what_applies():
    space = parse({"s": {"choice": [1], "when": {"form": ["scale"], "model": "MIND"}}, **SEVERAL})
    assert space.outside() == {"form", "model"}
    assert space.prune({"K": 1, "p": 0, "s": 1}) == {"K": 1}
    assert space.prune({"K": 2, "p": 0}) == {"K": 2, "p": 0}
    applies = type(space)(space.parameters, {"MIND": {"form": "scale", "model": "MIND"}})
    assert applies.prune({"K": 1, "s": 1}) == {"s": 1, "K": 1}
    assert type(space)(space.parameters, {"SASRec": {"form": "scale", "model": "SASRec"}}).prune({"s": 1}) == {}


def test_a_condition_looks_at_the_settings_of_the_model_that_is_drawn():
    parsed = parse({"s": {"choice": [1, 2], "when": {"K": [4]}}, "model": {"choice": ["A", "B"]}})
    space = type(parsed)(parsed.parameters, {"A": {"K": None}, "B": {"K": 4}})
    assert list(space.combinations()) == [{"model": "A"}, {"model": "B", "s": 1}, {"model": "B", "s": 2}]


def test_a_condition_on_what_does_not_apply_does_not_hold():
    space = parse({"c": {"choice": [1], "when": {"b": [1]}}, "b": {"choice": [1], "when": {"a": [1]}},
                   "a": {"choice": [1, 2]}})  # fmt: skip
    assert space.names == ("a", "b", "c")  # each behind what it asks for
    assert space.prune({"a": 2, "b": 1, "c": 1}) == {"a": 2}
    assert space.prune({"a": 1, "b": 1, "c": 1}) == {"a": 1, "b": 1, "c": 1}


def test_combinations_by_hand():
    found = list(parse(SEVERAL).combinations())
    assert found == [{"K": 1}, {"K": 2, "p": 0}, {"K": 2, "p": math.inf}, {"K": 3, "p": 0}, {"K": 3, "p": math.inf}]
    with pytest.raises(InputError, match="exhaustive cannot visit every value of 'x'; allowed: choice, int, not unif"):
        list(parse({"x": {"uniform": [0, 1]}}).combinations())


def test_examples_hold_every_end_where_it_applies():
    space = parse({**SEVERAL, "x": {"loguniform": [0.1, 10]}})
    points = list(space.examples())
    assert [(name, point[name]) for name, point in points] == [
        ("K", 1), ("K", 3), ("x", 0.1), ("x", 10.0), ("p", 0), ("p", math.inf),
    ]  # fmt: skip
    assert all(point["K"] == 2 for name, point in points if name == "p")


@pytest.mark.parametrize(
    ("parameter", "drawn", "value"),
    [
        (Parameter("x", "uniform", (0.0, 1.0)), 0.123456789, 0.123457),
        (Parameter("x", "uniform", (0.0, 0.1)), 0.1000001, 0.1),
        (Parameter("x", "quniform", (0.05, 1.0, 0.1)), 0.30000000000000004, 0.3),
        (Parameter("x", "quniform", (0.05, 1.0, 0.1)), 0.0, 0.05),
        (Parameter("x", "quniform", (8, 24, 8)), 16.000000000000004, 16),
        (Parameter("x", "qloguniform", (1.0, 9.0, 2.0)), 10.0, 9),
        (Parameter("x", "int", (1, 7)), 8.0, 7),
        (Parameter("x", "int", (1, 7)), 3.0, 3),
        (Parameter("x", "choice", ("a", math.inf)), 1, math.inf),
    ],
)
def test_what_is_drawn_becomes_a_setting(parameter, drawn, value):
    assert parameter.decode(drawn) == value
    assert type(parameter.decode(drawn)) is type(value)
    assert parameter.decode(parameter.encode(value)) == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "space: it is empty"),
        (None, "space: None is not allowed"),
        ({"K": 3}, "space: K: 3 is not allowed"),
        ({"K": {}}, "space: K: {} is not allowed"),
        ({"K": {"when": {"a": [1]}}}, "space: K: 0 distributions"),
        ({"K": {"choise": [1]}}, "space: K: the distribution 'choise' is unknown; did you mean 'choice'?"),
        ({"K": {"normal": [0, 1]}}, "the distribution 'normal' is unknown"),
        ({"K": {"choice": [1], "uniform": [0, 1]}}, "2 distributions"),
        ({"K": {"choice": []}}, "choice: [] is not allowed"),
        ({"K": {"choice": [1, 1.0]}}, "names one twice"),
        ({"K": {"choice": [math.nan]}}, "nan is not allowed as a value"),
        (
            {"K": {"uniform": [2, 1]}},
            "space: K: uniform: [2, 1] is not allowed: the lower bound is not below the upper",
        ),
        ({"K": {"uniform": [1, 1]}}, "the lower bound is not below"),
        ({"K": {"uniform": [0, math.inf]}}, "uniform: [0, inf] is not allowed: a bound is not finite"),
        ({"K": {"uniform": [math.nan, 1]}}, "a bound is not finite"),
        ({"K": {"uniform": ["0", 1]}}, "allowed: [low, high], numbers"),
        ({"K": {"uniform": [0]}}, "allowed: [low, high], numbers"),
        ({"K": {"loguniform": [0, 1]}}, "needs a lower bound above 0"),
        ({"K": {"loguniform": [-8, 0]}}, "a value, no exponent"),
        ({"K": {"quniform": [0, 1]}}, "allowed: [low, high, step], numbers"),
        ({"K": {"quniform": [0, 1, 0]}}, "the step is not within the bounds"),
        ({"K": {"int": [1, 2.5]}}, "whole numbers"),
        ({"K": {"choice": [1], "when": [1]}}, "when: [1] is not allowed"),
        ({"K": {"choice": [1], "when": {"p": []}}}, "when: {'p': []} is not allowed"),
        ({"K": {"choice": [1], "when": {"K": [1]}}}, "it depends on itself"),
        ({"K": {"choice": [1], "when": {"x": [1]}}, "x": {"uniform": [0, 1]}}, "'x' must be a choice or an int"),
        ({"K": {"choice": [1], "when": {"x": [3]}}, "x": {"choice": [1, 2]}}, "3 is never drawn for 'x'"),
        ({"a": {"choice": [1], "when": {"b": [1]}}, "b": {"choice": [1], "when": {"a": [1]}}}, "go in a circle"),
    ],
)
def test_bad_spaces_get_one_line(content, message):
    with pytest.raises(InputError) as caught:
        parse(content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recbole_s_text_files(tmp_path):
    path = tmp_path / "hyper.test"
    path.write_text("learning_rate loguniform -8,0\n\nhidden ['[64,64]', '[128]']\n".replace("hidden", "hidden choice")
                    + "drop uniform 0.0, 0.5\nq quniform 1,9,2\nloss choice [CE, BPR]\n")  # fmt: skip
    space = parse(read_text(path))
    found = {each.name: (each.kind, each.values) for each in space.parameters}
    assert found["learning_rate"] == ("loguniform", (pytest.approx(math.exp(-8)), 1.0))
    assert found["hidden"] == ("choice", ("[64,64]", "[128]"))
    assert found["drop"] == ("uniform", (0.0, 0.5))
    assert found["q"] == ("quniform", (1.0, 9.0, 2.0))
    assert found["loss"] == ("choice", ("CE", "BPR"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("K choice __import__('os').system('touch pwned')", 'line 1: K: choice: "__import__'),
        ("K choice", "line 1: 'K choice' is not allowed; allowed: name kind values"),
        ("K loguniform 0,-8", "line 1: K: loguniform"),
        ("K loguniform 0,1e9", "the bounds are exponents of e"),
        ("K uniform 0,x", "line 1: K: uniform: [0, 'x'] is not allowed"),
        ("K normal 0,1", "line 1: K: the distribution 'normal' is unknown"),
        ("K choice [1]\nK choice [2]", "line 2: 'K' is there twice"),
    ],
)
def test_bad_lines_are_named_and_nothing_is_evaluated(tmp_path, line, message):
    path = tmp_path / "hyper.test"
    path.write_text(line)
    with pytest.raises(InputError) as caught:
        read_text(path)
    assert message in str(caught.value)
    assert "hyper.test" in str(caught.value)
    assert not (tmp_path / "pwned").exists()
