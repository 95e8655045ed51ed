"""A ranker as an ONNX graph and a table of items, which serve without torch.

Shape legend: M candidates, L behaviours that are read (padded), N items, W what DIN reads of an item.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_mind import export_graph
from recbole_mind.errors import require
from recbole_mind.ranking.din import RankingDIN
from recbole_mind.ranking.run import Ranker
from recbole_mind.serving.bundle import manifest
from recbole_mind.serving.bundle.ranker import INPUTS, OUTPUTS, RankingGraph
from recbole_mind.util.arrays import save_array

TOLERANCE = 1e-4  # between the exported ranker and the model, of a logit
_TRIED, _DEPTH = 50, 100  # histories and candidates of each


class _Given(nn.Module):
    """In place of DIN's embeddings: the vectors that come in."""

    def __init__(self, fields: int) -> None:
        super().__init__()
        self.fields = fields
        self.items: Tensor

    def forward(self, user: Tensor, items: Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        M, T, W = self.items.shape
        found = self.items.view(M, T, self.fields, W // self.fields)
        return {"user": found[:, 0], "item": found}, {"user": None, "item": None}


class _Graph(nn.Module):
    """DIN for one history and many candidates, from vectors alone."""

    def __init__(self, model: RankingDIN, fields: int) -> None:
        super().__init__()
        self.model, self.given = model, _Given(fields)
        self.model.embedding_layer = self.given

    def forward(
        self, behaviors: Tensor, length: Tensor, items: Tensor, popularity: Tensor, scores: Tensor, interests: Tensor
    ) -> Tensor:
        M, L = items.shape[0], behaviors.shape[0]
        self.given.items = torch.cat([behaviors.expand(M, -1, -1), items[:, None]], dim=1)  # [M, L + 1, W]
        lengths = length.expand(M)
        ids = interests[:, None].expand(-1, L)  # of which DIN takes the shape alone
        own = self.model.forward(interests, ids, lengths, interests)
        logits: Tensor = own + self.model.of_recall(scores, interests, popularity, lengths)
        return logits


@torch.no_grad()
def write(target: Path, ranker: Ranker, training: str | None, digest: str) -> manifest.RankerPart:
    """Write a ranker into the folder of a bundle.

    Args:
        target: the folder.
        ranker: of the recall that the bundle is of.
        training: the SHA-256 of the item vectors that recall was trained to, which the graph names.
        digest: SHA-256 of the ranker's checkpoint.

    Returns:
        what the manifest says of it.
    """
    model, own = ranker.model.cpu().eval(), ranker.settings
    layer = model.embedding_layer
    dense = [*layer.float_field_names["item"], *layer.float_seq_field_names["item"]]
    require(not dense, f"ranker: it reads the numerical features {', '.join(dense)}, which a bundle cannot hold")
    table = model.item_table()
    fields = table.shape[1] // own.embedding_size
    save_array(target / "ranker" / "items.npy", table[1:].numpy().astype(np.float32))
    save_array(target / "ranker" / "popularity.npy", model.popularity[1:].numpy().astype(np.float32))
    light = copy.copy(model)
    light._modules = dict(model._modules)  # the embeddings stay where they are
    graph = _Graph(light, fields).eval()
    M, L, W = 3, own.history, table.shape[1]
    example = (
        torch.randn(L, W, generator=torch.Generator().manual_seed(0)),
        torch.tensor([2]),
        torch.randn(M, W, generator=torch.Generator().manual_seed(1)),
        torch.rand(M, generator=torch.Generator().manual_seed(2)),
        torch.rand(M, generator=torch.Generator().manual_seed(3)),
        torch.zeros(M, dtype=torch.long),
    )
    path = target / "ranker.onnx"
    axes = {name: {0: "M"} for name in (*INPUTS[2:], *OUTPUTS)}
    export_graph.write(path, graph, example, INPUTS, OUTPUTS, axes, training, _settle)
    _try(path, ranker, table)
    figures = {name: float(value) if np.isfinite(value) else None for name, value in ranker.valid.items()}
    return manifest.RankerPart(
        checkpoint=digest,
        history=L,
        width=W,
        settings=own.model_dump(),
        metrics=figures,
    )


def _settle(graph: Any) -> None:
    """Replace each choice between squeezing an axis and leaving it, which torch writes where it cannot tell whether the
    axis is of size 1, by the squeeze: in DIN it always is.
    """
    nodes = []
    for place, node in enumerate(graph.node):
        if node.op_type != "If":
            nodes.append(node)
            continue
        branches = [attribute.g for attribute in node.attribute]
        squeeze = next(branch for branch in branches if any(part.op_type == "Squeeze" for part in branch.node))
        renamed = {squeeze.output[0].name: node.output[0]}
        for part in squeeze.node:
            own = type(part)()
            own.CopyFrom(part)
            for index, name in enumerate(own.output):
                own.output[index] = renamed.setdefault(name, f"{name}/{place}")
            for index, name in enumerate(own.input):
                own.input[index] = renamed.get(name, name)
            nodes.append(own)
    del graph.node[:]
    graph.node.extend(nodes)


@torch.no_grad()
def _try(path: Path, ranker: Ranker, table: Tensor) -> None:
    """Hold the graph against the model on what recall brings for some test histories."""
    graph = RankingGraph(path.read_bytes())
    lists = ranker.stage.lists([next(iter(ranker.loaded.test_data))], min(_DEPTH, ranker.settings.candidates))
    lists = lists.chosen(torch.arange(min(_TRIED, len(lists))))
    batches = ranker.batches(lists)
    for row in range(len(lists)):
        there = lists.ids[row] > 0
        ids, scores, origins = (part[row][there] for part in (lists.ids, lists.scores, lists.origins))
        if not len(ids):
            continue
        wanted = ranker.model.logits(batches.interaction(torch.full((len(ids),), row), ids, scores, origins))
        history = lists.histories[row]
        found = graph(
            (table[history] * (history > 0)[:, None]).numpy(),
            int(lists.lengths[row]),
            table[ids].numpy(),
            ranker.model.popularity[ids].numpy(),
            scores.numpy(),
            origins.numpy(),
        )
        error = float(np.abs(found - wanted.numpy()).max()) / max(1.0, float(wanted.abs().max()))
        if not error <= TOLERANCE:
            raise RuntimeError(f"the exported ranker differs from the model by {error:.1e}")
