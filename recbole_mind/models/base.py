"""The one model-side adapter to RecBole: an ``Interaction`` goes in, interests, losses and scores come out.

Shape legend: B rows of a batch, L history length (padded), K interests, D embedding size, N items.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import FeatureType
from torch import Tensor, nn

from recbole_mind.errors import InputError, require
from recbole_mind.layers import losses
from recbole_mind.layers.batch_shards import ALONE, Share
from recbole_mind.layers.embeddings import InterestLayers, ItemEncoder, ProfileEncoder
from recbole_mind.layers.functional import different, dropout, fork, keep_mask
from recbole_mind.layers.negative_sampling import NegativeSampler, RejectionSampler, proposal
from recbole_mind.models.settings import sampler_fed
from recbole_mind.models.time_gaps import TimeGaps


class Encoded(NamedTuple):
    """What serving reads from a history: ``interests`` [B, K, D], ``active`` [B, K] and ``weights`` [B, K, L].

    A weight says how much of an interest a behaviour makes: a coupling coefficient, a self-attention weight or a share
    of the mean; 0 on padding.
    """

    interests: Tensor
    active: Tensor
    weights: Tensor


class RetrievalModel(SequentialRecommender):
    """A sequential model that gives a user one vector or several and scores an item by their largest product.

    A subclass implements :meth:`forward` (history to interests) and, where there are several interests,
    :meth:`user_vector`. Everything else, item vectors, profile, ReLU layers, similarity, losses and ranking, is
    shared, so that models differ in nothing but how they read a history.

    RecBole's ``config`` is read here, once; ``properties/model/*.yaml`` documents the keys.
    """

    is_retrieval_model: ClassVar[bool] = True  # what :func:`recbole_mind.config.model_names.is_ours` asks for
    num_interests: int | None = None  # K, for a model that has interests

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.size: int = config["embedding_size"]
        self.similarity: str = config["similarity"]
        self.temperature: float = config["temperature"]
        self.loss_type: str = config["loss_type"]
        self.sampled_form: str = config["sampled_form"]
        self.negatives: str = config["negatives"]
        self.negative_interest: str | None = config["negative_interest"]  # of a model with several interests
        self.sampler_fed = sampler_fed(config)
        self.num_negatives: int = (
            config["train_neg_sample_args"]["sample_num"] if self.sampler_fed else config["num_negatives"]
        )

        self.item_encoder = ItemEncoder(
            num_items=self.n_items,
            size=self.size,
            features=_feature_values(dataset, dataset.item_feat, config["item_features"], "item_features", "item"),
        )
        self.user_features: list[str] = config["user_features"]
        self.profile_encoder = ProfileEncoder(
            features=_feature_values(dataset, dataset.user_feat, self.user_features, "user_features", "user"),
            size=config["profile_embedding_size"],
        )
        self.interest_layers = InterestLayers(
            size=self.size, profile_size=self.profile_encoder.size, hidden=config["relu_layers"]
        )
        self.dropout: float = config["dropout"]
        self.horizon: int = config["horizon"]
        self.time_gaps = TimeGaps(config, dataset) if config["recency_gaps"] else None
        if self.loss_type == "sampled":
            self.proposal = self._proposal(config, dataset)
        self._seed: int = config["seed"]
        self._generator: torch.Generator | None = None
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=config["initializer_range"])
                module.weight.data[0] = 0

    @property
    def generator(self) -> torch.Generator:
        """The model's own source of randomness in training: negatives and routing logits."""
        if self._generator is None:
            device = self.item_encoder.embedding.weight.device
            self._generator = torch.Generator(device).manual_seed(self._seed)
        return self._generator

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_generator": None}  # a generator cannot be copied

    # -- what a model is -------------------------------------------------------------------------------------------

    def forward(
        self, item_seq: Tensor, lengths: Tensor, users: Tensor, gaps: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read histories.

        Args:
            item_seq: ``[B, L]`` item ids, oldest first, padded with 0 at the end.
            lengths: ``[B]`` real lengths.
            users: ``[B]`` user ids, for the profile.
            gaps: ``[B, L]``, the time before the newest behaviour, of a model with ``recency_gaps``.

        Returns:
            interests ``[B, K, D]``, of unit length with cosine similarity, and ``[B, K]`` booleans: which are active.
        """
        return self.read(*self.behaviors(item_seq), lengths, users, **_given(gaps))

    def read(
        self,
        vectors: Tensor,
        place: Tensor,
        lengths: Tensor,
        users: Tensor,
        share: Share = ALONE,
        gaps: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Do what :meth:`forward` does, from what :meth:`behaviors` gives.

        Args:
            vectors: ``[U, D]`` of the different items.
            place: ``[B, L]`` row of each behaviour in them.
            lengths: ``[B]``.
            users: ``[B]``.
            share: this process's part of the batch, where several train: what is drawn is drawn for the whole batch.
            gaps: ``[B, L]``, as in :meth:`forward`. A model without ``recency_gaps`` is never given any,
                here and below, and need not take it.
        """
        raise NotImplementedError

    def read_to_train(
        self, vectors: Tensor, place: Tensor, lengths: Tensor, users: Tensor, share: Share, gaps: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What :meth:`read` gives, and a scalar that is added to the loss, if the model has such a term."""
        return *self.read(vectors, place, lengths, users, share, **_given(gaps)), None

    def encode(self, behaviors: Tensor, lengths: Tensor, profile: Tensor, gaps: Tensor | None = None) -> Encoded:
        """Do what :meth:`forward` does at evaluation, from vectors alone: the part of the model that is exported.

        Args:
            behaviors: ``[B, L, D]`` item vectors of the histories, oldest first, zeros after them.
            lengths: ``[B]`` real lengths.
            profile: ``[B, P]``, p_u.
        """
        raise NotImplementedError

    def profile(self, users: Tensor, share: Share = ALONE) -> Tensor:
        """The profiles p_u ``[B, P]`` of ``users`` [B]; in training, RowAdam asks for those of the other processes."""
        profile: Tensor = share.own(self.profile_encoder(share.everywhere(users)))
        return profile

    def user_vector(self, interests: Tensor, active: Tensor, label: Tensor) -> Tensor:
        """The one vector ``[B, D]`` that is trained against ``label`` [B, D]; a single interest is that vector."""
        return interests[:, 0]

    def behaviors(self, item_seq: Tensor) -> tuple[Tensor, Tensor]:
        """The behaviours in histories ``[B, L]``, each different item once.

        Popular items fill most histories, so that whatever is done to an item is done here, before the gathering.

        Returns:
            vectors ``[U, D]`` of the U different items, with dropout in training (the same for all places of an item in
            the batch), and ``[B, L]``, the row of each behaviour in them.
        """
        ids, place = different(item_seq)
        vectors: Tensor = self.item_encoder(ids)
        return (dropout(vectors, self.dropout, self.generator) if self.training else vectors), place

    def item_vectors(self, ids: Tensor | None = None) -> Tensor:
        """The vectors that interests are compared with, ``[..., D]`` for ``ids`` [...], ``[N, D]`` for all items."""
        vectors = self.item_encoder.table() if ids is None else self.item_encoder(ids)
        return self.compared(vectors)

    def compared(self, vectors: Tensor) -> Tensor:
        """Bring vectors ``[..., D]`` to unit length where the similarity is the cosine."""
        return nn.functional.normalize(vectors, dim=-1) if self.similarity == "cosine" else vectors

    @torch.no_grad()
    def interests(self, interaction: Interaction) -> tuple[Tensor, Tensor]:
        """Interests ``[B, K, D]`` and ``[B, K]`` active flags of the histories in ``interaction``, deterministic.

        Of a model without user features a new user's history will do: no user is asked for.

        Raises:
            InputError: a history is missing, empty, longer than ``MAX_ITEM_LIST_LENGTH`` or names an unknown item; or
                the user is missing of whom features are used.
        """
        item_seq, lengths, users = self._history_of(interaction)
        L = item_seq.shape[1]
        require(len(lengths) > 0, "the batch holds no history")
        require(int(lengths.min()) >= 1, f"{self.ITEM_SEQ}: row {int(lengths.argmin())} is an empty history")
        require(
            int(lengths.max()) <= min(L, self.max_seq_length),
            f"{self.ITEM_SEQ_LEN}: {int(lengths.max())} is longer than the history of {min(L, self.max_seq_length)} "
            "(MAX_ITEM_LIST_LENGTH)",
        )
        _check_ids(item_seq, 0, self.n_items, self.ITEM_SEQ)
        real = item_seq[history_mask(lengths, L)]
        require(bool((real > 0).all()), f"{self.ITEM_SEQ}: a history of only padding (item 0) is not allowed")
        was_training = self.training
        self.eval()
        try:
            interests, active = self(item_seq, lengths, users, **_given(self._gaps_of(interaction)))
        finally:
            self.train(was_training)
        return interests, active

    def _gaps_of(self, interaction: Interaction) -> Tensor | None:
        """The gaps ``[B, L]`` of a model that reads them, if the interaction tells them."""
        return None if self.time_gaps is None else self.time_gaps(interaction)

    def _history_of(self, interaction: Interaction) -> tuple[Tensor, Tensor, Tensor]:
        """Histories ``[B, L]``, their lengths ``[B]`` and users ``[B]``, who are 0 where no user feature is used."""
        for field in (self.ITEM_SEQ, self.ITEM_SEQ_LEN):
            require(field in interaction, f"the interaction has no field '{field}', which makes the history")
        item_seq, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        if self.USER_ID in interaction:
            return item_seq, lengths, interaction[self.USER_ID]
        require(
            not self.user_features,
            f"the interaction has no field '{self.USER_ID}': the model uses the user features "
            f"{', '.join(self.user_features)}; a model with user_features [] takes histories of new users",
        )
        return item_seq, lengths, torch.zeros_like(lengths)

    @torch.no_grad()
    def encoded(self, interaction: Interaction) -> Encoded:
        """What :meth:`interests` gives for the histories in ``interaction``, to rounding, and what each is made of."""
        item_seq, lengths, users = self._history_of(interaction)
        gaps = self._gaps_of(interaction)
        longest = max(1, int(lengths.max()))
        item_seq, gaps = item_seq[:, :longest], None if gaps is None else gaps[:, :longest]
        was_training = self.training
        self.eval()
        try:
            vectors, place = self.behaviors(item_seq)
            behaviors = vectors[place] * history_mask(lengths, item_seq.shape[1])[:, :, None]  # [B, L, D]
            found = self.encode(behaviors, lengths, self.profile_encoder(users), **_given(gaps))
        finally:
            self.train(was_training)
        return found._replace(active=found.active.to(lengths.device))

    # -- what RecBole asks of a model ------------------------------------------------------------------------------

    def calculate_loss(self, interaction: Interaction, share: Share = ALONE) -> Tensor:
        """The training loss of a batch, a scalar; of several processes each gives the loss of its ``share``."""
        fed = None
        if self.sampler_fed:
            # RecBole tiles: row i + t·B holds the t-th negative of positive i
            B = len(interaction[self.ITEM_ID]) // self.num_negatives
            fed = interaction[self.NEG_ITEM_ID].view(self.num_negatives, B).T  # [B, n]
            interaction = interaction[:B]
        if self.horizon > 1:
            interaction = self._earlier(interaction, share)
        item_seq, target = interaction[self.ITEM_SEQ], interaction[self.ITEM_ID]
        negative_ids: Tensor = self._draw_negatives(target, share) if fed is None else fed
        parts = [item_seq, target, negative_ids]
        # each different item of the step is looked up once; RowAdam asks for those of the other processes too
        shared = [share.everywhere(part) for part in (parts if fed is not None else parts[:2])]
        ids, place = different(torch.cat([part.flatten() for part in parts + shared * (share.world > 1)]))
        sizes = [part.numel() for part in parts]
        history, *compared = torch.split(place[: sum(sizes)], sizes)
        items = self.item_encoder.table() if self.loss_type == "CE" else None
        vectors = self.item_encoder(ids, once=True) if items is None else items.index_select(0, ids)
        # [U, D], with dropout, and the vectors of targets and negatives, without
        mask = keep_mask(vectors.shape, self.dropout, self.generator) if self.training else None
        behaviors, vectors = fork(vectors, mask, torch.cat(compared))
        lengths, users = interaction[self.ITEM_SEQ_LEN], interaction[self.USER_ID]
        place = history.view_as(item_seq)
        given = _given(self._gaps_of(interaction))
        interests, active, penalty = self.read_to_train(behaviors, place, lengths, users, share, **given)
        positive, negatives = torch.split(self.compared(vectors), sizes[1:])
        user = self.user_vector(interests, active, positive)
        met = losses.ActiveInterests(interests, active) if self.negative_interest == "nearest" else None
        if items is not None:
            catalogue = self.compared(items)
            loss = losses.full_softmax(user, catalogue, target, temperature=self.temperature, interests=met)
        else:
            negatives = negatives.view(*negative_ids.shape, -1)
            loss = self._loss_of_negatives(user, positive, negatives, target, negative_ids, met)
        return loss if penalty is None else loss + penalty

    def _earlier(self, interaction: Interaction, share: Share) -> Interaction:
        """The batch with histories that end up to ``horizon`` - 1 behaviours earlier, at random, at least one long.

        So each target comes to be any of the next behaviours, not always the very next one.
        """
        item_seq, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        most = lengths.clamp(max=self.horizon)
        drawn = share.mine(torch.rand(share.total(len(lengths)), generator=self.generator, device=lengths.device))
        lengths = lengths - torch.minimum((drawn * most).to(lengths.dtype), most - 1)  # a product may round to all
        item_seq = item_seq * history_mask(lengths, item_seq.shape[1])
        return Interaction({**interaction.interaction, self.ITEM_SEQ: item_seq, self.ITEM_SEQ_LEN: lengths})

    def _loss_of_negatives(
        self,
        user: Tensor,
        positive: Tensor,
        negatives: Tensor,
        target: Tensor,
        negative_ids: Tensor,
        interests: losses.ActiveInterests | None,
    ) -> Tensor:
        """The loss of users ``[B, D]`` with their targets ``[B, D]`` against negatives ``[n, D]`` or ``[B, n, D]``."""
        if self.loss_type == "BPR":
            return losses.bpr(user, positive, negatives, temperature=self.temperature, interests=interests)
        log_q = self.proposal.log_q[negative_ids]
        compared_with = (user, positive, negatives, target, negative_ids)
        if self.sampled_form == "nce":
            own = self.proposal.log_q[target]
            settings: dict[str, Any] = {"log_q_target": own, "log_q_negatives": log_q}
            return losses.ranking_nce(*compared_with, temperature=self.temperature, interests=interests, **settings)
        if isinstance(self.proposal, RejectionSampler):
            log_q = log_q - self.proposal.log_accepted(target)[:, None]
        # in a batch each row's own target is no draw
        n = max(1, len(negative_ids) - 1) if self.negatives == "in_batch" else negative_ids.shape[-1]
        return losses.sampled_softmax(
            *compared_with, temperature=self.temperature, log_expected=log_q + math.log(n), interests=interests
        )

    def _proposal(self, config: Any, dataset: Any) -> NegativeSampler:
        """What the negatives of a sampled softmax are drawn from."""
        if not self.sampler_fed:
            counts = torch.bincount(dataset.inter_feat[self.ITEM_ID], minlength=self.n_items)
            return proposal(self.negatives, counts, alpha=config["negative_alpha"])
        sampler = dataset.negative_sampler  # of the loader for training
        weight = torch.ones(self.n_items, dtype=torch.float64)
        if sampler.distribution == "popularity":  # of all phases: RecBole counts validation and test targets too
            counted = torch.as_tensor(np.asarray(sampler._get_candidates_list()))
            weight = torch.bincount(counted, minlength=self.n_items).double()
            weight = torch.where(weight > 0, weight.pow(sampler.alpha), 0.0)
        weight[0] = 0
        return RejectionSampler(weight)

    def _draw_negatives(self, target: Tensor, share: Share) -> Tensor:
        """The negatives ``[n]`` that all rows share; none for the full softmax."""
        if self.loss_type == "CE":
            return target[:0]
        if self.negatives == "in_batch":
            return share.everywhere(target)
        return self.proposal.sample(self.num_negatives, self.generator)

    @torch.no_grad()
    def predict(self, interaction: Interaction) -> Tensor:
        """Scores ``[B]`` of the items in ``interaction``: the maximum over active k of v_k·e_i (Eq. 3)."""
        require(self.ITEM_ID in interaction, f"the interaction has no field '{self.ITEM_ID}', the items to score")
        items = interaction[self.ITEM_ID]
        _check_ids(items, 1, self.n_items, self.ITEM_ID)
        interests, active = self.interests(interaction)
        scores = torch.einsum("bkd,bd->bk", interests, self.item_vectors(items))
        return scores.masked_fill(~active, -math.inf).amax(1)

    @torch.no_grad()
    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores ``[B, N]`` of the whole catalogue: the maximum over active k of v_k·e_i (Eq. 3)."""
        interests, active = self.interests(interaction)
        items = self.item_vectors()
        best = interests[:, 0] @ items.T  # interest 0 is always active
        for k in range(1, interests.shape[1]):
            scores = (interests[:, k] @ items.T).masked_fill_(~active[:, k, None], -math.inf)
            torch.maximum(best, scores, out=best)
        return best


def history_mask(lengths: Tensor, L: int) -> Tensor:
    """``[B, L]`` booleans, true on the first ``lengths`` positions."""
    return torch.arange(L, device=lengths.device) < lengths[:, None]


def _given(gaps: Tensor | None) -> dict[str, Any]:
    """Gaps by their name, for a model that has them: other people's models need not know of them."""
    return {} if gaps is None else {"gaps": gaps}


def _check_ids(ids: Tensor, low: int, n_items: int, field: str) -> None:
    wrong = ids[(ids < low) | (ids >= n_items)]
    require(not len(wrong), f"{field}: item id {int(wrong[0]) if len(wrong) else 0} is out of range 1 to {n_items - 1}")


def _feature_values(dataset: Any, feat: Any, fields: list[str] | None, key: str, kind: str) -> dict[str, Tensor]:
    """The values ``[N]`` or ``[N, M]`` of each configured feature, checked against the data."""
    values = {}
    for field in fields or []:
        categorical = dataset.field2type.get(field) in (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)
        if feat is None or field not in feat or not categorical:
            path = Path(dataset.dataset_path) / f"{dataset.dataset_name}.{kind}"
            read = [] if feat is None else [name for name in feat if name in dataset.field2type][1:]
            usable = [name for name in read if dataset.field2type[name] in (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)]
            allowed = ", ".join(usable) or "none"
            raise InputError(f"{key}: '{field}' is not a token or token_seq field of '{path}'; allowed: {allowed}")
        column = feat[field]  # an Interaction once the data is built, a DataFrame before
        values[field] = column if isinstance(column, Tensor) else torch.as_tensor(np.stack(column.to_numpy()))
    return values
