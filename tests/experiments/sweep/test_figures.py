"""A sweep's figures show what its trials say, and its page loads nothing."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest

from recbole_mind.errors import InputError
from recbole_mind.experiments.sweep import figures as sweep_figures
from recbole_mind.experiments.sweep import outcomes as sweep_data
from recbole_mind.experiments.sweep.outcomes import outcomes
from recbole_mind.report import axis_scale
from recbole_mind.report.axis_scale import Scale
from tests import ROOT
from tests.support.pages import HOSTILE, Page

METRIC = "Recall@10"
NASTY = 'a|b*_<i>&"x" 50% $~^\\{}#\n[link](http://x) σ $y$'
AXES = ["sigma", "p", "K"]


def trial(number, settings, value=None, *, seed=1, curve=None, error=None, stopped=False):
    """A trial as a sweep tells it; ``value`` alone makes a curve that rises to it."""
    if value is not None and curve is None and math.isfinite(value):
        curve = [value * (1 - 0.5**epoch) for epoch in range(1, 5)] + [value]
    curve = curve or []
    return {
        "number": number,
        "seed": seed,
        "settings": settings,
        "valid": {} if value is None else {METRIC.lower(): value, "ndcg@10": value / 2},
        "curve": curve,
        "epochs": len(curve),
        "seconds": 10.0 * len(curve),
        "stopped": stopped,
        "error": error,
    }


def paper(whole=False):
    """The curves of σ, p and K with three seeds; ``whole``: a trial has all three settings, and none runs twice."""
    default = {"sigma": 1.0, "p": 2, "K": 4}
    values = {"sigma": [0.1, 1.0, 5.0], "p": [0, 1, 2, 4, 8, "inf"], "K": [1, 2, 3, 4, 5, 6, 7]}
    points = [default | {name: value} if whole else {name: value} for name in AXES for value in values[name]]
    points = [point for place, point in enumerate(points) if point not in points[:place]]
    rng = np.random.default_rng(0)
    runs = [(point, seed) for seed in (1, 2, 3) for point in points]
    return [trial(n, point, 0.1 + 0.01 * rng.random(), seed=seed) for n, (point, seed) in enumerate(runs)]


def search(count=24):
    """A random search with conditional settings; only ``x`` matters, and some trials failed or were stopped."""
    rng = np.random.default_rng(1)
    made = []
    for number in range(count):
        x = float(rng.random())
        settings = {"x": x, "learning_rate": float(10 ** rng.uniform(-4, -2)), "p": [2, "inf", None][number % 3]}
        if number % 2:
            settings |= {"negatives": ["uniform", "popularity", "log_uniform", "in_batch"][number % 4], "n": number}
        error = {5: "out of memory: <b>4 GB</b>", 11: "NaN loss"}.get(number)
        made.append(trial(number, settings, None if error else 0.1 + 0.1 * x, error=error, stopped=number % 7 == 6))
    return made


def few():
    """The least that importance is told of."""
    return [trial(i, {"x": i % 5, "loss": "ab"[i % 2]}, 0.1 + 0.01 * i) for i in range(8)]


def lines(axes):
    """The data of every line, without the empty ones."""
    return [np.asarray(line.get_ydata(), float) for line in axes.lines if len(line.get_ydata())]


# -- the paper's figures ------------------------------------------------------------------------------------------


def test_a_line_over_epochs_is_the_mean_of_the_seeds_with_its_deviation():
    runs = outcomes(
        [
            trial(0, {"K": 1}, 0.5, seed=1, curve=[0.1, 0.3, 0.5]),
            trial(1, {"K": 1}, 0.5, seed=2, curve=[0.3, 0.5]),
            trial(2, {"K": 2}, 0.2, seed=1, curve=[0.1, 0.2]),
        ],
        METRIC,
    )
    figure = sweep_figures.over_epochs({"K": sweep_data.along(runs, "K", ["K"])}, METRIC)
    (axes,) = figure.axes
    both, rest, single = lines(axes)
    np.testing.assert_allclose(both, [0.2, 0.4, np.nan])
    np.testing.assert_allclose(rest, [np.nan, 0.4, 0.5])
    np.testing.assert_allclose(single, [0.1, 0.2])
    band = axes.collections[0].get_paths()[0].vertices
    sd = 0.2 / math.sqrt(2)  # of 0.1 and 0.3, and of 0.3 and 0.5
    assert {round(y, 9) for x, y in band if x == 1} == {round(0.2 - sd, 9), round(0.2 + sd, 9)}
    assert {round(y, 9) for x, y in band if x == 2} == {round(0.4 - sd, 9), round(0.4 + sd, 9)}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["1", "2"]


def test_epochs_without_a_figure_are_left_out_of_the_mean():
    runs = outcomes([trial(0, {}, 0.5, curve=[0.1, None]), trial(1, {}, 0.5, curve=[float("nan"), 0.5])], METRIC)
    course = sweep_data.course(runs)
    assert course.mean.tolist() == [0.1, 0.5]
    assert course.count.tolist() == [1, 1]
    assert np.isnan(course.sd).all()


def test_error_bars_over_values_are_a_deviation_to_each_side():
    values = {1: [0.1, 0.2, 0.6], 2: [0.5, 0.5, 0.5], 3: [0.4]}
    points = [(value, result) for value, found in values.items() for result in found]
    runs = outcomes([trial(i, {"K": value}, result, seed=i) for i, (value, result) in enumerate(points)], METRIC)
    (axes,) = sweep_figures.over_values({"K": sweep_data.along(runs, "K", ["K"])}, METRIC).axes
    np.testing.assert_allclose(lines(axes)[0], [0.3, 0.5, 0.4])
    bars = [bar.lines[2][0].get_segments()[0][:, 1] for bar in axes.containers]
    sd = math.sqrt((0.2**2 + 0.1**2 + 0.3**2) / 2)
    np.testing.assert_allclose(bars, [[0.3 - sd, 0.3 + sd], [0.5, 0.5]])
    assert "1–3 seeds" in axes.get_title()


@pytest.mark.parametrize("whole", [False, True])
def test_a_trial_belongs_to_the_curve_on_whose_axis_it_lies(whole):
    runs = outcomes(paper(whole), METRIC)
    for name, values in (("sigma", [0.1, 1.0, 5.0]), ("p", [0, 1, 2, 4, 8, math.inf]), ("K", [1, 2, 3, 4, 5, 6, 7])):
        curve = sweep_data.along(runs, name, AXES)
        assert list(curve) == values
        assert {value: len(group) for value, group in curve.items()} == dict.fromkeys(values, 3)


def test_defaults_that_are_not_among_the_values_keep_curves_apart():
    points = [{"p": 0, "sigma": 1}, {"p": "inf", "sigma": 1}, {"p": 2, "sigma": 5}]
    runs = outcomes([trial(number, point, 0.1) for number, point in enumerate(points, 1)], METRIC)
    found = {name: sweep_data.along(runs, name, ["p", "sigma"], {"p": 2, "sigma": 1.0}) for name in ("p", "sigma")}
    assert {name: {value: [run.number for run in group] for value, group in curve.items()}
            for name, curve in found.items()} == {"p": {0: [1], math.inf: [2]}, "sigma": {5: [3]}}  # fmt: skip


def test_curves_leave_out_what_failed_or_was_stopped():
    runs = outcomes(
        [trial(0, {"K": 1}, 0.1), trial(1, {"K": 2}, error="x"), trial(2, {"K": 3}, 0.1, stopped=True)], METRIC
    )
    assert list(sweep_data.along(runs, "K", ["K"])) == [1]


# -- a search -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bigger", [True, False])
def test_best_so_far_never_gets_worse(bigger):
    values = [None, 0.3, 0.1, None, 0.5, 0.05, 0.4]
    runs = outcomes([trial(i, {}, value, error=None if value else "x") for i, value in enumerate(values)], METRIC)
    steps = sweep_data.best_so_far(runs, bigger)
    expected = [0.3, 0.3, 0.3, 0.5, 0.5, 0.5] if bigger else [0.3, 0.1, 0.1, 0.1, 0.05, 0.05]
    assert steps == list(zip(range(1, 7), expected, strict=True))
    (axes,) = sweep_figures.best_so_far(runs, METRIC, bigger=bigger).axes
    assert lines(axes)[0].tolist() == [*expected, expected[-1]]
    crosses = next(found for found in axes.collections if found.get_label() == "failed")
    assert crosses.get_offsets()[:, 0].tolist() == [0, 3]


def test_the_best_settings_have_the_best_mean_over_all_seeds():
    def make(number, x, value, seed):
        return trial(number, {"x": x}, value, seed=seed)

    trials = [make(0, 1, 0.9, 1), make(1, 1, 0.1, 2), make(2, 2, 0.6, 1), make(3, 2, 0.6, 2), make(4, 3, 1.0, 1)]
    runs = outcomes(trials, METRIC)
    best = sweep_data.best(runs)
    assert best.settings == {"x": 2}  # the mean of 1 is 0.5; 3 has one seed only
    assert (best.value, best.sd, [run.number for run in best.runs]) == (0.6, 0.0, [2, 3])
    assert sweep_data.best(runs, bigger=False).settings == {"x": 1}
    assert sweep_data.best(runs[:1]).sd is None
    assert sweep_data.best([]) is None
    repeated = outcomes([make(0, 1, 0.5, 1), make(1, 1, 0.5, 1), make(2, 2, 0.6, 1)], METRIC)
    assert sweep_data.best(repeated).settings == {"x": 2}  # the same seed twice is no more than one
    assert [run.number for run in sweep_data.ranked(runs)] == [4, 0, 2, 3, 1]


def test_a_line_of_the_parallel_coordinates_is_a_trial():
    trials = [trial(0, {"a": 0, "b": "x"}, 0.1), trial(1, {"a": 10}, 0.3), trial(2, {"a": 5, "b": "y"}, 0.2)]
    figure = sweep_figures.parallel(outcomes(trials, METRIC), METRIC)
    drawn = [line.get_xdata() for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    np.testing.assert_allclose(drawn, [[0, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1]])  # a, b (x, y, unused), result
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert {"a", "b", "x", "y", "unused", f"{METRIC} (validation)"} <= set(labels)


def test_importance_finds_what_matters_and_says_what_it_rests_on():
    found = sweep_data.importance(outcomes(search(40), METRIC))
    assert found.names[0] == "x"
    assert found.mean[0] > 0.8
    assert sum(found.mean) == pytest.approx(1)
    assert found.trials == 38
    assert found.r2 > 0.8
    assert found == sweep_data.importance(outcomes(search(40), METRIC))
    (axes,) = sweep_figures.importances(found).axes
    assert [bar.get_width() for bar in axes.patches] == list(found.mean)
    assert "38 trials" in axes.get_title()


def test_importance_is_refused_where_there_is_nothing_to_learn():
    assert sweep_data.importance(outcomes(search(9)[:8], METRIC)) is None  # one of the eight failed
    assert sweep_data.importance(outcomes([trial(i, {"x": i}, 0.1) for i in range(9)], METRIC)) is None
    assert sweep_data.importance(outcomes([trial(i, {"x": 1}, 0.1 * i) for i in range(9)], METRIC)) is None


def test_a_setting_says_nothing_about_trials_that_lack_it():
    """What decides here is whether ``b`` is there, which is the doing of ``a``."""
    rng = np.random.default_rng(0)
    trials = []
    for number in range(40):
        settings = {"a": "with", "b": float(rng.random())} if number % 2 else {"a": "without"}
        trials.append(trial(number, settings, 0.1 + 0.1 * (number % 2)))
    found = sweep_data.importance(outcomes(trials, METRIC))
    assert dict(zip(found.names, found.mean, strict=True))["a"] > 0.8


# -- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([1, 2, 3, 4, 5], [0, 0.25, 0.5, 0.75, 1]),
        ([0.001, 0.01, 0.1], [0, 0.5, 1]),  # by logarithm
        ([0, 1, 2, math.inf], [0, 0.425, 0.85, 1]),
        ([1, 3, math.inf, None], [0, 0.7, 0.85, 1]),
        (["b", "a", "c"], [0.5, 0, 1]),
        ([2, math.inf], [0, 1]),
        ([2, "x", None], [0, 0.5, 1]),
        ([7], [0.5]),
    ],
)
def test_places_on_an_axis(values, places):
    scale = Scale.of(values)
    assert [scale.place(value) for value in values] == pytest.approx(places)
    marks = scale.ticks()
    assert all(0 <= place <= 1 for place, _ in marks)
    assert sorted(marks, key=lambda mark: mark[0]) == marks


def test_many_numbers_get_round_ticks():
    rng = np.random.default_rng(0)
    even = Scale.of(rng.uniform(0.01, 0.6, 50).tolist())
    assert not even.log
    assert {label for _, label in even.ticks()} <= {"0.1", "0.15", "0.2", "0.3", "0.4", "0.45", "0.5"}
    uneven = Scale.of((10 ** rng.uniform(-4.1, -1.9, 50)).tolist())
    assert uneven.log
    assert [label for _, label in uneven.ticks()] == ["0.0001", "0.001", "0.01"]


def test_values_are_told_in_few_letters():
    settings = {"a": float("inf"), "b": "inf", "c": "-Infinity", "d": None, "e": True, "f": [256, 64], "g": 0.123456789}
    settings |= {"h": np.float32(0.5), "i": float("nan"), "j": np.int64(3), "k": "a\n b", "l": 20_000_000}
    (run,) = outcomes([trial(0, settings, 0.1)], METRIC)
    told = [axis_scale.text(value) for value in run.settings.values()]
    assert told == ["∞", "∞", "−∞", "none", "True", "[256, 64]", "0.1235", "0.5", "nan", "3", "a b", "20000000"]


# -- files --------------------------------------------------------------------------------------------------------

ODD = {
    "none": ([], None),
    "one": ([trial(0, {"K": 4}, 0.1)], None),
    "one without settings": ([trial(0, {}, 0.1)], None),
    "two, one failed": ([trial(0, {"K": 4, "p": "inf"}, 0.1), trial(1, {"K": 2, "p": 2}, error="x")], None),
    "all failed": ([trial(i, {"K": i}, error="out of memory") for i in range(9)], None),
    "all failed, curves": ([trial(i, {"K": i}, error="out of memory") for i in range(9)], ["K"]),
    "no finite result": ([trial(i, {"K": i}, float("nan")) for i in range(9)], None),
    "all alike": ([trial(i, {"K": i % 3}, 0.1) for i in range(9)], None),
    "zero": ([trial(i, {"K": i}, 0.0) for i in range(9)], ["K"]),
    "no curve, no trial on p": ([trial(i, {"K": i}, 0.1 * i) | {"curve": None} for i in range(3)], ["K", "p"]),
    "many values": ([trial(i, {"K": i}, 0.1 + 0.001 * i) for i in range(12)], ["K"]),
    "odd values": (
        [trial(i, {"x": [None, [1], {"a": 1}, True][i % 4], "y": 1e300 * i}, 0.01 * i) for i in range(9)], None
    ),
    "nasty": (
        [trial(i, {NASTY: f"{NASTY}{i}", "$a$": 2 * i}, 0.1 + i, error=i % 5 == 4 and NASTY) for i in range(12)], None
    ),
    "nasty curves": ([trial(i, {NASTY: f"{i}{NASTY}"}, 0.1 + 0.01 * i) for i in range(9)], [NASTY]),
}  # fmt: skip


def test_hostile_words_are_text(tmp_path):
    trials = [trial(i, {HOSTILE: f"{HOSTILE}{i}"}, 0.1 + i, error=i == 8 and HOSTILE) for i in range(9)]
    paths = sweep_figures.write(trials, tmp_path, metric=METRIC, title=HOSTILE)
    page = Page(paths[-1].read_text("utf-8"))
    assert not page.open
    assert page.seen.count("script") == page.seen.count("style") == 1
    assert {(tag, HOSTILE) for tag in ("title", "h1", "button", "small")} <= set(page.texts)
    assert ("td", f"{HOSTILE}3") in page.texts
    assert ("b", f"{HOSTILE}7") in page.texts


@pytest.mark.parametrize("name", ODD)
def test_whatever_the_trials_the_page_is_whole_loads_nothing_and_escapes_everything(name, tmp_path):
    trials, curves = ODD[name]
    paths = sweep_figures.write(trials, tmp_path, metric=METRIC, title=NASTY, curves=curves)
    assert sorted(paths) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    text = (tmp_path / "sweep.html").read_text("utf-8")
    page = Page(text)
    assert not page.open
    assert page.seen.count("tr") == len(trials) + 1
    assert page.seen.count("script") == 1
    assert not {"link", "img", "iframe", "image", "i"} & set(page.seen)
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"@import|https?:|url\((?!#)|<!--|<\?xml", text.replace("http://x", ""))
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in page.links} | set(re.findall(r"url\(#([^)]*)\)", text)) <= set(ids)
    assert ("h1", NASTY) in page.texts
    assert (("button", NASTY) in page.texts) == name.startswith("nasty")
    good = any(run.value is not None for run in outcomes(trials, METRIC))
    assert ("No trial has a result." in text) == (not good)


def test_a_sweep_along_axes(tmp_path):
    paths = sweep_figures.write(paper(), tmp_path, metric=METRIC, title="MIND on ml-100k", curves=AXES)
    assert [path.name for path in paths] == ["epochs.png", "values.png", "best.png", "sweep.html"]
    page = Page(paths[-1].read_text("utf-8"))
    assert page.seen.count("svg") == 3 + 3 + 1


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The files of a search."""
    return sweep_figures.write(search(), tmp_path_factory.mktemp("search"), metric=METRIC, title="a search")


def test_a_search(searched):
    paths = searched
    assert [path.name for path in paths] == ["best.png", "parallel.png", "importance.png", "settings.png", "sweep.html"]
    text = paths[-1].read_text("utf-8")
    page = Page(text)
    assert page.seen.count("svg") == 1 + 1 + 1 + 5
    assert text.count("stopped early</span>") == 3
    assert ("small", "out of memory: <b>4 GB</b>") in page.texts
    # best first, failed last
    order = [int(number) for number in re.findall(r'<th scope="row" data-key="(\d+)"', text)]
    values = {run["number"]: run["valid"].get("recall@10", -1) for run in search()}
    assert order == sorted(values, key=lambda number: (-values[number], number))


def test_drawings_have_the_pages_colours(searched):
    text = searched[-1].read_text("utf-8")
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    used = set(re.findall(r"var\(--(\w+)\)", drawn))
    assert {"text", "soft", "line", "c0", "c1", "s0"} <= used
    assert not set(re.findall(r"#[0-9a-f]{6}\b", drawn))
    for name in used:
        assert len(re.findall(rf"--{name}:", text)) == 2  # light and dark


def test_the_same_trials_give_the_same_bytes(tmp_path):
    """In another process, with another hash seed, under another style of matplotlib; pyplot stays out of it."""
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red"}):
        here = sweep_figures.write(few(), tmp_path / "here", metric=METRIC, title="t")
        assert mpl.rcParams["font.size"] == 20
    code = (
        "import sys; from tests.experiments.sweep.test_figures import METRIC, few\n"
        "from recbole_mind.experiments.sweep import figures as sweep_figures\n"
        "sweep_figures.write(few(), sys.argv[1], metric=METRIC, title='t')\n"
        "assert not {'matplotlib.pyplot', 'recbole', 'torch'} & set(sys.modules)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", code, tmp_path / "there"]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    assert len(here) == 5
    for path in here:
        assert path.read_bytes() == (tmp_path / "there" / path.relative_to(tmp_path / "here")).read_bytes()


def test_a_figure_that_no_longer_holds_is_removed(tmp_path):
    (tmp_path / "figures").mkdir()
    for name in ("importance.png", "epochs.png", "mine.png"):
        (tmp_path / "figures" / name).write_bytes(b"")
    sweep_figures.write(search(3), tmp_path, metric=METRIC, title="t")
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "best.png", "parallel.png", "settings.png", "mine.png",
    }  # fmt: skip


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/sweep\.html"):
        sweep_figures.write([], tmp_path / "file", metric=METRIC, title="t")


@pytest.mark.parametrize("width", [4.2, 8.4])
def test_no_label_is_cut_off_or_small(width):
    long = "a_setting_with_a_name_that_does_not_end_$here$"
    trials = [{**run, "settings": run["settings"] | {long: f"{long}{i % 3}"}} for i, run in enumerate(search(20))]
    runs = outcomes(trials, METRIC)
    curves = outcomes(paper(), METRIC)
    found = {name: sweep_data.along(curves, name, AXES) for name in AXES}
    found[long] = sweep_data.along(runs, long, [long])
    names = sweep_data.varied(runs) if width > 5 else [long]
    figures = [
        sweep_figures.over_epochs(found if width > 5 else {long: found[long]}, METRIC, width=width),
        sweep_figures.over_values(found if width > 5 else {long: found[long]}, METRIC, width=width),
        sweep_figures.best_so_far(runs, METRIC, width=width),
        sweep_figures.parallel(runs, METRIC, width=width),
        sweep_figures.importances(sweep_data.importance(runs), width=width),
        sweep_figures.scatter(runs, METRIC, names, width=width),
    ]
    for figure in figures:
        box = figure.get_tightbbox()
        across, down = figure.get_size_inches()
        assert -0.02 < box.x0 < box.x1 < across + 0.02
        assert -0.02 < box.y0 < box.y1 < down + 0.02
        assert across <= 8.4  # a README's column: nothing is made smaller there
        assert min(text.get_fontsize() for text in figure.findobj(mpl.text.Text) if text.get_text()) >= 9


# -- the table ----------------------------------------------------------------------------------------------------


def test_the_markdown_table():
    trials = [
        trial(0, {"K": 4, "p": "inf"}, 0.25, curve=[0.125, 0.25]),
        trial(1, {"K": 2}, error="bad | <i>luck</i>"),
        trial(2, {"K": 8, "p": 2}, 0.5, curve=[0.5]),
        trial(3, {"K": 1, "p": 0}, 0.125, curve=[0.125], stopped=True),
    ]
    assert sweep_figures.table(trials, METRIC).splitlines() == [
        "| trial | Recall@10 | K | p | seed | epochs | seconds | state |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        "| 2 | **0.5000** | 8 | 2 | 1 | 1 | 10 | done |",
        "| 0 | 0.2500 | 4 | ∞ | 1 | 2 | 20 | done |",
        "| 3 | 0.1250 | 1 | 0 | 1 | 1 | 10 | stopped early |",
        r"| 1 | – | 2 | – | 1 | 0 | 0.0 | failed: bad \| \<i\>luck\</i\> |",
    ]
    assert "| 3 | **0.1250**" in sweep_figures.table(trials, METRIC, bigger=False).splitlines()[2]
