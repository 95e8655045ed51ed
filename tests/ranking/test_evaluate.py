"""The final list, and how far the ranker's probabilities can be believed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recbole_mind.errors import InputError
from recbole_mind.ranking.din import ORIGIN
from recbole_mind.ranking.evaluate import evaluate, ranked_order
from recbole_mind.ranking.run import Ranker, _config, _model
from recbole_mind.ranking.settings import settings


class _Known(torch.nn.Module):
    """A ranker that knows the answer: even items are clicked with a probability of .8, others of .3."""

    LABEL_FIELD = "label"

    def __init__(self, wanted):
        super().__init__()
        self.popularity = torch.zeros(1)
        self.wanted = wanted

    def logits(self, interaction):
        return torch.where(self.wanted(interaction), math.log(4), math.log(3 / 7))

    def predict(self, interaction):
        return self.logits(interaction).sigmoid()


@pytest.fixture(scope="module")
def ranker(loaded, stage):
    own, _ = settings({"history": 5, "embedding_size": 4, "candidates": 12, "num_negatives": 4})
    config = _config(loaded, own, 1, {})
    return Ranker(_model(config, loaded, stage, own).eval(), loaded, stage, own, config, {})


def test_a_ranker_that_knows_the_targets_puts_them_first(ranker):
    lists = ranker.test_lists()
    target_of = dict(zip(lists.users[lists.rows].tolist(), lists.targets.tolist(), strict=True))
    model = _Known(
        lambda batch: torch.tensor(
            [target_of[u] == i for u, i in zip(batch["user_id"].tolist(), batch["item_id"].tolist(), strict=True)]
        )
    )
    found = evaluate(model, ranker.batches(lists))
    brought = lists.found().any(1).mean()
    figures = found.figures()
    assert figures["ndcg@10"] == pytest.approx(brought)  # one target each: at the top wherever recall brings it
    assert figures["recall_ndcg@10"] < figures["ndcg@10"]
    assert found.auc == 1.0
    drawn = ranker.batches(lists).batch(torch.arange(len(lists.brought()[0])), torch.Generator().manual_seed(0))
    share = float(drawn["label"].mean())
    assert found.pcoc == pytest.approx((share * 0.8 + (1 - share) * 0.3) / share)


def test_the_figures_are_their_definitions(ranker):
    lists = ranker.test_lists()
    model = _Known(lambda batch: batch["item_id"] % 2 == 0)
    found = evaluate(model, ranker.batches(lists))
    batch = ranker.batches(lists).batch(torch.arange(len(ranker.batches(lists).rows)), torch.Generator().manual_seed(0))
    guess, label = model.predict(batch).double().numpy(), batch["label"].numpy()
    pairs = [(g > h) + 0.5 * (g == h) for g in guess[label == 1] for h in guess[label == 0]]
    assert found.auc == pytest.approx(np.mean(pairs))
    assert found.pcoc == pytest.approx(guess.mean() / label.mean())
    assert found.loss == pytest.approx(-np.mean(np.where(label == 1, np.log(guess), np.log(1 - guess))))


def test_without_a_click_among_the_candidates_nothing_is_said_of_probabilities(ranker):
    lists = ranker.test_lists()
    lists.targets[:] = lists.ids.max() + 1
    found = evaluate(ranker.model, ranker.batches(lists))
    assert all(math.isnan(value) for value in (found.auc, found.pcoc, found.loss))
    assert found.figures()["recall@10"] == 0


def test_ties_stay_in_recalls_order_and_empty_places_come_last(ranker):
    lists = ranker.test_lists()
    lists.ids[0, 5:] = 0
    model = _Known(lambda batch: batch[ORIGIN] < 0)  # all alike
    assert ranked_order(model, ranker.batches(lists))[0].tolist() == list(range(12))
    model = _Known(lambda batch: batch["item_id"] == 0)  # would like the empty ones
    assert sorted(ranked_order(model, ranker.batches(lists))[0].tolist()[:5]) == list(range(5))


def test_probabilities_that_are_no_numbers_are_told(ranker):
    lists = ranker.test_lists()
    model = _Known(lambda batch: batch["item_id"] > 0)
    model.predict = lambda interaction: model.logits(interaction) * math.nan
    with pytest.raises(InputError, match="learning_rate is too high"):
        evaluate(model, ranker.batches(lists))


def test_lists_shorter_than_they_are_judged_by_are_judged(ranker):
    lists = ranker.stage.lists(ranker.loaded.test_data, 3)
    figures = evaluate(ranker.model, ranker.batches(lists)).figures()
    assert figures["recall@10"] == figures["recall@50"] == pytest.approx(lists.found().any(1).mean())
