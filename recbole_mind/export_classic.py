"""From a checkpoint of RecBole's ItemKNN or Pop to what a bundle holds of it in place of encoder and index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_mind.errors import require
from recbole_mind.retrieval.types import Ints
from recbole_mind.serving.bundle import manifest
from recbole_mind.serving.bundle.item_to_item import ItemLists

MODELS = ("ItemKNN", "Pop")


@dataclass(frozen=True)
class Part:
    """What is special in a bundle.

    Attributes:
        kind: of the manifest.
        index: what it says of the search.
        counts: ``[N]``, by which items are popular; ``None`` for their interactions in training.
    """

    kind: str
    index: manifest.Index
    counts: Ints | None = None


def check(name: str, factory: str, parameters: object, settings: Any) -> None:
    """Refuse what cannot be for a model of :data:`MODELS`.

    Raises:
        InputError: an index is asked for, or the checkpoint compares users.
    """
    require(factory == "auto", f"index: '{factory}' is for item vectors, which {name} has not")
    require(not parameters, f"parameters: they are an index's, and {name} has none")
    method = settings.get("knn_method", "item")
    require(name != "ItemKNN" or method == "item", f"knn_method: '{method}' compares users, and whom a live history is "
            "like nobody has counted; train with knn_method=item")  # fmt: skip


def write(target: Path, model: Any) -> Part:
    """Write what a model has learned into a bundle's folder ``target``.

    RecBole's ItemKNN scores a user's history, as counts, times a matrix ``w``, whose column i holds the ``k`` items
    that are most similar to item i. A live history needs rows: what each of its items adds to which others. Pop counts
    items as RecBole does, once a batch.

    Raises:
        InputError: the checkpoint's matrix is none of similarities.
    """
    if type(model).__name__ == "Pop":
        counts = model.item_cnt.ravel().cpu().numpy().astype(np.int64)[1:]
        return Part(manifest.POPULARITY, manifest.Index(factory="popularity"), counts)
    w = model.w.tocsr()[1:, 1:]  # RecBole's item 0 is padding
    w.sum_duplicates()
    w.eliminate_zeros()
    good = bool(np.isfinite(w.data).all()) and bool((w.data > 0).all())
    require(good, "checkpoint: its similarities hold values that are not above 0 and finite")
    require(w.nnz > 0, "checkpoint: no two items are similar; train on more interactions")
    ItemLists(w.indptr, w.indices, w.data).save(target / "lists")
    return Part(manifest.ITEM_TO_ITEM, manifest.Index(factory=f"{w.nnz:,} pairs of similar items"))
