"""Small data sets in RecBole's atomic format, written by the tests that need them."""

from __future__ import annotations

from pathlib import Path

from recbole_mind.testing.small_data import LEAVE_ONE_OUT, LOAD, small_settings, write_small

__all__ = ["LEAVE_ONE_OUT", "LOAD", "SHORT_RUN", "sequences", "small_settings", "write_small"]

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


def sequences(folder: Path) -> dict[str, list[str]]:
    """Each user's items of the data set ``small``, in the true order of time, read without RecBole."""
    rows = [line.split("\t") for line in (folder / "small/small.inter").read_text().splitlines()[1:]]
    result: dict[str, list[str]] = {}
    for user, item, _ in sorted(rows, key=lambda row: int(row[2])):
        result.setdefault(user, []).append(item)
    return result
