"""Item vectors with side information, and user profiles (Li et al., CIKM 2019, §3.2). Pure torch.

Shape legend: N items, U users, M values of a multi-valued feature (padded with 0), D embedding size.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from recbole_mind.errors import InputError
from recbole_mind.layers.functional import different
from recbole_mind.layers.row_adam import RowAdam


def _table(values: Tensor) -> Tensor:
    """Give a one-valued feature ``[N]`` the shape ``[N, 1]`` of a multi-valued one ``[N, M]``."""
    return values[:, None] if values.dim() == 1 else values


class Table(nn.Embedding):
    """An embedding table whose row 0 is padding, and which :class:`~recbole_mind.layers.row_adam.RowAdam` may train."""

    rows: RowAdam | None = None

    def __init__(self, num: int, size: int) -> None:
        super().__init__(num, size, padding_idx=0)

    def train_by(self, rows: RowAdam | None) -> None:
        """Have ``rows`` train the table, whose weight then collects no gradient, or nothing but its gradient."""
        self.rows = rows
        self.weight.requires_grad_(rows is None)

    def forward(self, ids: Tensor, *, once: bool = False) -> Tensor:
        """Return the rows ``[..., D]`` of ``ids`` ``[...]``; ``once`` says that each of ``[U]`` stands there once."""
        if self.rows is None or not (self.training and torch.is_grad_enabled()):
            return super().forward(ids)
        if self.rows.rows is not None:
            raise InputError("a table can be looked up once in a step")
        if once:
            return self.rows.take(ids)
        values, place = different(ids)
        return self.rows.take(values).index_select(0, place.flatten()).view(*ids.shape, -1)


class FeatureEmbedding(nn.Module):
    """Embed one categorical feature; several values are averaged, value 0 is missing.

    Args:
        values: ``[N]`` or ``[N, M]`` int64, the values of each item or user, 0 where there is none.
        size: D of the result.
    """

    values: Tensor

    def __init__(self, values: Tensor, size: int) -> None:
        super().__init__()
        self.register_buffer("values", _table(values), persistent=False)
        self.embedding = Table(max(int(values.max()), 0) + 1, size)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean vector ``[..., D]`` of ``ids`` ``[...]`` and ``[...]`` booleans: has it any value."""
        values = self.values[ids]  # [..., M]
        present = (values != 0).sum(-1)  # [...]
        vector = self.embedding(values).sum(-2) / present.clamp(min=1)[..., None]
        return vector, present > 0


class ItemEncoder(nn.Module):
    """The item vector e_i: mean of the id's embedding and of each feature that the item has.

    A multi-valued feature is first averaged over its values; a missing one leaves the mean and does not count as
    zero. Labels, histories, negatives and the index all use this function.

    Args:
        num_items: N, with item 0 as padding, whose vector is zero.
        size: D.
        features: name to ``[N]`` or ``[N, M]`` values, 0 where missing.
    """

    def __init__(self, *, num_items: int, size: int, features: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.num_items = num_items
        self.embedding = Table(num_items, size)
        self.features = nn.ModuleList(FeatureEmbedding(values, size) for values in (features or {}).values())

    def forward(self, ids: Tensor, *, once: bool = False) -> Tensor:
        """Return the vectors ``[..., D]`` of ``ids`` ``[...]``; ``once`` says that each of ``[U]`` is there once."""
        vectors: Tensor
        if once:
            vectors = self._encode(ids, once=True)
        elif not self.features:
            vectors = self.embedding(ids)
        elif ids.numel() > self.num_items:  # cheaper to encode each item once
            vectors = nn.functional.embedding(ids, self.table())
        else:
            vectors = self._encode(ids)
        return vectors

    def table(self) -> Tensor:
        """Return the vectors of the whole catalogue ``[N, D]``; row 0 is zero."""
        if not self.features:
            return self.embedding.weight
        return self._encode(torch.arange(self.num_items, device=self.embedding.weight.device))

    def _encode(self, ids: Tensor, *, once: bool = False) -> Tensor:
        total: Tensor = self.embedding(ids, once=once)  # [..., D]
        if not self.features:
            return total
        parts = torch.ones(ids.shape, device=total.device)
        for feature in self.features:
            vector, present = feature(ids)
            total = total + vector
            parts = parts + present
        # padding has no features, and its id embedding is zero
        return total / parts[..., None]


class ProfileEncoder(nn.Module):
    """The profile p_u: the embeddings of the user's features, concatenated; zeros where one is missing.

    Args:
        features: name to ``[U]`` or ``[U, M]`` values, 0 where missing.
        size: of each feature's embedding.
    """

    def __init__(self, *, features: Mapping[str, Tensor] | None, size: int) -> None:
        super().__init__()
        self.features = nn.ModuleList(FeatureEmbedding(values, size) for values in (features or {}).values())
        self.size = size * len(self.features)

    def forward(self, users: Tensor) -> Tensor:
        """Return ``[B, F·size]`` for ``users`` ``[B]`` (``[B, 0]`` without features)."""
        if not self.features:
            return torch.zeros(len(users), 0, device=users.device)
        return torch.cat([feature(users)[0] for feature in self.features], dim=1)


class InterestLayers(nn.Module):
    """The ReLU layers that turn [u_k ; p_u] into an interest (§3.2, Figure 2); the same for all interests.

    Args:
        size: D of the interests in and out.
        profile_size: length of p_u, 0 without a profile.
        hidden: widths of the hidden ReLU layers; the last layer maps to D and is linear, since ReLU there would bar
            an interest from half of each axis of the item space.

    Where every hidden layer has 2 D units or more, or there is none, the layers start near the identity on the capsule
    (x is relu(x) - relu(-x)), as S does in the routing: an interest starts beside the items that it was made of.
    """

    def __init__(self, *, size: int, profile_size: int, hidden: list[int]) -> None:
        super().__init__()
        widths = [size + profile_size, *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], size))
        if all(width >= 2 * size for width in hidden):
            _start_as_identity([layer for layer in self.layers if isinstance(layer, nn.Linear)], size)

    def forward(self, capsules: Tensor, profile: Tensor) -> Tensor:
        """Map ``capsules`` [B, K, D] and ``profile`` [B, P] to interests [B, K, D]."""
        if profile.shape[1]:
            joined = profile[:, None].expand(-1, capsules.shape[1], -1)
            capsules = torch.cat([capsules, joined], dim=2)
        interests: Tensor = self.layers(capsules)
        return interests


@torch.no_grad()
def _start_as_identity(linear: list[nn.Linear], size: int) -> None:
    """Let units 0 .. D-1 carry relu(x) and D .. 2D-1 relu(-x); what else there is starts small."""
    eye = torch.eye(size)
    for index, layer in enumerate(linear):
        layer.weight *= 0.1
        layer.bias.zero_()
        if len(linear) == 1:
            layer.weight[:, :size] = eye
        elif index == 0:
            layer.weight[: 2 * size, :size] = torch.cat([eye, -eye])
        elif index < len(linear) - 1:
            layer.weight[: 2 * size, : 2 * size] = torch.eye(2 * size)
        else:
            layer.weight[:, : 2 * size] = torch.cat([eye, -eye], dim=1)
