"""RecBole's DIN as second stage: where it starts, and that it is RecBole's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recbole.model.sequential_recommender.din import DIN

from recbole_mind.ranking.evaluate import ranked_order
from recbole_mind.ranking.run import Ranker, _config, _model
from recbole_mind.ranking.settings import settings


@pytest.fixture(scope="module")
def ranker(loaded, stage):
    own, _ = settings({"history": 5, "embedding_size": 4, "candidates": 12, "mlp_hidden_size": [8, 4]})
    config = _config(loaded, own, 1, {})
    return Ranker(_model(config, loaded, stage, own).eval(), loaded, stage, own, config, {})


def test_untrained_it_ranks_as_recall_does(ranker):
    lists = ranker.test_lists()
    order = ranked_order(ranker.model, ranker.batches(lists))
    assert order.tolist() == [list(range(lists.ids.shape[1]))] * len(lists)


def test_its_logit_is_recalls_and_dins_together(ranker):
    lists = ranker.test_lists()
    batch = ranker.batches(lists).batch(torch.arange(3))
    model = ranker.model
    torch.nn.init.normal_(model.dnn_predict_layers.weight)
    assert isinstance(model, DIN)
    plain = DIN.forward(
        model, batch[model.USER_ID], batch[model.ITEM_SEQ], batch[model.ITEM_SEQ_LEN], batch[model.ITEM_ID]
    )
    with torch.no_grad():
        assert torch.allclose(model.logits(batch) - plain, batch["recall_score"] * ranker.stage.scale, atol=1e-5)
        torch.nn.init.zeros_(model.dnn_predict_layers.weight)


def test_the_first_guess_is_the_share_that_is_clicked(ranker):
    scores = torch.tensor([0.2, 0.4])
    ranker.model.calibrate(scores, 0.1)
    with torch.no_grad():
        zero = torch.zeros(1)
        found = ranker.model.of_recall(torch.tensor([0.3]), zero.long(), zero, zero + 1).sigmoid()
    assert float(found) == pytest.approx(0.1, abs=1e-6)


def test_items_start_as_the_main_directions_of_recalls_vectors(ranker, stage):
    """Inner products of the starts are those of the vectors, centred, as far as four directions hold them."""
    model = ranker.model
    real = stage.vectors[1:].numpy()
    left, values, _ = np.linalg.svd(real - real.mean(0), full_matrices=False)
    wanted = (left[:, :4] * values[:4]) @ (left[:, :4] * values[:4]).T
    fields = model.embedding_layer.token_field_names["item"]
    first = model.embedding_layer.token_field_offsets["item"][fields.index(model.ITEM_ID)]
    table = model.embedding_layer.token_embedding_table["item"].embedding.weight.detach().numpy()
    start = table[first + 1 : first + len(real) + 1]
    found = start @ start.T
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.9999


def test_the_table_of_items_is_what_din_reads(ranker):
    model, layer = ranker.model, ranker.model.embedding_layer
    with torch.no_grad():
        sparse, _ = layer(torch.zeros(1, dtype=torch.long), torch.tensor([[3, 7]]))
        assert torch.equal(model.item_table()[[3, 7]], sparse["item"][0].flatten(1))
