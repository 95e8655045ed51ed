"""MIND: Multi-Interest Network with Dynamic routing (Li et al., CIKM 2019), as a RecBole sequential model."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from recbole_mind.layers.attention import LabelAwareAttention
from recbole_mind.layers.batch_shards import ALONE, Share
from recbole_mind.layers.routing import BehaviorToInterestRouting, Capsules
from recbole_mind.models.base import Encoded, RetrievalModel, history_mask

_POWER = 0.2  # where the learned power of a capsule's length starts
_SHORTEST = 1e-6  # of capsules beside the longest: the power's gradient is infinite at 0


class MIND(RetrievalModel):
    """Several interests per user by dynamic routing, trained with label-aware attention.

    A history becomes capsules u_k (:class:`~recbole_mind.layers.routing.BehaviorToInterestRouting`), which the profile
    joins before the ReLU layers, v_k = ReLU layers([u_k ; p_u]). Training attends to them with the target item
    (:class:`~recbole_mind.layers.attention.LabelAwareAttention`); ranking takes the best interest of each item.

    With ``capsule_length`` an interest counts by what cosines leave out, the length of its capsule (in Sabour et al.,
    NIPS 2017, the probability that it is there): v_k is multiplied by (|z_k| / max_k |z_k|)^η,
    with a learned η > 0.

    With ``whole_share`` an interest refines the user: beside its part in the routing it takes a learned share of every
    behaviour.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.num_interests = config["K"]
        self.routing = BehaviorToInterestRouting(
            size=self.size,
            num_interests=config["K"],
            max_length=self.max_seq_length,
            iterations=config["routing_iterations"],
            sigma=config["sigma"],
            softmax=config["routing_softmax"],
            init=config["routing_init"],
            scale=config["routing_scale"],
            recency=config["recency"],
            recency_start=config["recency_start"],
            time_gaps=bool(config["recency_gaps"]),
            whole_share=config["whole_share"],
            adaptive=config["adaptive_K"],
            seed=config["seed"],
        )
        if self.time_gaps is not None:
            self.time_gaps.tell_usual(self.routing.recency, dataset)
        weighs = config["capsule_length"] and config["K"] > 1  # a single interest is its user's longest
        self.log_power = nn.Parameter(torch.tensor(math.log(_POWER))) if weighs else None
        self.attention = LabelAwareAttention(p=config["p"], form=config["attention_form"], temperature=self.temperature)

    def capsules(self, item_seq: Tensor, lengths: Tensor) -> Capsules:
        """Route histories ``[B, L]`` to capsules ``[B, K, D]``, with the coupling coefficients ``[B, K, L]``."""
        return self._route(*self.behaviors(item_seq), lengths)

    def _route(
        self, vectors: Tensor, place: Tensor, lengths: Tensor, share: Share = ALONE, gaps: Tensor | None = None
    ) -> Capsules:
        B, L = place.shape
        logits = self._drawn(place, share) if self.training else None
        votes = self.routing.vote(vectors).index_select(0, place.flatten()).view(B, L, -1)
        return self.routing.route(votes, history_mask(lengths, L), logits, gaps)

    def _drawn(self, place: Tensor, share: Share) -> Tensor:
        """Routing logits for a training batch ``[B, L]``: this process's rows of the whole batch's."""
        B, L = place.shape
        return share.mine(self.routing.draw(share.total(B), L, self.generator))

    def read(
        self,
        vectors: Tensor,
        place: Tensor,
        lengths: Tensor,
        users: Tensor,
        share: Share = ALONE,
        gaps: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        profile = self.profile(users, share)
        if not self.training or place.is_cuda:
            capsules = self._route(vectors, place, lengths, share, gaps)
            return self._interests(capsules, profile), capsules.active
        # on a CPU, training skips padding and inactive interests
        B, K = len(place), self.routing.num_interests
        votes = self.routing.vote(vectors)
        capsule, active, size = self.routing.route_ragged(votes, place, lengths, self._drawn(place, share), gaps)
        real = active.flatten().nonzero()[:, 0]
        capsule = capsule.view(B * K, -1).index_select(0, real)[:, None]  # [active, 1, D]
        found = self.compared(self.interest_layers(capsule, profile.index_select(0, real // K)))[:, 0]
        interests = found.new_zeros(B * K, self.size).index_copy(0, real, found).view(B, K, -1)
        return self._weighed(interests, size), active

    def encode(self, behaviors: Tensor, lengths: Tensor, profile: Tensor, gaps: Tensor | None = None) -> Encoded:
        votes = self.routing.vote(behaviors)
        capsules = self.routing.route(votes, history_mask(lengths, behaviors.shape[1]), gaps=gaps)
        return Encoded(self._interests(capsules, profile), capsules.active, capsules.coupling)

    def _interests(self, capsules: Capsules, profile: Tensor) -> Tensor:
        """Interests ``[B, K, D]``, zero where they are not active."""
        interests = self.compared(self.interest_layers(capsules.interests, profile))
        return self._weighed(interests * capsules.active[:, :, None], capsules.lengths)

    def _weighed(self, interests: Tensor, lengths: Tensor) -> Tensor:
        """Let ``interests`` [B, K, D] count by the ``lengths`` [B, K] of their capsules, where that is asked for."""
        if self.log_power is None:
            return interests
        lengths = lengths.float()
        share = lengths / lengths.amax(1, keepdim=True).clamp(min=_SHORTEST)
        return interests * share.clamp(min=_SHORTEST).pow(self.log_power.exp())[:, :, None].to(interests.dtype)

    def user_vector(self, interests: Tensor, active: Tensor, label: Tensor) -> Tensor:
        vector: Tensor = self.attention(interests, active, label)
        return vector
