import csv
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

from recbole_mind.errors import InputError
from recbole_mind.evaluation.hits import Hits, mean_per_user, per_user
from recbole_mind.experiments.leaderboard import csv as csv_
from recbole_mind.experiments.leaderboard import figures, latex, markdown, render, terminal
from recbole_mind.experiments.leaderboard.significance import compare
from recbole_mind.experiments.leaderboard.table import build
from recbole_mind.report.figure_files import svg
from recbole_mind.util.multiple_tests import holm
from tests import ROOT
from tests.support.pages import HOSTILE, Page

PROTOCOL = {
    "name": "loo",
    "split": {"LS": "valid_and_test"},
    "order": "TO",
    "mode": {"valid": "full", "test": "full"},
    "mask_history": True,
    "timestamp_order": "exact",
    "ties": "file order",
    "search": {"factory": "exact"},
}
NASTY = 'a|b*_<i>&"x" 50% $~^\\{}#\n[link](http://x) σ'


def record(test, seed=1, seconds=10.0, **more):
    return {
        "model": "MIND",
        "seed": seed,
        "protocol": PROTOCOL,
        "test": test,
        "phases": {"training": seconds},
        "parameters": 1000,
    } | more


def make(tests, hits=None, seeds=(1,), baseline="base", absent=None):
    """A board of one table, from label to the metrics of each seed."""
    records = {
        ("d", "loo", label, seed): record(test, seed) if "error" not in test else test
        for label, runs in tests.items()
        for seed, test in zip(seeds, runs, strict=False)
        if test is not None
    }
    found = {("d", "loo", *key): run for key, run in (hits or {}).items()}
    reasons = {("d", "loo", label): reason for label, reason in (absent or {}).items()}
    return build(list(tests), ["d"], ["loo"], list(seeds), baseline, records, found.get, reasons)


def rows_of(board):
    return {row.label: row for row in board.tables[0].rows}


def some_hits(skill, seed, R=600, k=10, users="u"):
    generator = np.random.default_rng(seed)
    found = np.zeros((R, k), bool)
    places = (generator.random(R) / skill).astype(int)
    found[places < k, places[places < k]] = True
    return Hits(found, np.ones(R, np.int64), users)


def planted(skills, metrics=("recall@10", "ndcg@10"), absent=None):
    """A board of two seeds with hits that give its figures, and the hits."""
    seeds = (1, 2)
    hits = {(label, seed): some_hits(skill, seed) for label, skill in skills.items() for seed in seeds}
    tests = {
        label: [{metric: float(per_user(hits[label, seed], metric).mean()) for metric in metrics} for seed in seeds]
        for label in skills
    }
    return make(tests | {label: [] for label in absent or {}}, hits, seeds, absent=absent), hits


# -- the board ----------------------------------------------------------------------------------------------------


def test_figures_by_hand():
    board = make(
        {"base": [{"recall@10": 0.1}, {"recall@10": 0.2}], "x": [{"recall@10": 0.3}, {"recall@10": 0.36}]}, seeds=(1, 2)
    )
    base, x = (row.cells["recall@10"] for row in board.tables[0].rows)
    assert (base.mean, base.seeds, base.change, base.best, base.second) == (0.15, 2, None, False, True)
    assert base.sd == pytest.approx(0.05 * 2**0.5)
    assert (x.mean, x.best, x.second) == (0.33, True, False)
    assert x.sd == pytest.approx(0.03 * 2**0.5)
    assert x.change == pytest.approx(120)


def test_one_seed_has_no_deviation():
    assert rows_of(make({"base": [{"recall@10": 0.1}]}))["base"].cells["recall@10"].sd is None


def test_time_is_the_median_and_rows_keep_their_order():
    entries = {("b", seed): record({"hit@1": 0.1}, seed, seconds=s) for seed, s in ((1, 5.0), (2, 90.0), (3, 7.0))}
    records = {("d", "loo", *key): entry for key, entry in entries.items()}
    board = build(["z", "b", "a"], ["d"], ["loo"], [1, 2, 3], "b", records, lambda key: None, {})
    assert [row.label for row in board.tables[0].rows] == ["z", "b", "a"]
    row = rows_of(board)["b"]
    assert (row.seconds, row.parameters, row.model, row.seeds, row.asked) == (7.0, 1000, "MIND", (1, 2, 3), 3)


def test_tables_come_in_the_order_asked_for():
    board = build(["b"], ["d2", "d1"], ["q", "p"], [1], "b", {}, lambda key: None, {})
    assert [(t.dataset, t.protocol) for t in board.tables] == [("d2", "q"), ("d2", "p"), ("d1", "q"), ("d1", "p")]


def places(values, metric="recall@10"):
    board = make({label: [{metric: value}] for label, value in values.items()}, baseline=next(iter(values)))
    cells = {label: row.cells[metric] for label, row in rows_of(board).items()}
    return {label: "best" if c.best else "second" if c.second else "" for label, c in cells.items()}


def test_ties_share_a_place():
    assert places({"a": 0.3, "b": 0.1, "c": 0.3, "d": 0.2, "e": 0.2}) == {
        "a": "best", "b": "", "c": "best", "d": "second", "e": "second",
    }  # fmt: skip


def test_nothing_is_best_where_all_are_equal_or_alone():
    assert set(places({"a": 0.3, "b": 0.3}).values()) == {""}
    assert set(places({"a": 0.3}).values()) == {""}


def test_equal_means_tie_whatever_the_order_of_their_sum():
    runs = [{"recall@10": value} for value in (0.1, 0.2, 0.3)]
    board = make({"base": runs, "x": runs[::-1], "y": [{"recall@10": 0.1}] * 3}, seeds=(1, 2, 3))
    assert [row.cells["recall@10"].best for row in board.tables[0].rows] == [True, True, False]


def test_less_is_better_of_some_metrics():
    assert places({"a": 5.0, "b": 7.0, "c": 9.0}, "averagepopularity@10") == {"a": "best", "b": "second", "c": ""}


def test_nan_is_shown_and_never_best():
    assert places({"a": float("nan"), "b": 0.2, "c": 0.1}) == {"a": "", "b": "best", "c": "second"}
    board = make({"base": [{"recall@10": float("nan")}], "b": [{"recall@10": 0.1}]})
    assert rows_of(board)["b"].cells["recall@10"].change is None
    assert "| base | nan |" in markdown.to_markdown(board)
    assert [row.label for row, _ in figures.finite(board.tables[0], "recall@10")] == ["b"]


def test_a_baseline_of_zero_gives_no_change():
    board = make({"base": [{"recall@10": 0.0}], "x": [{"recall@10": 0.1}]})
    assert rows_of(board)["x"].cells["recall@10"].change is None


def test_missing_rows_stay_and_say_why():
    board = make(
        {
            "base": [{"hit@1": 0.1}] * 3,
            "few": [{"hit@1": 0.2}, {"error": "out of memory"}, None],
            "costly": [],
            "failed": [{"error": "diverged"}] * 3,
            "open": [],
        },
        seeds=(1, 2, 3),
        absent={"costly": "too costly: 9 hours", "base": "never"},
    )
    rows = rows_of(board)
    assert {label: row.notes for label, row in rows.items() if label != "few"} == {
        "base": (),
        "costly": ("not run: too costly: 9 hours",),
        "failed": ("0 of 3 seeds; seed 1 failed: diverged; seed 2 failed: diverged; seed 3 failed: diverged",),
        "open": ("not run",),
    }
    assert rows["few"].notes[0] == "1 of 3 seeds; seed 2 failed: out of memory; seed 3 was not run"
    assert not rows["costly"].cells
    assert not rows["failed"].cells
    text = markdown.to_markdown(board)
    assert "| costly (no result) | – | – | – |" in text
    assert "| few (1 of 3 seeds) |" in text
    assert "- costly: not run: too costly: 9 hours\n" in text


def test_the_statement_says_how_the_figures_came_about():
    board, _ = planted({"base": 0.01, "x": 0.02})
    assert board.tables[0].statement == (
        "split LS valid_and_test; time order 'exact', ties by file order; whole catalogue ranked; "
        "history kept out of the ranking; seeds 1, 2; 600 test users; baseline base"
    )


def test_other_protocols_in_words():
    changed = PROTOCOL | {
        "split": {"RS": [0.8, 0.1, 0.1]},
        "order": "RO",
        "mode": {"test": "uni100"},
        "mask_history": False,
    }
    records = {("d", "p", "b", 7): record({"hit@1": 0.1}, protocol=changed)}
    statement = build(["b"], ["d"], ["p"], [7], "b", records, lambda key: None, {}).tables[0].statement
    assert statement == (
        "split RS 0.8:0.1:0.1; random order; candidates 'uni100'; history not masked; seed 7; baseline b"
    )
    changed["split"] = {"US": {"ratios": [8, 1, 1], "history": 0.8, "seed": 3}}
    records = {("d", "p", "b", 7): record({"hit@1": 0.1}, protocol=changed)}
    statement = build(["b"], ["d"], ["p"], [7], "b", records, lambda key: None, {}).tables[0].statement
    assert statement.startswith("users 8:1:1 for training, validation, test (seed 3), the first 80% of a held-out user")


def test_a_row_of_another_protocol_is_noted():
    records = {
        ("d", "loo", "base", 1): record({"hit@1": 0.1}),
        ("d", "loo", "x", 1): record({"hit@1": 0.1}, protocol=PROTOCOL | {"mask_history": False, "search": {}}),
    }
    board = build(["base", "x"], ["d"], ["loo"], [1], "base", records, lambda key: None, {})
    assert rows_of(board)["base"].notes == ()
    assert "another protocol than the table's: mask_history is false here, not true" in rows_of(board)["x"].notes


def test_unknown_baselines_and_double_labels_are_refused():
    with pytest.raises(InputError, match="baseline: 'bose' is not allowed; allowed: base, x; did you mean 'base'"):
        make({"base": [], "x": []}, baseline="bose")
    with pytest.raises(InputError, match="labels: 'a' is there twice"):
        build(["a", "b", "a"], ["d"], ["p"], [1], "b", {}, lambda key: None, {})


# -- tests of significance ----------------------------------------------------------------------------------------


def test_p_values_are_those_of_compare_corrected_for_the_whole_table():
    board, hits = planted({"base": 0.01, "x": 0.011, "y": 0.03})
    table, rows = board.tables[0], rows_of(board)
    pairs = [(label, metric) for label in ("x", "y") for metric in ("recall@10", "ndcg@10")]
    base = [hits["base", 1], hits["base", 2]]
    raw = [
        compare(mean_per_user([hits[label, 1], hits[label, 2]], metric), mean_per_user(base, metric))
        for label, metric in pairs
    ]
    assert table.comparisons == 4
    for (label, metric), test, p in zip(pairs, raw, holm([test.p for test in raw]), strict=True):
        assert rows[label].cells[metric].comparison == test
        assert rows[label].cells[metric].p == p
    assert rows["y"].cells["ndcg@10"].direction == 1
    assert rows["base"].cells["ndcg@10"].p is None


def test_worse_points_down():
    board, _ = planted({"base": 0.03, "x": 0.01})
    assert rows_of(board)["x"].cells["recall@10"].direction == -1
    assert "↓" in markdown.to_markdown(board).split("\n\n")[3]


def test_identical_models_are_not_different():
    board, _ = planted({"base": 0.02, "x": 0.02})
    cell = rows_of(board)["x"].cells["recall@10"]
    assert (cell.p, cell.direction, cell.change, cell.best) == (1, 0, 0, False)


def test_many_small_wins_and_a_few_large_losses_get_no_mark():
    found = np.zeros((100, 20), bool)
    base = found.copy()
    base[:60, 19], found[:60, 18] = True, True  # a place higher
    base[60:70, 0] = True
    hits = {("base", 1): Hits(base, np.ones(100, int), "u"), ("x", 1): Hits(found, np.ones(100, int), "u")}
    tests = {label: [{"ndcg@20": float(per_user(run, "ndcg@20").mean())}] for (label, _), run in hits.items()}
    cell = rows_of(make(tests, hits))["x"].cells["ndcg@20"]
    assert cell.comparison.effect > 0 > cell.comparison.difference
    assert cell.p < 0.05
    assert cell.direction == 0


def test_metrics_without_hits_are_not_tested():
    hits = {(label, 1): some_hits(0.02, 1) for label in ("base", "x")}
    board = make(
        {label: [{"recall@10": 0.1, "recall@20": 0.2, "itemcoverage@10": 0.3}] for label in ("base", "x")}, hits
    )
    assert [cell.p is None for cell in rows_of(board)["x"].cells.values()] == [False, True, True]
    assert board.tables[0].comparisons == 1


@pytest.mark.parametrize(
    ("label", "note"),
    [
        ("x", "x: no test of significance: what seed 1 found for each user was not kept"),
        ("base", "no tests of significance: base: what seed 1 found for each user was not kept"),
    ],
)
def test_hits_that_were_not_kept_are_said(label, note):
    other = "base" if label == "x" else "x"
    board = make({"base": [{"hit@1": 0.1}], "x": [{"hit@1": 0.2}]}, {(other, 1): some_hits(0.1, 1)})
    assert note in board.tables[0].every_note
    assert board.tables[0].comparisons == 0


def test_other_users_are_not_compared():
    tests = {"base": [{"hit@1": 0.1}], "x": [{"hit@1": 0.2}]}
    board = make(tests, {("base", 1): some_hits(0.1, 1), ("x", 1): some_hits(0.1, 1, users="v")})
    assert "no place, change or test: its test users are not those of base" in rows_of(board)["x"].notes
    cell = rows_of(board)["x"].cells["hit@1"]
    assert (cell.change, cell.best, cell.p) == (None, False, None)
    both = {"base": [{"hit@1": 0.1}] * 2, "x": [{"hit@1": 0.2}] * 2}
    hits = {(label, seed): some_hits(0.1, seed, users=str(seed)) for label in both for seed in (1, 2)}
    board = make(both, hits, seeds=(1, 2))
    assert board.tables[0].notes == ("no tests of significance: base: its seeds have different test users",)


def test_how_the_runs_were_made_is_said():
    tests = {"base": [{"hit@1": 0.1}], "x": [{"hit@1": 0.2}]}
    records = {
        ("d", "loo", label, 1): record(figures[0], tuned=label == "x", source=label, threads=1)
        for label, figures in tests.items()
    }
    board = build(["base", "x"], ["d"], ["loo"], [1], "base", records, lambda key: None, {})
    assert "settings chosen on the validation set: x; the others have their defaults" in board.tables[0].notes
    assert "made with 2 states of recbole-mind's source" in board.tables[0].notes
    assert not [note for note in board.tables[0].notes if "threads" in note]


def test_without_a_baseline_nothing_is_compared():
    board = make({"base": [], "x": [{"hit@1": 0.2}]}, {("x", 1): some_hits(0.1, 1)})
    assert board.tables[0].notes == ("nothing is compared: the baseline base has no finished run",)
    assert rows_of(board)["x"].cells["hit@1"].change is None


# -- rendering ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full():
    """A board with a user's label, a better, a worse and a missing model."""
    skills = {"base": 0.02, NASTY: 0.04, "low": 0.01}
    metrics = ("recall@10", "ndcg@10", "mrr@10", "hit@5", "map@10")
    return planted(skills, metrics, absent={"gone": "too <costly> & slow"})[0]


def test_markdown(full):
    text = markdown.to_markdown(full)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {9}
    assert re.search(r"\*\*0\.\d{4}\*\* ± 0\.\d{4} ↑ \(\+\d+\.\d%\)", lines[3])
    assert re.search(r"<u>0\.\d{4}</u> ± 0\.\d{4}", lines[2])
    assert "↓ (-" in lines[4]
    assert r"a\|b\*\_\<i\>\&" in lines[3]
    assert text.startswith("# Leaderboard\n\n## d, loo\n\nsplit LS valid\\_and\\_test;")
    assert "corrected by Holm for the 10 comparisons of this table." in text


def test_latex(full):
    text = latex.to_latex(full)
    assert text.count(r"\begin{tabular}") == 2  # five metrics, three and two
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == text.count(r"\midrule") == 2
    assert r"a\textbar{}b*\_\textless{}i\textgreater{}\&\textquotedbl{}x\textquotedbl{} 50\%" in text
    assert r"\$\textasciitilde{}\textasciicircum{}\textbackslash{}\{\}\#" in text
    assert re.search(r"\\textbf\{0\.\d{4}\}\{\\scriptsize\$\\pm\$\.\d{4}\}\$\^\{\\uparrow\}\$", text)
    assert re.search(r"\\underline\{0\.\d{4}\}", text)
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [3] * 5 + [4] * 5
    assert not re.search("[±↑↓–]", text)
    assert "Percentages" not in text


def test_csv(full):
    rows = list(csv.DictReader(io.StringIO(csv_.to_csv(full))))
    assert len(rows) == 4 * 5
    (best,) = (row for row in rows if row["label"] == NASTY and row["metric"] == "recall@10")
    cell = rows_of(full)[NASTY].cells["recall@10"]
    assert float(best["mean"]) == cell.mean
    assert float(best["sd"]) == pytest.approx(cell.sd)
    assert float(best["p_holm"]) == pytest.approx(cell.p)
    assert float(best["change_percent"]) == pytest.approx(cell.change)
    expected = {
        "dataset": "d", "protocol": "loo", "model": "MIND", "seeds": "2", "seeds_asked": "2", "significant": "better",
        "place": "best", "baseline": "base", "users": "600", "training_seconds": "10", "parameters": "1000",
    }  # fmt: skip
    assert {key: best[key] for key in expected} == expected
    gone = [row for row in rows if row["label"] == "gone"]
    assert {(row["mean"], row["p"], row["seeds"], row["notes"]) for row in gone} == {
        ("", "", "0", "not run: too <costly> & slow")
    }


def test_html_is_one_page_that_loads_nothing(full):
    two = type(full)(full.tables * 2)
    text = render.to_html(two)
    page = Page(text)
    assert not page.open
    assert page.links[:2] == ["#t0", "#t1"]
    assert not {"script", "link", "img", "iframe", "image", "i"} & set(page.seen)
    assert not re.search(r"url\((?!#)|@import|https?:", text.replace("http://x", ""))
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in page.links} | set(re.findall(r"url\(#([^)]*)\)", text)) <= set(ids)
    assert page.seen.count("table") == 2
    assert page.seen.count("svg") == 2 * 5
    assert ("th", NASTY) in page.texts
    assert ("li", "gone: not run: too <costly> & slow") in page.texts
    assert page.texts.count(("td", "–")) == 2 * 7
    assert page.seen.count("b") == page.seen.count("u") == 2 * 5
    assert "prefers-color-scheme: dark" in text


def drawn_bars(board):
    """The lengths of the bars, and of what error bars there are the ends."""
    (axes,) = figures.bars(board.tables[0], "hit@1").axes
    spreads = [found.lines[2][0].get_segments()[0][:, 0] for found in axes.containers if found.get_label() == "spread"]
    return [bar.get_width() for bar in axes.patches], spreads


def test_bars_are_in_proportion():
    lengths, spreads = drawn_bars(
        make({label: [{"hit@1": v}] for label, v in zip("abc", (0.1, 0.4, 0.0), strict=True)}, baseline="a")
    )
    assert lengths == [0.1, 0.4, 0.0]
    assert spreads == []


def test_error_bars_are_a_standard_deviation_to_each_side_from_zero_on():
    tests = {"base": [{"hit@1": 0.1}, {"hit@1": 0.3}], "x": [{"hit@1": 0.5}] * 2, "y": [{"hit@1": 0.0}, {"hit@1": 0.4}]}
    lengths, spreads = drawn_bars(make(tests, seeds=(1, 2)))
    assert lengths == pytest.approx([0.2, 0.5, 0.2])
    np.testing.assert_allclose(spreads, [[0.2 - 0.1 * 2**0.5, 0.2 + 0.1 * 2**0.5], [0, 0.2 + 0.2 * 2**0.5]], atol=1e-9)


def test_the_best_is_bold_the_baseline_has_a_line_and_a_bar_says_all(full):
    table = full.tables[0]
    (axes,) = figures.bars(table, "hit@5").axes
    bold = [text.get_text() for text in axes.texts if text.get_weight() == "bold"]
    assert bold == [f"{max(row.cells['hit@5'].mean for row in table.rows if row.cells):.4f}"]
    base = rows_of(full)["base"].cells["hit@5"]
    assert base.mean in [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    hints = [words for tag, words in Page(svg(figures.bars(table, "hit@5"))).texts if tag == "title"]
    assert hints[0] == f"base: {base.mean:.4f} ± {base.sd:.4f}"
    assert hints[1].startswith(" ".join(NASTY.split()))
    assert figures.bars(table, "nothing") is None


def test_hostile_labels_are_text():
    board = make({HOSTILE: [{"hit@1": 0.1}], "x": []}, baseline=HOSTILE, absent={"x": HOSTILE})
    page = Page(render.to_html(type(board)(board.tables, HOSTILE)))
    assert not page.open
    assert "script" not in page.seen
    assert page.seen.count("style") == 1
    assert {(tag, HOSTILE) for tag in ("title", "h1", "th")} <= set(page.texts)
    assert ("li", f"x: not run: {HOSTILE}") in page.texts
    assert ("title", f"{HOSTILE}: 0.1000") in page.texts


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_a_browser_and_asks_for_nothing(browser, full, tmp_path, width, scheme):
    (tmp_path / "page.html").write_text(render.to_html(full), "utf-8")
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    shown, asked = context.new_page(), []
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto((tmp_path / "page.html").as_uri())
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    fills = shown.locator("figure svg path").evaluate_all("nodes => nodes.map(node => getComputedStyle(node).fill)")
    assert ("rgb(110, 160, 221)" if scheme == "dark" else "rgb(74, 127, 193)") in fills
    assert len(asked) == 1
    context.close()


def test_the_same_board_gives_the_same_page(full):
    assert render.to_html(full) == render.to_html(full)


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_terminal(full, width):
    console = Console(file=io.StringIO(), width=width)
    terminal.print_board(full, console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for metric in (*full.tables[0].metrics, "training s", "parameters"):
        assert len(re.findall(rf"^model .*{metric}(\s|$)", text, re.MULTILINE)) == 1
    for row in full.tables[0].rows:
        for cell in row.cells.values():
            assert f"{cell.mean:.4f} ±" in text
    assert "gone (no result)" in " ".join(text.split())
    assert "…" not in text
    assert ("Percentages" in " ".join(text.split())) == (width == 200) == bool(re.search(r"\+\d+\.\d%", text))


def test_styles_in_the_terminal(full):
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="standard")
    terminal.print_board(full, console)
    text = console.file.getvalue()
    assert re.search("\x1b\\[1m0\\.\\d{4}", text)
    assert re.search("\x1b\\[4m0\\.\\d{4}", text)
    assert "\x1b[32m ↑" in text
    assert "\x1b[31m ↓" in text


def test_a_board_where_nothing_ran_can_be_shown():
    board = make({"base": [], "x": []}, absent={"x": "too costly"})
    console = Console(file=io.StringIO(), width=80)
    terminal.print_board(board, console)
    assert "x: not run: too costly" in console.file.getvalue()
    assert "| x (no result) | – | – |" in markdown.to_markdown(board)
    assert len(csv_.to_csv(board).splitlines()) == 3
    assert not Page(render.to_html(board)).open
    assert r"x {\scriptsize(no result)} & -- & -- \\" in latex.to_latex(board)


def test_labels_are_no_markup_of_rich():
    console = Console(file=io.StringIO(), width=80)
    terminal.print_board(make({"[red]base[/]": [{"hit@1": 0.1}]}, baseline="[red]base[/]"), console)
    assert "[red]base[/]" in console.file.getvalue()


def test_all_files_are_written(full, tmp_path):
    paths = render.write(full, tmp_path / "new")
    assert [path.name for path in paths] == ["leaderboard.md", "leaderboard.tex", "leaderboard.csv", "leaderboard.html"]
    assert sorted(tmp_path.joinpath("new").iterdir()) == sorted(paths)
    assert paths[0].read_text("utf-8") == markdown.to_markdown(full)
    assert paths[3].read_text("utf-8") == render.to_html(full)
    tmp_path.joinpath("file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        render.write(full, tmp_path / "file")


def test_the_leaderboard_is_made_without_recbole():
    code = (
        "import sys, recbole_mind.experiments.leaderboard.render\n"
        "print(sorted({'recbole', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
