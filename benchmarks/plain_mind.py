"""MIND's mathematics written straight down, as RecBole's models are: the baseline of ``benchmarks.training``.

The same model as ours with ``loss_type: sampled``, ``sampled_form: nce`` and default settings but for dropout: every
padded position is computed, every table row has a gradient, the logits are a tensor.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class PlainMIND(nn.Module):
    """MIND over ``N`` items with K interests of size D, histories of L, n shared uniform negatives."""

    def __init__(
        self, *, N: int, D: int, K: int, L: int, n: int, hidden: int, temperature: float, scale: float
    ) -> None:
        super().__init__()
        self.N, self.K, self.n, self.temperature, self.scale = N, K, n, temperature, scale
        self.items = nn.Embedding(N, D, padding_idx=0)
        self.items.weight.data.normal_(std=0.03)
        self.bilinear = nn.Linear(D, D, bias=False)
        self.layers = nn.Sequential(nn.Linear(D, hidden), nn.ReLU(), nn.Linear(hidden, D))

    def calculate_loss(self, batch: Any) -> Tensor:
        """The training loss of a batch of ours."""
        history, lengths, target = batch["item_id_list"], batch["item_length"], batch["item_id"]
        mask = torch.arange(history.shape[1]) < lengths[:, None]
        behaviors = nn.functional.normalize(self.items(history), dim=2) * self.scale
        votes = self.bilinear(behaviors)  # [B, L, D]
        active = torch.arange(self.K) < lengths.double().log2().floor().clamp(1, self.K)[:, None]  # [B, K]
        allowed = active[:, :, None] & mask[:, None, :]
        logits = torch.randn(len(history), self.K, history.shape[1])
        for iteration in range(3):
            coupling = logits.masked_fill(~allowed, -1e9).softmax(1) * allowed
            sums = torch.einsum("bkl,bld->bkd", coupling, votes if iteration == 2 else votes.detach())
            norm = sums.norm(dim=2, keepdim=True)
            capsules = sums * norm / (1 + norm**2)
            if iteration < 2:
                logits = logits + torch.einsum("bkd,bld->bkl", capsules, votes.detach())
        interests = nn.functional.normalize(self.layers(capsules), dim=2) * active[:, :, None]
        positive = nn.functional.normalize(self.items(target), dim=1)
        agreement = torch.einsum("bkd,bd->bk", interests, positive)
        weights = (agreement.sign() * agreement**2).masked_fill(~active, -math.inf).softmax(1)
        user = torch.einsum("bk,bkd->bd", weights, interests)
        ids = torch.randint(1, self.N, (self.n,))
        negatives = nn.functional.normalize(self.items(ids), dim=1)
        scores = (user @ negatives.T / self.temperature).masked_fill(ids == target[:, None], -math.inf)
        scores = torch.cat([(user * positive).sum(1, keepdim=True) / self.temperature, scores], dim=1)
        return nn.functional.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long))
