"""SASRec (Kang and McAuley, ICDM 2018) with our loss, negatives, similarity and ranking: the strongest single vector.

RecBole's transformer reads the history; all else is what MIND and YouTubeDNN have, so that a leaderboard's rows differ
in nothing but how they read. ``python -m benchmarks leaderboard FILE`` knows it as ``SampledSASRec``.
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.model.layers import TransformerEncoder
from torch import Tensor, nn

from recbole_mind.layers.batch_shards import ALONE, Share
from recbole_mind.layers.routing import like_lengths
from recbole_mind.models import Encoded, RetrievalModel


class SampledSASRec(RetrievalModel):
    """The transformer's state at the newest behaviour is the user's one vector; the profile is not read."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.positions = nn.Embedding(self.max_seq_length, self.size)
        nn.init.normal_(self.positions.weight, std=config["initializer_range"])
        self.norm = nn.LayerNorm(self.size, eps=1e-12)
        self.input_dropout = nn.Dropout(config["hidden_dropout_prob"])
        self.encoder = TransformerEncoder(
            n_layers=config["n_layers"],
            n_heads=config["n_heads"],
            hidden_size=self.size,
            inner_size=config["inner_size"],
            hidden_dropout_prob=config["hidden_dropout_prob"],
            attn_dropout_prob=config["attn_dropout_prob"],
            hidden_act="gelu",
            layer_norm_eps=1e-12,
        )

    def _newest(self, behaviors: Tensor, lengths: Tensor) -> Tensor:
        """The states ``[B, D]`` at the newest of ``behaviors`` [B, L, D]."""
        L = behaviors.shape[1]
        places = torch.arange(L, device=behaviors.device)
        seen = (places <= places[:, None]) & (places < lengths[:, None, None])  # [B, L, L]
        mask = torch.where(seen, 0.0, -10000.0)[:, None]
        states = self.input_dropout(self.norm(behaviors + self.positions.weight[:L]))
        states = self.encoder(states, mask, output_all_encoded_layers=True)[-1]
        return states[torch.arange(len(lengths)), lengths - 1]

    def encode(self, behaviors: Tensor, lengths: Tensor, profile: Tensor) -> Encoded:
        newest = (lengths[:, None] - 1 == torch.arange(behaviors.shape[1])).to(behaviors.dtype)
        interests = self.compared(self._newest(behaviors, lengths))[:, None]
        return Encoded(interests, torch.ones(interests.shape[:2], dtype=torch.bool), newest[:, None])

    def read(
        self, vectors: Tensor, place: Tensor, lengths: Tensor, users: Tensor, share: Share = ALONE
    ) -> tuple[Tensor, Tensor]:
        ordered, order = lengths.sort()
        states = [  # of histories of like length, so that little of the work is padding
            self._newest(vectors[place[order[start:end], :longest]], ordered[start:end])
            for start, end, longest in like_lengths(ordered)
        ]
        found = self.compared(torch.cat(states))[:, None]
        interests = torch.empty_like(found).index_copy(0, order, found)
        return interests, torch.ones(len(lengths), 1, dtype=torch.bool, device=lengths.device)
