"""Histories out of a model's data, and the model that reads them and recalls.

Shape legend: K active interests, L behaviours that are read, D embedding size, N items (RecBole's ids, 0 is padding).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from recbole_mind.errors import InputError, nearest, require
from recbole_mind.retrieval.index import MultiVectorIndex
from recbole_mind.retrieval.types import Exclusions, Floats, Ints
from recbole_mind.training.load import Loaded

DRAWN = 300  # users among whom those that are shown are chosen
CHOICE = (
    f"of up to {DRAWN} users drawn at random, those with the most active interests, and among these the ones whose "
    "behaviours divide most evenly over them (perplexity)"
)
_NEAR = 10_000  # names among which a near one is looked for


class Past(NamedTuple):
    """What a user did: item ids ``[l]``, oldest first, and the one that followed, 0 if there is none.

    ``gaps`` [L] are the time before the newest of those that are read, for a model that reads times.
    """

    ids: Ints
    followed: int
    gaps: Floats | None = None


class Retriever:
    """A loaded model that reads item ids and recalls exactly, without the items of the history."""

    def __init__(self, loaded: Loaded) -> None:
        name = loaded.config["model"]
        require(hasattr(loaded.model, "encode"), f"model: '{name}' has no interests to explain")
        self.loaded, self.name, self.model = loaded, name, loaded.model.eval()
        with torch.no_grad():
            table: Floats = loaded.model.item_vectors().float().cpu().numpy()
        require(bool(np.isfinite(table).all()), "checkpoint: item vectors hold NaN or infinite values")
        self.vectors = table  # [N, D]
        self.unit: Floats = to_unit(table)
        self.index = MultiVectorIndex.build(np.ascontiguousarray(table[1:]), "exact", device="cpu")

    def item_id(self, token: str) -> int:
        """RecBole's id of a raw token, 0 for an unknown one."""
        return _id(self.loaded.dataset, self.loaded.dataset.iid_field, token)

    def user_id(self, token: str | None) -> int:
        """RecBole's id of a raw token, 0 for an unknown one, which has no profile."""
        return 0 if token is None else _id(self.loaded.dataset, self.loaded.dataset.uid_field, token)

    @torch.no_grad()
    def read(self, ids: Ints, user: int, gaps: Floats | None = None) -> tuple[Floats, Floats]:
        """The active interests ``[K, D]`` of the newest of ``ids`` [l], at least one, and their weights ``[K, L]``.

        ``gaps`` [L] are the time before the newest; usual ones by default, for a model that reads them.
        """
        device = self.model.item_encoder.embedding.weight.device
        history = torch.as_tensor(ids[-self.model.max_seq_length :], dtype=torch.int64, device=device)[None]
        profile = self.model.profile_encoder(torch.tensor([user], device=device))
        lengths = torch.tensor([history.shape[1]], device=device)
        times = [] if gaps is None or self.model.time_gaps is None else [torch.as_tensor(gaps, device=device)[None]]
        found = self.model.encode(self.model.item_encoder(history), lengths, profile, *times)
        active = found.active[0].cpu().numpy()
        return found.interests[0].float().cpu().numpy()[active], found.weights[0].float().cpu().numpy()[active]

    def same_times(self, other: Retriever) -> bool:
        """Whether both models read times, of as many behaviours and in the same span."""
        clocks = self.model.time_gaps, other.model.time_gaps
        same = self.model.max_seq_length == other.model.max_seq_length
        return bool(same and None not in clocks and clocks[0].span == clocks[1].span)

    def recall(self, interests: Floats, n: int, seen: Ints) -> tuple[Ints, Floats, Ints]:
        """The ids, scores and interests of the n best items for ``interests`` [K, D] that are not ``seen``."""
        rows = np.unique(seen) - 1
        left_out = Exclusions(np.zeros(len(rows), np.int64), rows.astype(np.int64))
        vectors = np.ascontiguousarray(interests[None])
        found = self.index.search(vectors, np.ones(vectors.shape[:2], bool), min(n, len(self.index)), exclude=left_out)
        many = int((found.ids[0] >= 0).sum())
        return found.ids[0, :many] + 1, found.scores[0, :many], found.interests[0, :many]


def draw_users(loaded: Loaded, count: int, seed: int = 0) -> list[str]:
    """Draw users of the test data that show something: :data:`CHOICE`. Best first; ties in the order drawn.

    Raises:
        InputError: ``count`` is negative, or the data holds no user with a history.
    """
    require(count >= 0, f"users: {count} is not allowed; allowed: a whole number, at least 0")
    if not count:
        return []
    retriever, dataset = Retriever(loaded), loaded.dataset
    parts = [part.dataset for part in (loaded.test_data, loaded.valid_data, loaded.train_data) if len(part.dataset)]
    require(bool(parts), f"dataset: '{loaded.config['dataset']}' holds no history")
    users = np.unique(parts[0].inter_feat[dataset.uid_field].numpy())
    drawn = users[np.random.default_rng(seed).permutation(len(users))[:DRAWN]]
    ranked = []
    for place, user in enumerate(drawn.tolist()):
        token = str(dataset.field2id_token[dataset.uid_field][user])
        past = past_of(loaded, token)
        _, weights = retriever.read(past.ids, user, past.gaps)
        shares = weights.sum(1) / max(float(weights.sum()), 1e-12)
        entropy = -float((shares * np.log(np.maximum(shares, 1e-12))).sum())
        # to five digits, so that rounding does not order equals
        ranked.append((-len(weights), -round(entropy, 5), place, token))
    return [token for *_, token in sorted(ranked)[:count]]


def past_of(loaded: Loaded, token: str) -> Past:
    """What a user did before its newest row of the test data, or of validation or training where it has none there.

    Raises:
        InputError: there is no such user, or it has no history.
    """
    dataset, name = loaded.dataset, loaded.config["dataset"]
    user = _id(dataset, dataset.uid_field, token)
    if user == 0:
        known = [str(known) for known in dataset.field2id_token[dataset.uid_field][1:]]
        hint = nearest(token, known) if len(known) <= _NEAR else ""
        raise InputError(f"user: '{token}' is not in '{name}'{hint}; allowed: a raw user token of the data")
    for loader in (loaded.test_data, loaded.valid_data, loaded.train_data):
        data = loader.dataset
        if not len(data):
            continue
        rows = data.inter_feat
        own = np.flatnonzero(rows[data.uid_field].numpy() == user)
        if not len(own):
            continue
        if data.time_field in rows.columns:
            times = rows[own][data.time_field].numpy()
            own = own[times == times.max()]
        row = rows[own[-1:]]
        length = int(row[data.item_list_length_field][0])
        ids = row[data.item_id_list_field][0, :length].numpy().astype(np.int64)
        samples = getattr(rows, "interaction", None)
        if hasattr(samples, "store"):  # histories are cut from whole sequences
            sequence, starts = data.history
            ids = sequence[starts[user] : int(row.interaction.rows[0])].astype(np.int64)
        clock = loaded.model.time_gaps
        gaps = None if clock is None else clock(row.to(clock.span.device))
        return Past(ids, int(row[data.iid_field][0]), None if gaps is None else gaps[0, :length].cpu().numpy())
    raise InputError(f"user: '{token}' of '{name}' has no history; allowed: a user with two interactions or more")


def _id(dataset: Any, name: str, token: str) -> int:
    return int(dataset.field2token_id[name].get(str(token), 0)) if str(token) != "[PAD]" else 0


def to_unit(vectors: Floats) -> Floats:
    """Bring vectors ``[..., D]`` to unit length; the zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Floats = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit
