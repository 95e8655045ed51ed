"""RecBole's ``Interaction`` without rows of its own, for :mod:`recbole_mind.data.dataset`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_mind.data.history_store import Samples


class LazyInteraction(Interaction):
    """RecBole's ``Interaction`` on ``history_store.Samples``: fields are made when they are read."""

    interaction: Samples

    def __init__(self, samples: Samples) -> None:
        self.interaction, self.length = samples, samples.number

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            return self.interaction[index]
        if isinstance(index, (int, np.integer)) or getattr(index, "shape", None) == ():
            one = self.interaction.take(as_index([int(index)]))
            return Interaction({field: values[0] for field, values in one.items()})
        return LazyInteraction(self.interaction.take(as_index(index)))

    def __deepcopy__(self, memo: Any) -> LazyInteraction:
        return LazyInteraction(self.interaction.copy())

    def __copy__(self) -> LazyInteraction:
        return LazyInteraction(self.interaction)

    def __reduce__(self) -> Any:
        if self.interaction.keep:  # a batch on its way from a worker
            return Interaction, (dict(self.interaction),)
        return LazyInteraction, (self.interaction,)

    def to(self, device: Any, selected_field: Any = None) -> Interaction:
        if selected_field is not None:
            return super().to(device, selected_field)
        return LazyInteraction(self.interaction.to(torch.device(device)))

    def cpu(self) -> Interaction:
        return self.to("cpu")

    def repeat(self, sizes: int) -> LazyInteraction:
        return LazyInteraction(self.interaction.repeat(sizes))

    def add_prefix(self, prefix: str) -> None:
        fields = dict(self.interaction)  # made, since recipes know each other by name
        self.interaction.fields = {prefix + field: values for field, values in fields.items()}

    def _reindex(self, index: Any) -> None:
        self.interaction = self.interaction.take(as_index(index))

    def sort(self, by: Any, ascending: Any = True) -> None:
        fields = [by] if isinstance(by, str) else by
        if ascending is True and len(fields) == 1 and fields[0] in self and self.interaction.sort_whole(fields[0]):
            return
        super().sort(by, ascending)


def as_index(index: Any) -> slice | Tensor:
    """What torch indexes rows with, from all that RecBole indexes an ``Interaction`` with."""
    if isinstance(index, slice):
        return index
    array = np.asarray(index)
    return torch.from_numpy(array if array.dtype == bool else array.astype(np.int64))
