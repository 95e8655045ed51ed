"""Figures are as exact as the hits that they count, unless ``metric_decimal_place`` asks for less."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from recbole_mind import InputError
from recbole_mind.config.keys import known_keys
from recbole_mind.evaluation.hits import Hits, per_user
from recbole_mind.experiments.leaderboard.runner import Leaderboard
from recbole_mind.experiments.leaderboard.spec import LeaderboardSpec
from recbole_mind.experiments.leaderboard.table import build
from recbole_mind.experiments.trial import hits_beside
from recbole_mind.training import run as quick_start
from recbole_mind.training.build import build_config
from tests.support.data import small_settings, write_small

USERS = 47  # no four decimals hold a share of them


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("odd"), users=USERS, items=60)


def is_share(value):
    """Whether a figure is a whole number of users."""
    return value * USERS == pytest.approx(round(value * USERS), abs=1e-9)


@pytest.mark.parametrize(
    ("model", "search"), [("MIND", "exact"), ("MIND", "dense"), ("Pop", "dense"), ("BPR", "dense")]
)
def test_recall_is_a_whole_number_of_users_in_every_figure_of_a_record(folder, model, search, tmp_path):
    record, scores = tmp_path / "record.json", []
    settings = small_settings(folder, eval_search=search, epochs=3, valid_metric="Recall@10")
    settings = {key: value for key, value in settings.items() if key in known_keys(model)}
    result = quick_start.run(model, "small", overrides=settings, record=record)
    written = json.loads(record.read_text())
    assert written["config"]["metric_decimal_place"] is None
    for part in (written["valid"], written["test"]):
        assert 0 < part["recall@10"] < 1
        assert is_share(part["recall@10"])
        assert is_share(part["hit@5"])
    assert all(map(is_share, written["curve"]))
    if model != "Pop":
        state = torch.load(result.checkpoint, weights_only=True)
        scores = [state["best_valid_score"], state["best_valid_result"]["recall@10"]]
    assert all(map(is_share, scores))
    if search == "exact":
        group = written["report"]["by_history_length"][0]
        assert group["recall@10"] * group["users"] == pytest.approx(
            round(group["recall@10"] * group["users"]), abs=1e-9
        )


def test_a_number_of_decimals_that_is_asked_for_is_honoured(folder):
    settings = small_settings(folder, metrics=["Recall", "AveragePopularity", "GiniIndex", "ShannonEntropy"])
    settings |= {"valid_metric": "Recall@10", "eval_search": "exact"}
    exact = quick_start.run("MIND", "small", overrides=settings)
    two = quick_start.run("MIND", "small", overrides=settings | {"metric_decimal_place": 2, "epochs": 1})
    assert any(value != round(value, 4) for value in exact.test.values())
    assert list(two.test.values()) == [round(value, 2) for value in two.test.values()]
    assert list(two.curve) == [round(value, 2) for value in two.curve]
    again = quick_start.evaluate(exact.checkpoint, overrides={"metric_decimal_place": 3})
    assert again.test == {key: round(value, 3) for key, value in exact.test.items()}
    assert quick_start.evaluate(two.checkpoint).test == two.test  # as its checkpoint says


@pytest.mark.parametrize("places", [-1, 17, 2.5, True, "four"])
def test_other_decimals_are_refused(folder, places):
    with pytest.raises(InputError, match=f"metric_decimal_place: {places!r} is not allowed; allowed: a whole number"):
        build_config("MIND", "small", overrides=small_settings(folder, metric_decimal_place=places))


def test_a_run_does_not_go_on_with_scores_that_were_rounded_otherwise(folder):
    rounded = quick_start.run("MIND", "small", overrides=small_settings(folder, metric_decimal_place=4, epochs=1))
    with pytest.raises(InputError, match=r"metric_decimal_place: .* was trained with 4, and cannot go on with None"):
        quick_start.run("MIND", "small", overrides=small_settings(folder), resume=rounded.checkpoint)
    quick_start.run(
        "MIND", "small", overrides=small_settings(folder, metric_decimal_place=4), resume=rounded.checkpoint
    )


def test_means_and_changes_of_a_board_are_those_of_the_users_hits(folder, tmp_path):
    shared = small_settings(folder)
    shared = {
        key: shared[key] for key in ("load_col", "MAX_ITEM_LIST_LENGTH", "topk", "valid_metric", "train_batch_size")
    }
    spec = LeaderboardSpec(
        models=("Pop", "YouTubeDNN"),
        datasets=("small",),
        seeds=(1, 2),
        data_path=str(folder),
        settings={"all": shared | {"epochs": 1}},
    )
    board = Leaderboard(spec, tmp_path / "board")
    board.run(show_progress=False)
    table = board.board().tables[0]
    hits = {}
    for cell in board.done:
        hits.setdefault(cell.label, []).append(Hits.load(hits_beside(board.folder / "records" / cell.file)))
    for metric in ("recall@10", "ndcg@10"):
        true = {label: [per_user(run, metric).mean() for run in runs] for label, runs in hits.items()}
        rows = {row.label: row.cells[metric] for row in table.rows}
        for label, values in true.items():
            assert rows[label].mean == pytest.approx(np.mean(values), abs=1e-11)
            assert rows[label].sd == pytest.approx(np.std(values, ddof=1), abs=1e-11)
        change = 100 * (np.mean(true["Pop"]) / np.mean(true["YouTubeDNN"]) - 1)
        assert rows["Pop"].change == pytest.approx(change, abs=1e-7)


def record(value, places, seed):
    return {"model": "m", "test": {"recall@10": value}, "seed": seed, "config": {"metric_decimal_place": places}}


def test_a_board_tells_figures_that_were_rounded_from_those_that_were_not():
    records = {("d", "p", "a", 1): record(1 / 3, None, 1), ("d", "p", "b", 1): record(0.3333, 4, 1)}
    table = build(("a", "b"), ("d",), ("p",), (1,), "a", records, lambda key: None, {}).tables[0]
    assert "b: another protocol than the table's: decimals is 4 here, not none" in table.every_note
    table = build(("b",), ("d",), ("p",), (1,), "b", records, lambda key: None, {}).tables[0]
    assert "each run's figures rounded to 4 decimals" in table.statement
