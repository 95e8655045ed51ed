"""Batches to train a ranker on: clicks as logged, each with negatives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_mind.data.batch_order import BatchOrder
from recbole_mind.ranking.din import ORIGIN, SCORE
from recbole_mind.ranking.recalled import RecalledLists, RecallStage
from recbole_mind.ranking.settings import RankingSettings


class RankingBatches:
    """What RecBole's trainer takes as a loader.

    Positives are the targets that recall brings: a ranker meets no others. With those that recall misses, whose scores
    are low, it would learn that low scores are clicked.

    Args:
        config: RecBole's.
        dataset: that recall was trained on, for its fields.
        stage: of recall.
        lists: whose targets are the positives.
        settings: of the ranker.

    Attributes:
        lists: as given.
        rows, places: ``[Q]`` of the positives, in the lists.
    """

    def __init__(
        self, config: Any, dataset: Any, stage: RecallStage, lists: RecalledLists, settings: RankingSettings
    ) -> None:
        self.lists = lists
        self._dataset, self._stage, self._settings = dataset, stage, settings
        self._label = config["LABEL_FIELD"]
        self.rows, self.places = lists.brought()
        self._barred = torch.from_numpy(lists.found()) | (lists.ids == 0)
        self.generator = torch.Generator().manual_seed(config["seed"])
        self.order = BatchOrder(len(self.rows), settings.train_batch_size, len(self.rows) > 0, self.generator)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Interaction]:
        for places in self.order:
            yield self.batch(torch.from_numpy(places))

    def batch(self, chosen: Tensor, generator: torch.Generator | None = None) -> Interaction:
        """The ``chosen`` positives, and after them the negatives of each.

        A draw that is a target of the same list is left out, so that some positives have fewer.
        """
        lists, n = self.lists, self._settings.num_negatives
        rows, places = self.rows[chosen], self.places[chosen]
        many = rows.repeat_interleave(n)
        if self._settings.negatives == "uniform":
            width = len(self._stage.vectors)
            drawn = torch.randint(1, width, (len(many),), generator=generator)
            good = ~torch.isin(many * width + drawn, lists.rows * width + lists.targets)
            many, drawn = many[good], drawn[good]
            scores, origins = self._stage.scored(lists, many, drawn)
        else:
            column = torch.randint(lists.ids.shape[1], (len(many),), generator=generator)
            good = ~self._barred[many, column]
            many, column = many[good], column[good]
            drawn, scores, origins = (part[many, column] for part in (lists.ids, lists.scores, lists.origins))
        own = (part[rows, places] for part in (lists.ids, lists.scores, lists.origins))
        items, scores, origins = (torch.cat(pair) for pair in zip(own, (drawn, scores, origins), strict=True))
        label = torch.zeros(len(items))
        label[: len(rows)] = 1
        every = torch.cat([rows, many])
        if len(every) == 1:  # of which batch normalisation makes nothing
            every, items, scores, origins, label = (part.repeat(2) for part in (every, items, scores, origins, label))
        return self.interaction(every, items, scores, origins, label)

    def interaction(
        self, rows: Tensor, items: Tensor, scores: Tensor, origins: Tensor, label: Tensor | None = None
    ) -> Interaction:
        """Candidates of the lists at ``rows``, as the model takes them; all arguments are ``[B]``."""
        lists, dataset = self.lists, self._dataset
        fields = {
            dataset.uid_field: lists.users[rows],
            dataset.item_id_list_field: lists.histories[rows],
            dataset.item_list_length_field: lists.lengths[rows],
            dataset.iid_field: items,
            SCORE: scores,
            ORIGIN: origins,
        }
        return Interaction(fields if label is None else fields | {self._label: label})
