"""Patches of RecBole's case study, which ranks the items of single users."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from recbole_mind.data import history_mask
from recbole_mind.plugin.patches.patch import Patch, Wrap


class _Unmasked:
    """A loader of a model without a sequence, whose users have no history."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self.uid2history_item = np.empty(loader._dataset.user_num, object)
        self.uid2history_item[:] = [torch.zeros(0, dtype=torch.int64)] * loader._dataset.user_num

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def masked_scores(
    original: Callable[..., torch.Tensor], uid_series: Any, model: Any, test_data: Any, device: Any = None
) -> torch.Tensor:
    """The scores of all items for users, ``[U, N]``, without the items that the evaluation keeps out.

    RecBole's own keeps the history out for models without a sequence, and for those alone.
    """
    dataset = test_data._dataset
    asked = dataset.config["mask_history"]
    if not test_data.is_sequential:
        return original(uid_series, model, _Unmasked(test_data) if asked is False else test_data, device)
    scores = original(uid_series, model, test_data, device)
    if asked:
        users = torch.as_tensor(uid_series)[:, None]
        _, rows = (dataset.inter_feat[dataset.uid_field] == users).nonzero(as_tuple=True)
        interaction = dataset[rows]
        kept_out = history_mask.history_of(dataset, interaction, *history_mask.targets_of(dataset, interaction))
        scores[tuple(part.to(scores.device) for part in kept_out)] = -torch.inf
    return scores


CASE_STUDY = Patch("case_study", since="RecBole 1.2.1",
    fault="full_sort_topk and full_sort_scores recommend what mask_history keeps out",
    cure="they rank as the evaluation does",
    changes=(Wrap("recbole.utils.case_study:full_sort_scores", masked_scores),))  # fmt: skip
