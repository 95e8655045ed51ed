"""Positives as logged, negatives from what recall brings."""

from __future__ import annotations

import pytest
import torch

from recbole_mind.ranking.batches import RankingBatches
from recbole_mind.ranking.din import SCORE
from recbole_mind.ranking.run import _config
from recbole_mind.ranking.settings import settings


def _batches(loaded, stage, **given):
    own, _ = settings({"history": 5, "embedding_size": 4, "candidates": 12, "num_negatives": 4} | given)
    lists = stage.lists(loaded.valid_data, own.candidates)
    return RankingBatches(_config(loaded, own, 1, {}), loaded.train_data._dataset, stage, lists, own), lists


def test_positives_are_the_targets_that_recall_brings(loaded, stage):
    batches, lists = _batches(loaded, stage, train_batch_size=5)
    shown = [
        (int(user), int(item))
        for batch in batches
        for user, item, label in zip(batch["user_id"], batch["item_id"], batch["label"], strict=True)
        if label == 1
    ]
    brought = [
        (int(lists.users[row]), int(target))
        for row, target in zip(lists.rows, lists.targets, strict=True)
        if target in lists.ids[row]
    ]
    assert sorted(shown) == sorted(brought)
    assert 0 < len(brought) < len(lists.targets)  # recall misses some


@pytest.mark.parametrize("negatives", ["candidates", "uniform"])
def test_negatives_are_of_the_list_and_no_targets(loaded, stage, negatives):
    batches, lists = _batches(loaded, stage, negatives=negatives)
    batch = batches.batch(torch.arange(len(batches.rows)))
    of_user = {int(user): row for row, user in enumerate(lists.users)}
    outside = 0
    for user, item, label, score in zip(batch["user_id"], batch["item_id"], batch["label"], batch[SCORE], strict=True):
        row = of_user[int(user)]
        if label == 0:
            assert int(item) not in lists.targets[lists.rows == row].tolist()
            assert int(item) > 0
            outside += int(item) not in lists.ids[row].tolist()
        expected = stage.scored(lists, torch.tensor([row]), item[None])[0]
        assert torch.allclose(score[None], expected, atol=1e-5)
    assert (outside > 0) == (negatives == "uniform")


def test_the_same_generator_draws_the_same_batch(loaded, stage):
    batches, _ = _batches(loaded, stage)
    one, other = (batches.batch(torch.arange(5), torch.Generator().manual_seed(3))["item_id"] for _ in range(2))
    assert one.tolist() == other.tolist()
