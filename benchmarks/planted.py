"""Do the interests separate? Planted blocks, found by routing, with K-means on the same vectors beside it.

30 blocks of 20 items; each user has three blocks, six behaviours from each, shuffled; the target is another item of one
of the three. Of 60 recalled items all should come from the user's blocks (Recall@60, history not masked), and the
argmax of the coupling coefficients should group the behaviours by block (adjusted Rand index).

    python -m benchmarks.planted --output benchmarks/records/planted.json

writes a record with three seeds for each recipe; about three minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from recbole_mind.layers.attention import LabelAwareAttention
from recbole_mind.layers.embeddings import InterestLayers, ItemEncoder
from recbole_mind.layers.functional import dropout
from recbole_mind.layers.losses import full_softmax
from recbole_mind.layers.routing import BehaviorToInterestRouting

BLOCKS, PER_BLOCK, PER_USER, BEHAVIORS = 30, 20, 3, 6
N, L = BLOCKS * PER_BLOCK + 1, PER_USER * BEHAVIORS
D, TEMPERATURE = 32, 0.07

BASE: dict[str, Any] = {
    "num_interests": 3,
    "init": "kmeans++",
    "scale": 5.0,
    "iterations": 3,
    "sigma": 1.0,
    "softmax": "interests",
    "item_std": 0.03,
    "identity": True,
    "dropout_rate": 0.2,
}
RECIPES: dict[str, dict[str, Any]] = {
    "K = 1": BASE | {"num_interests": 1},
    "kmeans++": BASE,
    "random start": BASE | {"init": "random"},
    "random start, scale 8, 5 iterations": BASE | {"init": "random", "scale": 8.0, "iterations": 5},
    "kmeans++, softmax over behaviours, dropout .3": BASE | {"softmax": "behaviors", "dropout_rate": 0.3},
    "kmeans++, no dropout": BASE | {"dropout_rate": 0.0},
    "kmeans++, sigma .1": BASE | {"sigma": 0.1},
    "kmeans++, ReLU layers not started as the identity": BASE | {"identity": False},
    "kmeans++, items started at length 1": BASE | {"item_std": D**-0.5},
    "as in the paper: random, no scale": BASE
    | {"init": "random", "scale": None, "item_std": D**-0.5, "identity": False},
}


def planted(users: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Histories ``[users, L]`` of item ids from 1, targets ``[users]`` and the users' blocks ``[users, 3]``."""
    blocks = torch.rand(users, BLOCKS, generator=generator).argsort(1)[:, :PER_USER]
    inner = torch.rand(users, PER_USER, PER_BLOCK, generator=generator).argsort(2)
    items = (blocks[:, :, None] * PER_BLOCK + inner + 1)[:, :, : BEHAVIORS + 1]
    order = torch.rand(users, L, generator=generator).argsort(1)
    history = items[:, :, :BEHAVIORS].reshape(users, L).gather(1, order)
    which = torch.randint(PER_USER, (users,), generator=generator)
    return history, items[torch.arange(users), which, BEHAVIORS], blocks


class Model(torch.nn.Module):
    """MIND's layers without RecBole."""

    def __init__(self, *, item_std: float, identity: bool, dropout_rate: float, seed: int, **routing: Any) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.items = ItemEncoder(num_items=N, size=D)
        torch.nn.init.normal_(self.items.embedding.weight, std=item_std)
        self.routing = BehaviorToInterestRouting(
            size=D, max_length=L, adaptive=False, recency=1.0, seed=seed, **routing
        )
        self.layers = InterestLayers(size=D, profile_size=0, hidden=[4 * D])
        if not identity:
            for layer in self.layers.layers[::2]:
                layer.reset_parameters()
        self.attention = LabelAwareAttention(p=float("inf"))
        self.dropout_rate = dropout_rate
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """Unit interests ``[B, K, D]`` and coupling coefficients ``[B, K, L]``."""
        behaviors = self.items(history)
        if self.training:
            behaviors = dropout(behaviors, self.dropout_rate, self.generator)
        capsules = self.routing(behaviors, history > 0, self.generator if self.training else None)
        interests = self.layers(capsules.interests, torch.zeros(len(history), 0))
        return torch.nn.functional.normalize(interests, dim=2), capsules.coupling

    def loss(self, history: Tensor, target: Tensor) -> Tensor:
        """Full softmax against the target."""
        interests, _ = self(history)
        items = torch.nn.functional.normalize(self.items.table(), dim=1)
        active = torch.ones(interests.shape[:2], dtype=torch.bool)
        user = self.attention(interests, active, items[target])
        return full_softmax(user, items, target, temperature=TEMPERATURE)


def run(*, seed: int, users: int = 6000, epochs: int = 15, held_out: int = 500, **recipe: Any) -> dict[str, float]:
    """Train on planted users and measure on others; every number follows from ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    history, target, _ = planted(users, generator)
    test, _, blocks = planted(held_out, generator)
    model = Model(seed=seed, **recipe)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    began = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(users, generator=generator).split(128):
            optimizer.zero_grad()
            model.loss(history[rows], target[rows]).backward()
            optimizer.step()
    seconds = time.perf_counter() - began
    model.eval()
    with torch.no_grad():
        interests, coupling = model(test)
        items = torch.nn.functional.normalize(model.items.table(), dim=1)[1:]
        recalled = (interests @ items.T).amax(1).topk(PER_USER * PER_BLOCK, dim=1).indices // PER_BLOCK
        recall = (recalled[:, :, None] == blocks[:, None, :]).any(2).float().mean()
        truth = ((test - 1) // PER_BLOCK).numpy()
        found = coupling.argmax(1).numpy()
        vectors = items[test - 1].numpy()
    rand = [adjusted_rand_score(a, b) for a, b in zip(truth, found, strict=True)]
    means = [
        adjusted_rand_score(a, KMeans(PER_USER, n_init=10, random_state=0).fit_predict(x))
        for a, x in zip(truth[:60], vectors[:60], strict=True)
    ]
    return {
        "recall@60": float(recall),
        "adjusted_rand_index": float(np.mean(rand)),
        "kmeans_adjusted_rand_index": float(np.mean(means)),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Run every recipe with three seeds, print the table, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="where the record goes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = {
        "what": "planted interests",
        "command": f"python -m benchmarks.planted --output {arguments.output}",
        "seeds": arguments.seeds,
        "machine": {"processor": platform.machine(), "threads": 1},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "recipes": {},
    }
    print(f"{'':52}{'Recall@60':>16}{'Rand index':>16}{'K-means':>16}")
    for name, recipe in RECIPES.items():
        results = [run(seed=seed, **recipe) for seed in arguments.seeds]
        record["recipes"][name] = {"settings": recipe, "results": results}
        cells = []
        for key in ("recall@60", "adjusted_rand_index", "kmeans_adjusted_rand_index"):
            values = [result[key] for result in results]
            cells.append(f"{np.mean(values):.3f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.3f}")
        print(f"{name:52}" + "".join(f"{cell:>16}" for cell in cells), flush=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
