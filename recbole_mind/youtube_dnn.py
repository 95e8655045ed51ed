"""YouTube DNN's candidate generation (Covington et al., RecSys 2016), as a RecBole sequential model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_mind.base import RetrievalModel, history_mask


class YouTubeDNN(RetrievalModel):
    """One vector per user: the mean of the history's item vectors, joined by the profile, through the ReLU layers.

    Item vectors, profile, ReLU layers, similarity, losses and ranking are MIND's, so that the two differ in nothing
    but the way they read a history.
    """

    def read(self, vectors: Tensor, place: Tensor, lengths: Tensor, users: Tensor) -> tuple[Tensor, Tensor]:
        share = history_mask(lengths, place.shape[1]).to(vectors.dtype) / lengths.clamp(min=1)[:, None]  # [B, L]
        mean = nn.functional.embedding_bag(place, vectors, per_sample_weights=share, mode="sum")  # [B, D]
        interests = self.interest_layers(mean[:, None], self.profile(users))  # [B, 1, D]
        return self.compared(interests), torch.ones(len(lengths), 1, dtype=torch.bool, device=lengths.device)
