"""RecBole's DIN (Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018) as second stage.

Shape legend: B candidates, L behaviours, K interests, N items, E embedding size.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from recbole.model.sequential_recommender.din import DIN
from torch import Tensor, nn

SCORE, ORIGIN = "recall_score", "recall_interest"  # fields of a batch beside RecBole's
_ORIGIN_SIZE, _HIDDEN = 4, 16


class RankingDIN(DIN):
    """DIN whose logit adds to what recall says.

    The logit of a candidate is a · s + f(interest, s, popularity, length of the history) + DIN(history, candidate) with
    recall's score s as a logit. a starts at 1, f and DIN at 0: untrained, it ranks as recall does.

    Args:
        config: RecBole's.
        dataset: that recall was trained on.
        interests: K of recall.
        scale: by which recall's score becomes a logit.
        popularity: ``[N + 1]`` interactions of each item in training.
    """

    popularity: Tensor
    dnn_predict_layers: nn.Linear

    def __init__(self, config: Any, dataset: Any, interests: int, scale: float, popularity: Tensor) -> None:
        super().__init__(config, dataset)
        self.scale = scale
        self.register_buffer("popularity", popularity.float().log1p() / 5)
        self.of_interest = nn.Embedding(interests, _ORIGIN_SIZE)
        self.of_score = nn.Linear(_HIDDEN, 1)
        self.beside = nn.Sequential(nn.Linear(_ORIGIN_SIZE + 3, _HIDDEN), nn.Tanh(), self.of_score)
        self.weight = nn.Parameter(torch.ones(()))
        nn.init.normal_(self.of_interest.weight, std=0.1)
        for last in (self.dnn_predict_layers, self.of_score):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def of_recall(self, scores: Tensor, origins: Tensor, popularity: Tensor, lengths: Tensor) -> Tensor:
        """The part of the logits ``[B]`` that recall's scores and interests make, each ``[B]``."""
        logits = scores * self.scale
        numbers = torch.stack([logits / 5, popularity, lengths.float().log1p() / 4], dim=1)
        beside: Tensor = self.beside(torch.cat([self.of_interest(origins), numbers], dim=1)).squeeze(1)
        return self.weight * logits + beside

    def logits(self, interaction: Any) -> Tensor:
        """The logits ``[B]`` of the candidates of ``interaction``."""
        lengths, items = interaction[self.ITEM_SEQ_LEN], interaction[self.ITEM_ID]
        own: Tensor = self.forward(interaction[self.USER_ID], interaction[self.ITEM_SEQ], lengths, items)
        return own + self.of_recall(interaction[SCORE], interaction[ORIGIN], self.popularity[items], lengths)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """DIN's loss, the binary cross entropy of clicks."""
        loss: Tensor = self.loss(self.logits(interaction), interaction[self.LABEL_FIELD])
        return loss

    def predict(self, interaction: Any) -> Tensor:
        """The probabilities ``[B]`` of a click."""
        return self.logits(interaction).sigmoid()

    @torch.no_grad()
    def calibrate(self, scores: Tensor, share: float) -> None:
        """Shift the logits so that candidates of recall's ``scores`` start at about the ``share`` that is clicked."""
        self.of_score.bias.fill_(math.log(share / (1 - share)) - float(scores.mean()) * self.scale)

    @torch.no_grad()
    def start_from(self, vectors: Tensor) -> None:
        """Start the items' embeddings as the main directions of recall's ``vectors`` [N + 1, D].

        They keep the length that RecBole draws them with.
        """
        layer = self.embedding_layer
        table = layer.token_embedding_table["item"].embedding.weight
        first = int(layer.token_field_offsets["item"][layer.token_field_names["item"].index(self.ITEM_ID)])
        real = vectors[1:].numpy()
        _, _, directions = np.linalg.svd(real - real.mean(0), full_matrices=False)
        start = torch.from_numpy((real - real.mean(0)) @ directions[: table.shape[1]].T)
        start = nn.functional.pad(start, (0, table.shape[1] - start.shape[1]))  # few items have few directions
        own = slice(first + 1, first + len(vectors))  # the ids of items, among the values of other fields
        table[own] = (start * float(table[own].std() / start.std())).to(table.device)

    @torch.no_grad()
    def item_table(self) -> Tensor:
        """What DIN reads of each item, ``[N + 1, F · E]``: its embedding and those of its features."""
        items = torch.arange(self.n_items, device=self.popularity.device)
        sparse, dense = self.embedding_layer(items[:1] * 0, items[None])
        parts = [part["item"] for part in (sparse, dense) if part["item"] is not None]
        return torch.cat(parts, dim=-2)[0].flatten(1)
