"""ComiRec (Cen et al., "Controllable Multi-Interest Framework for Recommendation", KDD 2020), as RecBole models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_mind.layers import losses
from recbole_mind.layers.attention import LabelAwareAttention, SelfAttentivePooling
from recbole_mind.layers.batch_shards import ALONE, Share
from recbole_mind.layers.comirec_routing import MappedRouting
from recbole_mind.layers.routing import like_lengths
from recbole_mind.models.base import Encoded, RetrievalModel, history_mask
from recbole_mind.models.time_gaps import single_recency


class ComiRec(RetrievalModel):
    """K interests for every user, trained with hard attention: what ComiRec-SA and ComiRec-DR share.

    A subclass implements :meth:`extract`. An interest is used as it is, without MIND's ReLU layers, unless
    ``relu_layers`` or ``user_features`` ask for them.
    """

    regularization = 0.0  # what :meth:`penalty` counts in the loss

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.num_interests = config["K"]
        self.recency = single_recency(config, dataset, self.max_seq_length, self.time_gaps)
        self.attention = LabelAwareAttention(p=config["p"], form=config["attention_form"], temperature=self.temperature)
        if not config["relu_layers"] and not self.profile_encoder.size:
            self.interest_layers.layers = nn.Sequential()

    def extract(self, behaviors: Tensor, mask: Tensor, gaps: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The interests ``[B, K, D]`` in ``behaviors`` [B, L, D], real where ``mask`` [B, L] is true.

        ``gaps`` [B, L] is the time before the newest behaviour (:class:`~recbole_mind.layers.recency.Recency`). With
        the interests comes what each is made of: weights ``[B, K, L]``.
        """
        raise NotImplementedError

    def encode(self, behaviors: Tensor, lengths: Tensor, profile: Tensor, gaps: Tensor | None = None) -> Encoded:
        extracted, weights = self.extract(behaviors, history_mask(lengths, behaviors.shape[1]), gaps)
        interests = self.compared(self.interest_layers(extracted, profile))
        return Encoded(interests, torch.ones(interests.shape[:2], dtype=torch.bool), weights)

    def counts(self, mask: Tensor, gaps: Tensor | None = None) -> Tensor | None:
        """What each behaviour counts, ``[B, 1, L]``; ``None`` where all count alike, as in the paper."""
        return None if self.recency.even else self.recency(mask.sum(1), mask.shape[1], gaps)

    def penalty(self, weights: Tensor, mask: Tensor) -> Tensor | None:
        """What each user's ``weights`` [B, K, L] cost, ``[B]``, before ``regularization``; ``None`` for nothing."""
        return None

    def read(
        self,
        vectors: Tensor,
        place: Tensor,
        lengths: Tensor,
        users: Tensor,
        share: Share = ALONE,
        gaps: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        return self.read_to_train(vectors, place, lengths, users, share, gaps)[:2]

    def read_to_train(
        self,
        vectors: Tensor,
        place: Tensor,
        lengths: Tensor,
        users: Tensor,
        share: Share,
        gaps: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        read = self._whole if place.is_cuda else self._ragged
        extracted, penalties = read(vectors, place, lengths, gaps)
        interests = self.compared(self.interest_layers(extracted, self.profile(users, share)))
        active = torch.ones(interests.shape[:2], dtype=torch.bool, device=interests.device)
        penalty = self.regularization * torch.cat(penalties).mean() if penalties else None
        return interests, active, penalty

    def _whole(
        self, vectors: Tensor, place: Tensor, lengths: Tensor, gaps: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """The interests ``[B, K, D]`` of all histories, and their penalties, if there are any."""
        behaviors = vectors.index_select(0, place.flatten()).view(*place.shape, -1)  # [B, L, D]
        mask = history_mask(lengths, place.shape[1])
        interests, weights = self.extract(behaviors, mask, gaps)
        penalty = self.penalty(weights, mask)
        return interests, [] if penalty is None else [penalty]

    def _ragged(
        self, vectors: Tensor, place: Tensor, lengths: Tensor, gaps: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """What :meth:`_whole` does, histories of like length together, so that little of the work is padding."""
        ordered, order = lengths.sort()
        groups = list(like_lengths(ordered))
        places = [place[order[start:end], :longest] for start, end, longest in groups]
        behaviors = vectors.index_select(0, torch.cat([part.flatten() for part in places]))
        parts = torch.split(behaviors, [part.numel() for part in places])
        found, penalties = [], []
        for rows, part, (start, end, longest) in zip(parts, places, groups, strict=True):
            mask = history_mask(ordered[start:end], longest)
            own = None if gaps is None else gaps[order[start:end], :longest]
            interests, weights = self.extract(rows.view(*part.shape, -1), mask, own)
            penalty = self.penalty(weights, mask)
            found.append(interests)
            penalties += [] if penalty is None else [penalty]
        return torch.cat(found).index_select(0, order.argsort()), penalties

    def user_vector(self, interests: Tensor, active: Tensor, label: Tensor) -> Tensor:
        vector: Tensor = self.attention(interests, active, label)
        return vector


class ComiRecSA(ComiRec):
    """ComiRec with self-attentive interests (:class:`~recbole_mind.layers.attention.SelfAttentivePooling`)."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.pooling = SelfAttentivePooling(
            size=self.size,
            num_interests=config["K"],
            max_length=self.max_seq_length,
            hidden=config["attention_size"] or 4 * self.size,
            positions=config["positions"],
        )
        self.regularization = float(config["routing_regularization"])

    def extract(self, behaviors: Tensor, mask: Tensor, gaps: Tensor | None = None) -> tuple[Tensor, Tensor]:
        interests, weights = self.pooling(behaviors, mask, self.counts(mask, gaps))
        return interests, weights

    def penalty(self, weights: Tensor, mask: Tensor) -> Tensor | None:
        """REMI's regularisation of the attention, in training and where ``routing_regularization`` asks for it."""
        if not (self.training and self.regularization):
            return None
        return losses.routing_regularization(weights, mask)


class ComiRecDR(ComiRec):
    """ComiRec with dynamic routing (:class:`~recbole_mind.layers.comirec_routing.MappedRouting`)."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.routing = MappedRouting(
            size=self.size,
            num_interests=config["K"],
            max_length=self.max_seq_length,
            iterations=config["routing_iterations"],
            maps=config["routing_maps"],
            scale=config["routing_scale"],
        )

    def extract(self, behaviors: Tensor, mask: Tensor, gaps: Tensor | None = None) -> tuple[Tensor, Tensor]:
        capsules = self.routing(behaviors, mask, self.counts(mask, gaps))
        return capsules.interests, capsules.coupling
