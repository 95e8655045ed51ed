"""YouTube DNN's candidate generation (Covington et al., RecSys 2016), as a RecBole sequential model."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_mind.base import RetrievalModel, history_mask


class YouTubeDNN(RetrievalModel):
    """One vector per user: the mean of the history's item vectors, joined by the profile, through the ReLU layers.

    Item vectors, profile, ReLU layers, similarity, losses and ranking are MIND's, so that the two differ in nothing
    but the way they read a history.
    """

    def forward(self, item_seq: Tensor, lengths: Tensor, users: Tensor) -> tuple[Tensor, Tensor]:
        vectors, place = self.behaviors(item_seq)
        behaviors = torch.nn.functional.embedding(place, vectors)  # [B, L, D]
        real = history_mask(lengths, item_seq.shape[1])[:, :, None]
        mean = (behaviors * real).sum(1) / lengths.clamp(min=1)[:, None]  # [B, D]
        interests = self.interest_layers(mean[:, None], self.profile_encoder(users))  # [B, 1, D]
        return self.compared(interests), torch.ones(len(lengths), 1, dtype=torch.bool, device=lengths.device)
