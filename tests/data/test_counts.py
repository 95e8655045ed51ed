"""Interactions that are left out are counted, told and compared."""

from __future__ import annotations

import csv
import json

import pytest

from recbole_mind.cli import main
from recbole_mind.training import build
from tests.support.data import SHORT_RUN
from tests.support.rows import overrides, rows, targets, write_rows


def last_of(found):
    """Each user's last item by the ten lines that anybody would write."""
    return {user: max((float(t), item) for u, item, t in found if u == user)[1] for user, _, _ in found}


# -- what is left out ----------------------------------------------------------------------------------------------


def left_out(folder, **more):
    model = more.pop("model", "MIND")
    config = build.build_config(model, "a", overrides=overrides(folder, model, **more))
    return build.build_data(config)[1].dataset.counts.record()


@pytest.mark.parametrize("model", ["MIND", "SASRec", "BPR"])
def test_interactions_that_filters_leave_out_are_counted_by_reason(tmp_path, model):
    found = rows(users=20, items=12, length=8)
    extra = [["", "i1", "1"], ["u1", "", "1"], ["", "", "1"]]
    again = [found[0], found[1]]
    write_rows(tmp_path, [*extra, *found, *again])
    write_rows(tmp_path, [[f"i{k}", "x"] for k in range(9)], "item_id:token\tkind:token", ending=".item")
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "kind"]}
    known = [row for row in found if int(row[1][1:]) < 9]
    common = {"model": model, "load_col": columns, "rm_dup_inter": "first", "topk": [5], "valid_metric": "NDCG@5"}
    data = left_out(tmp_path, **common, user_inter_num_interval="[6,inf)", item_inter_num_interval="[0,inf)")
    few = {user for user, _, _ in known if sum(u == user for u, _, _ in known) < 6}
    kept = [row for row in known if row[0] not in few]
    assert data["read"] == {"interactions": 165, "users": 20, "items": 12}
    assert data["left_out"] == {
        "without a user or an item": 3,
        "repeated (rm_dup_inter)": 2,
        "whose item_id is not in a.item": len(found) - len(known),
        "outside user_inter_num_interval or item_inter_num_interval": len(known) - len(kept),
    }
    assert data["kept"] == {
        "interactions": len(kept),
        "users": len({u for u, _, _ in kept}),
        "items": len({i for _, i, _ in kept}),
    }


def test_rows_without_a_user_beside_rows_without_an_item(tmp_path):
    """RecBole took labels for places after the first, left a good row out and kept one without an item."""
    found = rows()
    spoiled = [[("" if k == 3 else u), ("" if k == 50 else i), t] for k, (u, i, t) in enumerate(found)]
    write_rows(tmp_path, spoiled)
    good = [row for row in spoiled if row[0] and row[1]]
    for more in ({}, {"lazy_sequences": False}):
        assert targets(tmp_path, **more) == last_of(good)


def test_the_terminal_and_the_record_say_how_much_is_left_out(tmp_path, capsys):
    found = rows()
    write_rows(tmp_path, found)
    write_rows(tmp_path, [[f"i{k}"] for k in range(10)], "item_id:token", ending=".item")
    arguments = [f"--{key}={value}" for key, value in overrides(tmp_path).items()]
    columns = "--load_col={inter: [user_id, item_id, timestamp], item: [item_id]}"
    assert main.run_recbole(["--model=MIND", "--dataset=a", "--record=r.json", *arguments, columns]) == 0
    output = capsys.readouterr()
    gone = sum(int(item[1:]) >= 10 for _, item, _ in found)
    words = f"left out of 96: {gone} whose item_id is not in a.item"
    assert words in " ".join(output.out.split())
    with open("r.json") as file:
        assert json.load(file)["data"]["left_out"] == {"whose item_id is not in a.item": gone}


def test_a_leaderboard_refuses_rows_of_different_data(tmp_path, capsys):
    write_rows(tmp_path, rows())
    write_rows(tmp_path, [[f"i{k}", "x"] for k in range(10)], "item_id:token\tkind:token", ending=".item")
    short = {key: value for key, value in SHORT_RUN.items() if key not in ("topk", "valid_metric")} | {"epochs": 1}
    spec = {"models": ["MIND", "half"], "datasets": ["a"], "data_path": str(tmp_path), "seeds": [1], "baseline": "MIND"}
    spec["settings"] = {
        "all": short | {"topk": [5], "valid_metric": "NDCG@5"},
        "half": {"model": "MIND", "item_features": ["kind"]},
    }
    (tmp_path / "board.yaml").write_text(json.dumps(spec))
    assert main.main(["leaderboard", str(tmp_path / "board.yaml"), "--output=board"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "'half' and 'MIND' do not stand on the same data" in line
    assert "whose item_id is not in a.item" in line
    spec["settings"]["all"]["filter_inter_by_user_or_item"] = False
    (tmp_path / "board.yaml").write_text(json.dumps(spec))
    assert main.main(["leaderboard", str(tmp_path / "board.yaml"), "--output=board2"]) == 0
    for name in ("leaderboard.md", "leaderboard.html", "leaderboard.tex"):
        assert "data: 96 interactions, 12 users, 20 items" in (tmp_path / "board2" / name).read_text()
    with open(tmp_path / "board2/leaderboard.csv", newline="") as file:
        assert {(line["interactions"], line["left_out"]) for line in csv.DictReader(file)} == {("96", "0")}
