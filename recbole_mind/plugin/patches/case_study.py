"""What is kept out of a ranking: the user's own history, where ``mask_history`` asks for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from recbole_mind.data.history_mask import HISTORY_ROW
from recbole_mind.errors import require


def history(dataset: Any, interaction: Any, positive_u: Any, positive_i: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and items to keep out of the ranking: the whole history of each row, but not its own targets.

    That is RecBole's rule for models without a sequence (``used_ids - positive_item``), so that the tables agree.
    """
    if HISTORY_ROW in interaction:
        items, starts = dataset.history
        ends = interaction[HISTORY_ROW].numpy()
        first = starts[interaction[dataset.uid_field].numpy()]
        counts = ends - first
        rows = np.repeat(np.arange(len(ends)), counts)
        offset = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        columns = items[np.repeat(first, counts) + offset].astype(np.int64)
    else:  # a split given in files: the history is what the row says
        require(
            dataset.config["benchmark_filename"] is not None,
            f"mask_history: the data set of {dataset.config['model']} does not keep whole histories; allowed: False",
        )
        listed = interaction[dataset.item_id_list_field].numpy()
        rows, place = listed.nonzero()
        columns = listed[rows, place]
    width = dataset.item_num
    targets = positive_u.numpy() * width + positive_i.numpy()
    keep = ~np.isin(rows * width + columns, targets)
    return torch.from_numpy(rows[keep]), torch.from_numpy(columns[keep])


class _Unmasked:
    """A loader of a model without a sequence, whose users have no history; otherwise the loader itself."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self.uid2history_item = np.empty(loader._dataset.user_num, object)
        self.uid2history_item[:] = [torch.zeros(0, dtype=torch.int64)] * loader._dataset.user_num

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def unmasked(loader: Any) -> Any:
    """What RecBole's ``full_sort_scores`` takes: it keeps the history out for models without a sequence alone."""
    plain = not loader.is_sequential and loader._dataset.config["mask_history"] is False
    return _Unmasked(loader) if plain else loader


def mask(scores: torch.Tensor, users: Any, loader: Any) -> torch.Tensor:
    """Keep the history out of the ``scores`` [R, N] of a sequential model, as its evaluation does, in place.

    Args:
        scores: of the rows of ``users`` in the evaluation's data, in the order of ``users``.
        users: their ids, ``[U]``.
        loader: the evaluation's, whose data set's ``mask_history`` decides.
    """
    dataset = loader._dataset
    if not (loader.is_sequential and dataset.config["mask_history"]):
        return scores
    _, rows = (dataset.inter_feat[dataset.uid_field] == torch.as_tensor(users)[:, None]).nonzero(as_tuple=True)
    interaction = dataset[rows]
    places, targets = torch.arange(len(rows)), interaction[dataset.iid_field]
    if getattr(dataset, "targets_to_end", False):
        places, targets = dataset.targets(interaction)
    kept_out = history(dataset, interaction, places, targets)
    scores[tuple(part.to(scores.device) for part in kept_out)] = -torch.inf
    return scores
