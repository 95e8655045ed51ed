"""Small data sets in RecBole's atomic format, written by the tests that need them."""

from __future__ import annotations

from recbole_mind.testing.small_data import LEAVE_ONE_OUT, LOAD, small_settings, write_small

__all__ = ["LEAVE_ONE_OUT", "LOAD", "SHORT_RUN", "small_settings", "write_small"]
# of a run that takes a second; the data set and its fields come beside it
SHORT_RUN = {
    "MAX_ITEM_LIST_LENGTH": 10,
    "embedding_size": 16,
    "relu_layers": [32],
    "train_batch_size": 64,
    "epochs": 2,
    "topk": [5, 10],
    "valid_metric": "NDCG@10",
}
