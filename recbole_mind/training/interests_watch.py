"""What the interests of some users do while a model trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from recbole_mind.layers.interest_statistics import coupling_statistics

WATCHED = 256  # validation users


class InterestsWatch:
    """Statistics of the interests of some validation users, the same ones after every epoch.

    The users are drawn once from a generator of their own: training and its figures do not change.

    Args:
        model: one with several interests.
        seed: of the generator.
        device: of the model.
    """

    def __init__(self, model: Any, seed: int, device: torch.device) -> None:
        self._model, self._seed, self._device = model, seed, device
        self._watched: tuple[Any, Any] | None = None  # validation data, and its users

    def figures(self, valid_data: Any) -> dict[str, float]:
        """What :func:`~recbole_mind.layers.interest_statistics.coupling_statistics` says of the users now."""
        if self._watched is None or self._watched[0] is not valid_data:
            n = len(valid_data.dataset)
            drawn = np.random.default_rng(self._seed).choice(n, min(n, WATCHED), replace=False)
            self._watched = valid_data, valid_data.dataset[np.sort(drawn)].to(self._device)
        users = self._watched[1]
        interests, active, weights = self._model.encoded(users)
        lengths = users[self._model.ITEM_SEQ_LEN]
        return coupling_statistics(interests.float(), active, weights.float(), lengths)
