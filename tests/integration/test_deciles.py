"""The figure of the gain by categories: who is in which group, and what is counted."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import deciles
from recbole_mind import InputError
from recbole_mind.training import build


def test_groups_are_of_like_size_and_users_alike_share_one():
    counts = np.repeat(np.arange(1, 21), 5)
    single = np.linspace(0, 0.5, 100)
    several = single + np.where(counts > 10, 0.1, 0.0)
    rows = deciles.groups(counts, several, single)
    assert [row["users"] for row in rows] == [10] * 10
    assert [row["categories"] for row in rows] == [[2 * i + 1, 2 * i + 2] for i in range(10)]
    for i, row in enumerate(rows):
        assert row["difference"] == pytest.approx(0.1 if i >= 5 else 0.0)
        assert row["interval"] == pytest.approx([row["difference"]] * 2)
        assert row["several"] == pytest.approx(row["single"] + row["difference"])
    (alone,) = deciles.groups(np.full(7, 3), np.ones(7), np.zeros(7))
    assert (alone["users"], alone["categories"], alone["difference"]) == (7, [3, 3], 1.0)


def test_the_interval_is_the_means_spread():
    values = np.random.default_rng(0).normal(0.2, 1.0, 400)
    low, high = deciles.interval(values, np.random.default_rng(1))
    width = 2 * 1.96 * values.std() / 20
    assert high - low == pytest.approx(width, rel=0.1)
    assert low < values.mean() < high


def test_categories_are_those_of_the_items_before_the_targets(tmp_path):
    generator, sequences = np.random.default_rng(4), {}
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(12):
        items = generator.integers(0, 15, generator.integers(5, 20))
        sequences[f"u{user}"] = items
        lines += [f"u{user}\ti{item}\t{place}" for place, item in enumerate(items)]
    (tmp_path / "kinds").mkdir()
    (tmp_path / "kinds/kinds.inter").write_text("\n".join(lines) + "\n")
    of = {item: set(map(str, generator.choice(6, item % 3, replace=False))) for item in range(15)}  # some have none
    rows = [f"i{item}\t{' '.join(sorted(kinds))}" for item, kinds in of.items()]
    (tmp_path / "kinds/kinds.item").write_text("\n".join(["item_id:token\tkind:token_seq", *rows]) + "\n")
    given = {"data_path": str(tmp_path), "protocol": "last-fifth", "topk": [3], "valid_metric": "Recall@3"}
    config = build.build_config("MIND", "kinds", overrides=given | {"load_col": None})
    counts, tokens = deciles.categories(config, "kind")
    assert list(tokens) == sorted(sequences)
    for user, count in zip(tokens, counts, strict=True):
        items = sequences[user]
        cut = len(items) - max(1, int(0.2 * len(items)))
        assert count == len(set().union(*(of[item] for item in items[:cut])))
    with pytest.raises(InputError, match="field: 'colour' is no feature of the items of 'kinds'"):
        deciles.categories(build.build_config("MIND", "kinds", overrides=given | {"load_col": None}), "colour")


def test_the_figure_says_that_its_figures_are_the_tests():
    counts = np.repeat(np.arange(1, 21), 5)
    rows = deciles.groups(counts, np.full(100, 0.3), np.full(100, 0.2))
    record = {"groups": rows, "baseline": "YouTubeDNN", "label": "MIND", "metric": "recall@50"}
    left, right = deciles.draw(record).axes
    assert left.get_ylabel() == "recall@50 (test)"
    assert [line.get_label() for line in left.get_lines()] == ["YouTubeDNN", "MIND"]
    assert right.get_lines()[1].get_ydata() == pytest.approx([50] * 10)
    assert [text.get_text() for text in right.get_xticklabels()][:2] == ["1–2", "3–4"]
