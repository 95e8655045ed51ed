"""Interactions with the shape of real ones, at any size: for the benchmarks.

Popularity follows a power law (Zipf within a cluster and over clusters), the number of interactions of a user is
log-normal, and a user draws from one to four clusters of items, interleaved in time.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

Ints = npt.NDArray[np.int64]


class Interactions(NamedTuple):
    """Users ``[n]`` ascending and items ``[n]``, both from 1, in order of time within a user."""

    users: Ints
    items: Ints


def interactions(users: int, items: int, total: int, seed: int = 1) -> Interactions:
    """About ``total`` interactions, at least three a user."""
    rng = np.random.default_rng(seed)
    weight = rng.lognormal(0, 1, users)
    lengths = np.maximum(3, np.round(weight * (total / weight.sum()))).astype(np.int64)
    user = np.repeat(np.arange(users), lengths)
    clusters = max(20, items // 500)
    mine = _zipf(rng, (users, 4), clusters)
    of_user = rng.integers(1, 5, users)
    cluster = mine[user, rng.integers(0, 2**31, len(user)) % of_user[user]]
    rank = _zipf(rng, len(user), items // clusters)
    return Interactions(user + 1, rank * clusters + cluster + 1)


def _zipf(rng: np.random.Generator, shape: int | tuple[int, ...], n: int) -> Ints:
    """Ranks 0 .. n-1 with probability near 1 / (rank + 1)."""
    return np.minimum(np.exp(rng.random(shape) * np.log(n + 1)).astype(np.int64) - 1, n - 1)


def write(data: Interactions, folder: Path, name: str) -> None:
    """Write ``folder/name/name.inter`` in RecBole's atomic format."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(
        {"user_id:token": data.users, "item_id:token": data.items, "timestamp:float": np.arange(len(data.users))}
    )
    frame.to_csv(folder / name / f"{name}.inter", sep="\t", index=False)


def histories(data: Interactions, rows: Ints, width: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Samples whose targets stand in ``rows`` [B]: histories ``[B, L]``, lengths, targets, users ``[B]``."""
    first = np.searchsorted(data.users, data.users[rows])
    lengths = np.minimum(rows - first, width)
    place = (rows - lengths)[:, None] + np.arange(width)
    history = data.items[np.minimum(place, len(data.items) - 1)] * (np.arange(width) < lengths[:, None])
    return history, lengths, data.items[rows], data.users[rows]
