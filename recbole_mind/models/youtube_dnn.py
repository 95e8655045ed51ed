"""YouTube DNN's candidate generation (Covington et al., RecSys 2016), as a RecBole sequential model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_mind.layers.batch_shards import ALONE, Share
from recbole_mind.models.base import Encoded, RetrievalModel
from recbole_mind.models.time_gaps import single_recency


class YouTubeDNN(RetrievalModel):
    """One vector per user: the mean of the history's item vectors, joined by the profile, through the ReLU layers.

    Item vectors, profile, ReLU layers, similarity, losses and ranking are MIND's, so that the two differ in nothing
    but the way they read a history. ``recency`` makes the mean a weighted one, which the paper does not.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.recency = single_recency(config, dataset, self.max_seq_length, self.time_gaps)

    def read(
        self,
        vectors: Tensor,
        place: Tensor,
        lengths: Tensor,
        users: Tensor,
        share: Share = ALONE,
        gaps: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        weights = self.recency.shares(lengths, place.shape[1], gaps)[:, 0].to(vectors.dtype)
        mean = nn.functional.embedding_bag(place, vectors, per_sample_weights=weights, mode="sum")  # [B, D]
        interests = self.interest_layers(mean[:, None], self.profile(users, share))  # [B, 1, D]
        return self.compared(interests), torch.ones(len(lengths), 1, dtype=torch.bool, device=lengths.device)

    def encode(self, behaviors: Tensor, lengths: Tensor, profile: Tensor, gaps: Tensor | None = None) -> Encoded:
        share = self.recency.shares(lengths, behaviors.shape[1], gaps)  # [B, 1, L]
        interests = self.compared(self.interest_layers(share @ behaviors, profile))
        return Encoded(interests, torch.ones(interests.shape[:2], dtype=torch.bool), share)
