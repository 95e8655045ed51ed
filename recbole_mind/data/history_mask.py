"""What is kept out of a ranking: the user's own history, where ``mask_history`` asks for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from recbole_mind.errors import require

HISTORY_ROW = "history_row"  # the row's place among all interactions, sorted by user and time


def targets_of(dataset: Any, interaction: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Row numbers and items ``[P]`` of the targets of the rows of ``interaction``."""
    if getattr(dataset, "target_ends", None) is not None:
        rows, items = dataset.targets(interaction)
        return rows, items
    return torch.arange(len(interaction)), interaction[dataset.iid_field]


def history_of(
    dataset: Any, interaction: Any, rows: torch.Tensor, items: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Row numbers and items to keep out of the ranking: the whole history of each row, but not its own targets.

    That is RecBole's rule for models without a sequence (``used_ids - positive_item``), so that the tables agree.

    Args:
        dataset: which the rows are of.
        interaction: the rows.
        rows, items: ``[P]`` their targets, see :func:`targets_of`.

    Raises:
        InputError: the data set does not keep whole histories.
    """
    if HISTORY_ROW in interaction:
        all_items, starts = dataset.history
        ends = interaction[HISTORY_ROW].numpy()
        first = starts[interaction[dataset.uid_field].numpy()]
        counts = ends - first
        places = np.repeat(np.arange(len(ends)), counts)
        offset = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        columns = all_items[np.repeat(first, counts) + offset].astype(np.int64)
    else:  # a split given in files: the history is what the row says
        require(
            dataset.config["benchmark_filename"] is not None,
            f"mask_history: the data set of {dataset.config['model']} does not keep whole histories; allowed: False",
        )
        listed = interaction[dataset.item_id_list_field].numpy()
        places, column = listed.nonzero()
        columns = listed[places, column]
    width = dataset.item_num
    targets = rows.numpy() * width + items.numpy()
    keep = ~np.isin(places * width + columns, targets)
    return torch.from_numpy(places[keep]), torch.from_numpy(columns[keep])


def ranked(
    loader: Any, interaction: Any
) -> tuple[Any, tuple[torch.Tensor, torch.Tensor] | None, torch.Tensor, torch.Tensor]:
    """What RecBole's trainer ranks of a sequential model's rows: the rows, what is kept out, and the targets."""
    dataset = loader._dataset
    rows, items = targets_of(dataset, interaction)
    history = history_of(dataset, interaction, rows, items) if loader.config["mask_history"] else None
    return interaction, history, rows, items
