"""Search spaces: what a file may say, which settings apply, what each distribution can give."""

from __future__ import annotations

import math

import pytest

from recbole_mind import InputError
from recbole_mind.experiments.sweep.setting_types import check_curves, check_drawn, types
from recbole_mind.experiments.sweep.space import Parameter, parse, read_text
from recbole_mind.util.json_text import same

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


def test_a_condition_on_a_whole_number_does_not_go_through_every_one():
    space = parse({"K": {"int": [1, 2**40]}, "p": {"choice": [1], "when": {"K": [3, 4.0]}}})
    assert space.prune({"K": 4, "p": 1}) == {"K": 4, "p": 1}
    for value in (0, 2**40 + 1, 2.5, "3", True, math.inf):
        with pytest.raises(InputError, match=r"when: K: .* is never drawn for 'K'"):
            parse({"K": {"int": [1, 2**40]}, "p": {"choice": [1], "when": {"K": [value]}}})


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


# -- types ----------------------------------------------------------------------------------------------------------


def test_types_are_what_the_files_of_defaults_say():
    assert {"K": "a whole number", "p": "a number", "relu_layers": "a list", "adaptive_K": "True or False"}.items() <= (
        types("MIND").items()
    )
    assert types("SASRec")["hidden_size"] == "a whole number"
    assert types("SASRec")["hidden_act"] == "text"
    assert "noise_scale" not in types("DiffRec")  # 0.001, which RecBole says is whole


@pytest.mark.parametrize(
    ("model", "space", "words"),
    [
        (
            "MIND",
            {"K": {"uniform": [1, 4]}},
            r"K: uniform: \[1, 4\] draws fractions, and 'K' of MIND is a whole number",
        ),
        ("MIND", {"K": {"quniform": [1, 4, 0.5]}}, "allowed: {int: .low, high.}, {choice: .*}, or bounds and a step"),
        ("SASRec", {"hidden_size": {"loguniform": [8, 64]}}, "draws fractions, and 'hidden_size' of SASRec"),
        ("SASRec", {"hidden_size": {"choice": [32, 64.0]}}, "hidden_size: choice: 64.0 is not allowed for SASRec"),
        ("SASRec", {"hidden_size": {"choice": [True]}}, "True is not allowed for SASRec; allowed: a whole number"),
        ("SASRec", {"hidden_size": {"int": [0, 8]}}, r"int: \[0, 8\] is not allowed for SASRec; allowed: at least 1"),
        ("MIND", {"adaptive_K": {"int": [0, 1]}}, "draws numbers, and 'adaptive_K' of MIND is True or False"),
        ("SASRec", {"hidden_act": {"uniform": [0, 1]}}, "draws numbers, and 'hidden_act' of SASRec is text"),
        ("SASRec", {"hidden_act": {"choice": ["gelu", 1]}}, "choice: 1 is not allowed for SASRec; allowed: text"),
        (
            "SASRec",
            {"hidden_dropout_prob": {"choice": ["a"]}},
            "choice: 'a' is not allowed for SASRec; allowed: a number",
        ),
        ("SASRec", {"hidden_dropout_prob": {"uniform": [-0.5, 0.5]}}, "not allowed for SASRec; allowed: 0 to 1"),
        ("NeuMF", {"mlp_hidden_size": {"choice": [[64], 32]}}, "choice: 32 is not allowed for NeuMF; allowed: a list"),
    ],
)
def test_a_distribution_of_another_type_than_its_setting_is_refused(model, space, words):
    with pytest.raises(InputError, match=words) as error:
        check_drawn(parse(space).parameters, (model,))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "space"),
    [
        (
            "MIND",
            {"K": {"quniform": [1, 4, 1]}, "p": {"uniform": [0, 3]}, "sparse_updates": {"choice": ["auto", True]}},
        ),
        ("SASRec", {"hidden_size": {"choice": [32, "64"]}, "hidden_dropout_prob": {"uniform": [0, 1]}}),
        ("NeuMF", {"mlp_hidden_size": {"choice": ["[64,32]", [16]]}}),
        ("LightGCN", {"reg_weight": {"loguniform": [1e-6, 1e-3]}, "n_layers": {"int": [1, 3]}}),
    ],
)
def test_distributions_of_the_right_type_pass(model, space):
    check_drawn(parse(space).parameters, (model,))


def test_a_condition_says_which_models_a_distribution_is_for():
    space = {"dropout": {"uniform": [0, 2], "when": {"model": ["MIND"]}}, "model": {"choice": ["MIND", "SASRec"]}}
    with pytest.raises(InputError, match="not allowed for MIND; allowed: 0 to 1"):
        check_drawn(parse(space).parameters, ("MIND", "SASRec"))


def test_a_curves_values_are_of_their_settings_type():
    with pytest.raises(
        InputError, match=r"curves: hidden_size: 32\.5 is not allowed for SASRec; allowed: a whole number"
    ):
        check_curves({"hidden_size": (32, 32.5)}, "SASRec")
    check_curves({"hidden_size": (32, 64), "learning_rate": (1e-3, 1)}, "SASRec")
