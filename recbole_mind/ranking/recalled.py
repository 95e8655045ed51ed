"""What recall brings for histories, and what came of it: the lists that a ranker learns from and is judged on.

Shape legend: R histories, L behaviours of one, K interests, D embedding size, M candidates, P targets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_mind.retrieval.index import MultiVectorIndex
from recbole_mind.retrieval.types import Bools, Exclusions, Ints

_ROWS = 1024  # histories at a time


@dataclass(frozen=True, eq=False)
class RecalledLists:
    """Histories, what recall brings for each, and their targets.

    Attributes:
        users: ``[R]``.
        histories: ``[R, L]`` item ids, oldest first, padded with 0 at the end.
        lengths: ``[R]``.
        interests: ``[R, K, D]``, and which are ``active`` ``[R, K]``.
        ids: ``[R, M]`` candidates, best first; 0 where there are no more.
        scores: ``[R, M]`` recall's.
        origins: ``[R, M]`` which interest brought each.
        rows: ``[P]`` whose history a target goes on.
        targets: ``[P]`` item ids.
    """

    users: Tensor
    histories: Tensor
    lengths: Tensor
    interests: Tensor
    active: Tensor
    ids: Tensor
    scores: Tensor
    origins: Tensor
    rows: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.users)

    def chosen(self, rows: Tensor) -> RecalledLists:
        """The lists at ``rows``, in their order."""
        place = torch.full((len(self),), -1)
        place[rows] = torch.arange(len(rows))
        mine = place[self.rows] >= 0
        parts = {
            name: getattr(self, name)[rows]
            for name in ("users", "histories", "lengths", "interests", "active", "ids", "scores", "origins")
        }
        return RecalledLists(**parts, rows=place[self.rows[mine]], targets=self.targets[mine])

    def found(self) -> Bools:
        """``[R, M]``, which candidates are targets."""
        width = int(max(self.ids.max(), self.targets.max())) + 1
        wanted = torch.unique(self.rows * width + self.targets)
        keys = torch.arange(len(self))[:, None] * width + self.ids
        result: Bools = (torch.isin(keys, wanted) & (self.ids > 0)).numpy()
        return result

    def brought(self) -> tuple[Tensor, Tensor]:
        """Row and place ``[Q]`` of each target that is among the candidates, a repeated one once."""
        rows, places = np.nonzero(self.found())
        return torch.from_numpy(rows), torch.from_numpy(places)

    def numbers(self) -> Ints:
        """``[R]``, different targets of each."""
        width = int(self.targets.max()) + 1
        wanted = torch.unique(self.rows * width + self.targets)
        return np.bincount((wanted // width).numpy(), minlength=len(self))


class RecallStage:
    """A trained model of recall, ready to bring candidates.

    Args:
        model: on :class:`~recbole_mind.models.base.RetrievalModel`.
        history: the last behaviours of a history that are kept for the ranker.

    Attributes:
        vectors: ``[N + 1, D]`` of the items, row 0 of padding.
        scale: by which a score becomes the logit that recall was trained with.
    """

    @torch.no_grad()
    def __init__(self, model: Any, history: int) -> None:
        self.model, self._history = model.eval(), history
        self.vectors: Tensor = model.item_vectors().detach().float().cpu()
        self.scale = 1 / float(model.temperature)
        self.index = MultiVectorIndex.build(np.ascontiguousarray(self.vectors[1:].numpy()), "exact", device="cpu")

    def lists(self, batches: Iterable[Any], n: int, chosen: Tensor | None = None) -> RecalledLists:
        """What recall brings for the rows of a loader's batches.

        Args:
            batches: rows, what is kept out of their ranking, and their targets, as a loader for evaluation gives them.
            n: how many candidates.
            chosen: ``[R]`` booleans, which of the rows; by default all.
        """
        parts, start, seen = [], 0, 0
        for rows, history, targets_of, targets in batches:
            targets_of, targets = targets_of.cpu(), targets.cpu()
            kept = torch.arange(len(rows)) if chosen is None else chosen[seen : seen + len(rows)].nonzero().flatten()
            seen += len(rows)
            if not len(kept):
                continue
            if len(kept) < len(rows):
                place = torch.full((len(rows),), -1)
                place[kept] = torch.arange(len(kept))
                mine = place[targets_of] >= 0
                rows, targets_of, targets = rows[kept], place[targets_of[mine]], targets[mine]
                if history is not None:
                    whose, items = (torch.as_tensor(part).cpu().long() for part in history)
                    history = place[whose[place[whose] >= 0]], items[place[whose] >= 0]
            parts.append((*self._of(rows, history, n), targets_of + start, targets))
            start += len(rows)
        return RecalledLists(*(torch.cat(arrays) for arrays in zip(*parts, strict=True)))

    def rows_of(self, dataset: Any, rows: Tensor, mask_history: bool) -> Iterable[Any]:
        """The samples ``rows`` of a training data set, as a loader for evaluation gives them.

        Of a history, what recall reads is kept out of the ranking.
        """
        for begin in range(0, len(rows), _ROWS):
            part = dataset.inter_feat[rows[begin : begin + _ROWS]]
            items = part[dataset.iid_field]
            seen = None
            if mask_history:
                listed = part[dataset.item_id_list_field]
                seen = ((listed > 0) & (listed != items[:, None])).nonzero(as_tuple=True)
                seen = seen[0], listed[seen]
            yield part, seen, torch.arange(len(part)), items

    @torch.no_grad()
    def _of(self, rows: Any, history: Any, n: int) -> tuple[Tensor, ...]:
        model = self.model
        interests, active = model.interests(rows.to(model.item_encoder.embedding.weight.device))
        interests, active = interests.float().cpu(), active.cpu()
        pairs = torch.zeros(0, 2, dtype=torch.long)
        if history is not None:
            pairs = torch.stack([torch.as_tensor(part).cpu().long() for part in history], dim=1)
            pairs = pairs[pairs[:, 1] > 0]
            pairs = pairs[pairs[:, 0].argsort(stable=True)]
        exclusions = Exclusions(pairs[:, 0].numpy(), pairs[:, 1].numpy() - 1)
        found = self.index.search(interests.numpy(), active.numpy(), min(n, len(self.index)), exclude=exclusions)
        there = found.ids >= 0
        seq, lengths = rows[model.ITEM_SEQ].cpu(), rows[model.ITEM_SEQ_LEN].cpu()
        seq, lengths = last(seq, lengths, self._history)
        return (
            rows[model.USER_ID].cpu(),
            seq,
            lengths,
            interests,
            active,
            torch.from_numpy(np.where(there, found.ids + 1, 0).astype(np.int64)),
            torch.from_numpy(np.where(there, found.scores, 0).astype(np.float32)),
            torch.from_numpy(np.where(there, found.interests, 0).astype(np.int64)),
        )

    def scored(self, lists: RecalledLists, rows: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Recall's scores ``[P]`` of any items, and the interest that gives each.

        Args:
            rows: ``[P]`` of the lists.
            items: ``[P]`` item ids.
        """
        scores = torch.einsum("pkd,pd->pk", lists.interests[rows], self.vectors[items])
        best = scores.masked_fill(~lists.active[rows], -torch.inf).max(1)
        return best.values, best.indices


def last(histories: Tensor, lengths: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The last ``most`` behaviours of histories ``[R, L]``, padded to ``[R, most]`` with 0, and their lengths."""
    kept = lengths.clamp(max=most)
    place = (lengths - kept)[:, None] + torch.arange(most)
    there = torch.arange(most) < kept[:, None]
    return histories.gather(1, place.clamp(max=histories.shape[1] - 1)) * there, kept
