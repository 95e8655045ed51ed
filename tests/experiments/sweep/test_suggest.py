"""The search: seeded, rebuilt from what was told, conditional, no point twice, better than chance."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from recbole_mind import InputError
from recbole_mind.experiments.sweep.space import parse
from recbole_mind.experiments.sweep.suggest import ALGORITHMS, Search
from tests import ROOT

SPACE = parse({
    "x": {"uniform": [-5, 5]}, "y": {"loguniform": [0.0001, 1]}, "form": {"choice": ["a", "b", None]},
    "z": {"int": [1, 7], "when": {"form": ["b"]}}, "q": {"quniform": [0, 1, 0.25]}, "w": {"qloguniform": [1, 100, 1]},
})  # fmt: skip
FINITE = parse({"K": {"int": [1, 3]}, "p": {"choice": [0, math.inf], "when": {"K": [2, 3]}}})


def loss(point):
    return point["x"] ** 2 + (math.log10(point["y"]) + 2) ** 2 + (abs(point["z"] - 5) if "z" in point else 8)


def points(algo, seed, number, space=SPACE, objective=loss):
    search = Search(space, algo, seed)
    for trial in range(1, number + 1):
        point = search.ask(trial)
        if point is None:
            break
        search.tell(trial, objective(point))
    return search


@pytest.mark.parametrize("algo", ["tpe", "random", "anneal"])
def test_the_seed_decides_every_trial(algo):
    first, again, other = (points(algo, seed, 25).points for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_search_that_was_killed_goes_on_as_if_it_had_not(algo):
    space, objective = (FINITE, lambda point: point["K"]) if algo == "exhaustive" else (SPACE, loss)
    whole = points(algo, 1, 16, space, objective)
    for killed in (0, 1, 3, 12):
        search = Search(space, algo, 1)
        kept = sorted(whole.points)[:killed]
        for number in kept:
            search.restore(number, whole.points[number])
        for number in reversed(kept):  # records may be read in any order
            search.tell(number, whole.losses[number])
        for number in range(len(kept) + 1, 17):
            point = search.ask(number)
            if point is None:
                break
            search.tell(number, objective(point))
        assert search.points == whole.points


@pytest.mark.parametrize("algo", ["tpe", "random", "anneal"])
def test_what_is_drawn_lies_in_the_space_and_applies(algo):
    for point in points(algo, 2, 40).points.values():
        assert -5 <= point["x"] <= 5
        assert 0.0001 <= point["y"] <= 1
        assert point["q"] in (0, 0.25, 0.5, 0.75, 1)
        assert 1 <= point["w"] <= 100
        assert ("z" in point) == (point["form"] == "b")
        if "z" in point:
            assert point["z"] in range(1, 8)
            assert isinstance(point["z"], int)


def test_log_uniform_is_uniform_in_the_logarithm():
    drawn = [math.log10(point["y"]) for point in points("random", 1, 300).points.values()]
    quarters = np.histogram(drawn, bins=4, range=(-4, 0))[0]
    assert quarters.sum() == 300
    assert (abs(quarters - 75) < 4 * math.sqrt(300 * 0.25 * 0.75)).all()


def test_both_ends_of_whole_numbers_are_as_likely_as_the_others():
    space = parse({"z": {"int": [1, 4]}, "x": {"uniform": [0, 1]}})
    drawn = [point["z"] for point in points("random", 1, 200, space, lambda point: 0.0).points.values()]
    counts = np.bincount(drawn, minlength=5)[1:]
    assert (abs(counts - 50) < 4 * math.sqrt(200 * 0.25 * 0.75)).all()


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_every_combination_once_and_then_no_more(algo):
    search = points(algo, 1, 9, FINITE, lambda point: float(point["K"]))
    assert len(search.points) == 5
    assert sorted(map(str, search.points.values())) == sorted(map(str, FINITE.combinations()))


def test_failed_and_running_trials_are_no_reason_to_stop():
    search = Search(SPACE, "tpe", 1)
    for number in range(1, 30):
        point = search.ask(number)
        assert point is not None
        if number % 3 == 1:
            search.tell(number, loss(point))
        elif number % 3 == 2:
            search.tell(number, None if number % 2 else math.nan)
    assert search.losses[2] is None
    assert search.losses[5] is None
    for algo in ("anneal", "random"):
        other = Search(SPACE, algo, 1)
        assert [other.ask(number) is not None for number in range(1, 5)] == [True] * 4


def test_tpe_beats_random_on_most_seeds():
    def best(algo, seed):
        return min(value for value in points(algo, seed, 45).losses.values() if value is not None)

    pairs = [(best("tpe", seed), best("random", seed)) for seed in range(4)]
    assert np.mean([np.log(tpe) - np.log(random) for tpe, random in pairs]) < 0


def test_bad_algorithms():
    with pytest.raises(InputError, match="algo: 'tep' is unknown; did you mean 'tpe'"):
        Search(SPACE, "tep", 1)
    with pytest.raises(InputError, match="exhaustive cannot visit every value of 'x'"):
        Search(SPACE, "exhaustive", 1).ask(1)


def test_spaces_and_search_need_neither_recbole_nor_torch():
    code = (
        "from recbole_mind.experiments.sweep.space import parse\n"
        "from recbole_mind.experiments.sweep.suggest import Search\n"
        "print(Search(parse({'K': {'choice': [1, 2]}}), 'tpe', 1).ask(1))\n"
        "import sys; print({'recbole', 'torch', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "'K'" in done.stdout
    assert done.stdout.endswith("set()\n")
