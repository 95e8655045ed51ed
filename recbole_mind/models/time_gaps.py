"""The time between a history's behaviours and its newest one, out of RecBole's interactions.

Shape legend: B rows of a batch, L history length (padded).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mind.errors import require
from recbole_mind.layers.recency import Recency

_SAMPLE = 4096  # histories that show what is usual


class TimeGaps(nn.Module):
    """Gaps in spans of the data's time, so that they are the same in any unit.

    Args:
        config: RecBole's.
        dataset: the training data, which has kept how its times were normalised.

    Attributes:
        span: newest less oldest time of the data that the model was trained with, in the file's unit.

    Raises:
        InputError: the data set does not know its times' unit.
    """

    span: Tensor  # [] float64

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__()
        unit: float = getattr(dataset, "time_unit", 0.0)
        require(unit > 0, "recency_gaps: True needs times of one .inter file, read with lazy_sequences: True")
        self.field, self.lengths_field = dataset.time_field + config["LIST_SUFFIX"], dataset.item_list_length_field
        times = dataset.inter_feat.interaction.store.columns[dataset.time_field]
        self._unit = unit  # of the data at hand, which need not be those of the training
        span = (float(times.max()) - float(times.min())) * self._unit
        self.register_buffer("span", torch.tensor(span or 1.0, dtype=torch.float64))

    def forward(self, interaction: Interaction) -> Tensor | None:
        """The gaps ``[B, L]`` of the histories in ``interaction``; ``None`` where it holds no times."""
        if self.field not in interaction:
            return None
        times, lengths = interaction[self.field].double(), interaction[self.lengths_field]
        newest = times.gather(1, (lengths - 1).clamp(min=0)[:, None].long())
        gaps: Tensor = ((newest - times).clamp(min=0) * (self._unit / self.span)).float()
        return gaps

    def tell_usual(self, recency: Recency, dataset: Any) -> None:
        """Tell ``recency`` the usual gaps, from histories of the training data that lie evenly in it."""
        rows = dataset.inter_feat
        chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE)).astype(np.int64))
        histories = rows[torch.from_numpy(chosen)]
        gaps = self(histories)
        if gaps is not None:
            recency.set_usual(gaps, histories[self.lengths_field])


def single_recency(config: Any, dataset: Any, max_length: int, clock: TimeGaps | None) -> Recency:
    """The one curve of weights that the settings ask for, of a model with a ``clock`` or without."""
    gaps, start = clock is not None, config["recency_start"]
    layer = Recency(config["recency"], start=start, max_length=max_length, time_gaps=gaps)
    if clock is not None:
        clock.tell_usual(layer, dataset)
    return layer
