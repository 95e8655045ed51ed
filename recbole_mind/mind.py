"""MIND: Multi-Interest Network with Dynamic routing (Li et al., CIKM 2019), as a RecBole sequential model."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from recbole_mind.attention import LabelAwareAttention
from recbole_mind.base import RetrievalModel, history_mask
from recbole_mind.capsule import BehaviorToInterestRouting, Capsules


class MIND(RetrievalModel):
    """Several interests per user by dynamic routing, trained with label-aware attention.

    A history becomes capsules u_k (:class:`~recbole_mind.capsule.BehaviorToInterestRouting`), which the profile joins
    before the ReLU layers, v_k = ReLU layers([u_k ; p_u]). Training attends to them with the target item
    (:class:`~recbole_mind.attention.LabelAwareAttention`); ranking takes the best interest of each item.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.routing = BehaviorToInterestRouting(
            size=self.size,
            num_interests=config["K"],
            max_length=self.max_seq_length,
            iterations=config["routing_iterations"],
            sigma=config["sigma"],
            softmax=config["routing_softmax"],
            init=config["routing_init"],
            scale=config["routing_scale"],
            adaptive=config["adaptive_K"],
            seed=config["seed"],
        )
        self.attention = LabelAwareAttention(p=config["p"], form=config["attention_form"], temperature=self.temperature)

    def capsules(self, item_seq: Tensor, lengths: Tensor) -> Capsules:
        """Route histories ``[B, L]`` to capsules ``[B, K, D]``, with the coupling coefficients ``[B, K, L]``."""
        vectors, place = self.behaviors(item_seq)
        votes = nn.functional.embedding(place, self.routing.vote(vectors))  # [B, L, D]
        generator = self.generator if self.training else None
        return self.routing.route(votes, history_mask(lengths, item_seq.shape[1]), generator)

    def forward(self, item_seq: Tensor, lengths: Tensor, users: Tensor) -> tuple[Tensor, Tensor]:
        capsules = self.capsules(item_seq, lengths)
        interests = self.interest_layers(capsules.interests, self.profile_encoder(users))
        return self.compared(interests) * capsules.active[:, :, None], capsules.active

    def user_vector(self, interests: Tensor, active: Tensor, label: Tensor) -> Tensor:
        vector: Tensor = self.attention(interests, active, label)
        return vector
