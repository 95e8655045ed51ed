"""MIND: Multi-Interest Network with Dynamic routing (Li et al., CIKM 2019), as a RecBole sequential model."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from recbole_mind.attention import LabelAwareAttention
from recbole_mind.base import Encoded, RetrievalModel, history_mask
from recbole_mind.capsule import BehaviorToInterestRouting, Capsules


class MIND(RetrievalModel):
    """Several interests per user by dynamic routing, trained with label-aware attention.

    A history becomes capsules u_k (:class:`~recbole_mind.capsule.BehaviorToInterestRouting`), which the profile joins
    before the ReLU layers, v_k = ReLU layers([u_k ; p_u]). Training attends to them with the target item
    (:class:`~recbole_mind.attention.LabelAwareAttention`); ranking takes the best interest of each item.
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
            adaptive=config["adaptive_K"],
            seed=config["seed"],
        )
        self.attention = LabelAwareAttention(p=config["p"], form=config["attention_form"], temperature=self.temperature)

    def capsules(self, item_seq: Tensor, lengths: Tensor) -> Capsules:
        """Route histories ``[B, L]`` to capsules ``[B, K, D]``, with the coupling coefficients ``[B, K, L]``."""
        return self._route(*self.behaviors(item_seq), lengths)

    def _route(self, vectors: Tensor, place: Tensor, lengths: Tensor) -> Capsules:
        B, L = place.shape
        logits = self._drawn(place) if self.training else None
        votes = self.routing.vote(vectors).index_select(0, place.flatten()).view(B, L, -1)
        return self.routing.route(votes, history_mask(lengths, L), logits)

    def _drawn(self, place: Tensor) -> Tensor:
        """Routing logits for a training batch ``[B, L]``: this process's rows of the whole batch's."""
        B, L = place.shape
        return self.share.mine(self.routing.draw(self.share.total(B), L, self.generator))

    def read(self, vectors: Tensor, place: Tensor, lengths: Tensor, users: Tensor) -> tuple[Tensor, Tensor]:
        profile = self.profile(users)
        if not self.training or place.is_cuda:
            capsules = self._route(vectors, place, lengths)
            interests = self.interest_layers(capsules.interests, profile)
            return self.compared(interests) * capsules.active[:, :, None], capsules.active
        # on a CPU, training skips padding and inactive interests
        B, K = len(place), self.routing.num_interests
        interests, active = self.routing.route_ragged(self.routing.vote(vectors), place, lengths, self._drawn(place))
        real = active.flatten().nonzero()[:, 0]
        interests = interests.view(B * K, -1).index_select(0, real)[:, None]  # [active, 1, D]
        interests = self.compared(self.interest_layers(interests, profile.index_select(0, real // K)))[:, 0]
        return interests.new_zeros(B * K, self.size).index_copy(0, real, interests).view(B, K, -1), active

    def encode(self, behaviors: Tensor, lengths: Tensor, profile: Tensor) -> Encoded:
        votes = self.routing.vote(behaviors)
        capsules = self.routing.route(votes, history_mask(lengths, behaviors.shape[1]))
        interests = self.compared(self.interest_layers(capsules.interests, profile))
        return Encoded(interests * capsules.active[:, :, None], capsules.active, capsules.coupling)

    def user_vector(self, interests: Tensor, active: Tensor, label: Tensor) -> Tensor:
        vector: Tensor = self.attention(interests, active, label)
        return vector
