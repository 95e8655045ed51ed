"""The data set ``shop``, a table of clicks with columns of all kinds, and settings of a short run on it."""

from __future__ import annotations

import re

import numpy as np

PYTHON = re.compile(r"Traceback|\w+Error\b|\w+Exception\b|not enough values|too many values|\n")
ORDERED = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
LABELED, SAMPLED = ORDERED | {"mode": "labeled"}, ORDERED | {"mode": "uni20"}
AUC = {"metrics": ["AUC"], "valid_metric": "AUC"}


def given(folder, **more):
    usual = {"data_path": str(folder), "topk": [5], "epochs": 1, "show_progress": False}
    return usual | ({} if "metrics" in more else {"valid_metric": "MRR@5"}) | more


def write_shop(folder):
    """Write the data set ``shop`` under ``folder``: sessions and users, ratings and labels; classes and prices."""
    (folder / "shop").mkdir()
    g = np.random.default_rng(1)
    rows = ["session:token\tuser_id:token\titem_id:token\trating:float\ttimestamp:float\tliked:float"]
    for user in range(20):
        for place, item in enumerate(g.choice(30, size=6, replace=False)):
            rating = g.integers(1, 6)
            rows.append(f"s{user // 2}\tu{user}\ti{item}\t{rating}\t{100 * user + place}\t{int(rating > 3)}")
    (folder / "shop/shop.inter").write_text("\n".join(rows) + "\n")
    items = [f"i{i}\tc{i % 3} c{i % 2}\t{i / 7:.2f}" for i in range(30)]
    (folder / "shop/shop.item").write_text("\n".join(["item_id:token\tclass:token_seq\tprice:float", *items]) + "\n")
    return folder
