"""The multi-interest extractor layer: behaviour-to-interest dynamic routing.

Source: Li et al., "Multi-Interest Network with Dynamic Routing for Recommendation at Tmall", CIKM 2019, §3.3 and
Algorithm 1. Pure torch; knows nothing of RecBole.

Shape legend: B users, L history length (padded), K interests, D embedding size.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recbole_mind.errors import require
from recbole_mind.layers.functional import unit
from recbole_mind.layers.recency import Recency

ROUTING_SOFTMAX = ("interests", "behaviors")
ROUTING_INIT = ("random", "kmeans++")
WHOLE = 0.5  # what ρ stays below: where it may grow beyond, training makes every interest the whole history
# Longest history of each group that is routed together: 1, 3, 5, 7, 11, 15, 23, ... K' is the same in a group.
_GROUPS = sorted({2**i - 1 for i in range(1, 31)} | {3 * 2**i - 1 for i in range(1, 30)})


def squash(z: Tensor) -> Tensor:
    """Shrink a vector to a length under 1 and keep its direction.

    .. math:: squash(z) = \\frac{|z|^2}{1 + |z|^2} \\frac{z}{|z|}   \\quad (Eq. 7)

    Args:
        z: ``[..., D]``.

    Returns:
        ``[..., D]``; the zero vector stays zero, with a zero gradient.
    """
    norm: Tensor = torch.linalg.vector_norm(z, dim=-1, keepdim=True)  # [..., 1]
    return z * (norm / (1.0 + norm * norm))


def interest_counts(lengths: Tensor, num_interests: int) -> Tensor:
    """Return the number of interests of every user.

    .. math:: K'_u = \\max(1, \\min(K, \\lfloor \\log_2 |I_u| \\rfloor))   \\quad (Eq. 9)

    The power of two is compared in integers, so that no rounded logarithm decides.

    Args:
        lengths: ``[B]`` integers, the real history lengths |I_u|.
        num_interests: K, at least 1.

    Returns:
        ``[B]`` int64 in 1 .. K.
    """
    powers = 2 ** torch.arange(1, num_interests + 1, device=lengths.device).clamp(max=62)  # [K]: 2, 4, 8, ...
    return (lengths[:, None] >= powers).sum(1).clamp(min=1)


def active_interests(lengths: Tensor, num_interests: int, *, adaptive: bool) -> Tensor:
    """Return ``[B, K]`` booleans, true on the first K'_u interests of each user (on all K unless ``adaptive``)."""
    index = torch.arange(num_interests, device=lengths.device)
    if not adaptive:
        return (index >= 0).expand(lengths.shape[0], num_interests)
    return index < interest_counts(lengths, num_interests)[:, None]


def like_lengths(ordered: Tensor) -> Iterator[tuple[int, int, int]]:
    """Cut histories of ascending lengths ``ordered`` [B] into groups of like length.

    Yields:
        first row, row after the last, and longest history of each group; K' is the same in all of a group.
    """
    bounds = torch.searchsorted(ordered, ordered.new_tensor(_GROUPS), right=True).tolist()
    for start, end in pairwise([0, *bounds, len(ordered)]):
        if start < end:
            yield start, end, int(ordered[end - 1])


class Capsules(NamedTuple):
    """What routing returns: ``interests`` [B, K, D], ``coupling`` [B, K, L], ``active`` [B, K], ``lengths`` [B, K].

    The coupling says which interest takes a behaviour: w_kj times what the behaviour counts beside the one that counts
    most, by the mean of the curves where each interest has one; without ρ, of which all behaviours have the same. A
    length is |z_k|, before squash: near 1 a squashed one has lost it to rounding.
    """

    interests: Tensor
    coupling: Tensor
    active: Tensor
    lengths: Tensor


def seed_similarities(votes: Tensor, mask: Tensor, num_interests: int) -> Tensor:
    """Choose K behaviours that lie near all others, greedily, and compare every behaviour with them.

    The start that the paper names as future work, after K-means++ (Arthur and Vassilvitskii, SODA 2007) in its greedy
    form with every behaviour as a candidate: the next seed is the behaviour that most raises
    Σ_j max_k cos(ê_j, seed_k). Deterministic; a tie goes to the older behaviour.

    Args:
        votes: ``[B, L, D]``, ê.
        mask: ``[B, L]`` booleans, true on real behaviours.
        num_interests: K.

    Returns:
        ``[B, K, L]`` cosines of seed k and behaviour j.
    """
    unit = nn.functional.normalize(votes, dim=2)
    cosine = unit @ unit.transpose(1, 2)  # [B, L, L], candidate by behaviour
    covered = cosine.masked_fill(~mask[:, None, :], 0)  # padding adds nothing
    best = torch.where(mask, -1.0, 0.0)[:, None, :]  # [B, 1, L], nearness to the seeds so far
    rows = torch.arange(votes.shape[0], device=votes.device)
    chosen = []
    for _ in range(num_interests):
        gain = torch.maximum(covered, best).sum(2).masked_fill(~mask, -torch.inf)  # [B, L]
        # rounding must not decide among equals: a cluster of two ties, and so does every history of two
        seed = (gain > gain.amax(1, keepdim=True) - 1e-5).int().argmax(1)  # [B]
        chosen.append(cosine[rows, seed])
        best = torch.maximum(best, covered[rows, seed][:, None, :])
    return torch.stack(chosen, dim=1)


class BehaviorToInterestRouting(nn.Module):
    """Dynamic routing from behaviour capsules to interest capsules.

    With ê_j = S e_j and logits b_kj ~ N(0, σ²), each of R iterations computes

    .. math::
        w_{\\cdot j} = softmax_k(b_{\\cdot j}), \\quad z_k = \\sum_j w_{kj} ê_j, \\quad u_k = squash(z_k), \\quad
        b_{kj} \\mathrel{+}= u_k \\cdot ê_j .

    Gradients flow through the last iteration only; the shares w are constants. Departures from the paper, all optional:
    ``softmax="behaviors"`` shares each interest out among the real behaviours instead; ``scale`` normalises the
    behaviours and gives the routing a scale of its own (squash keeps |u| < 1, so with short behaviours the logits
    hardly move and the interests stay alike); ``recency`` lets a behaviour count by its place in the history, with a
    weight that multiplies w in every iteration (:class:`~recbole_mind.layers.recency.Recency`); with ``whole_share``
    interest k takes, in the last sum, a learned share ρ_k of every behaviour beside w_kj, above 0 and below
    :data:`WHOLE`: the larger it is the more an interest is the whole history, of which a single vector is made.

    In training the logits are drawn per user from a generator. At evaluation they are a fixed draw from the same
    distribution, by interest and position in the history, kept with the weights: the result depends neither on the
    other rows of a batch, nor on the padding, nor on the machine.

    Args:
        size: D.
        num_interests: K.
        max_length: the longest history L.
        iterations: R.
        sigma: σ of the logits.
        softmax: ``"interests"`` (Algorithm 1) or ``"behaviors"``.
        init: ``"random"`` logits, or ``"kmeans++"``: the same plus :func:`seed_similarities`, times ``scale``.
        scale: length that behaviours are given before S; ``None`` leaves them as they are.
        recency: γ, above 0, at most 1; ``"learned"``; or ``"per_interest"``.
        recency_start: where learned weights start.
        time_gaps: whether the time between behaviours counts beside their places.
        whole_share: where ρ starts, below :data:`WHOLE`; 0 for none.
        adaptive: K'_u interests instead of K for all (:func:`interest_counts`).
        seed: of the logits used at evaluation.
    """

    initial_logits: Tensor

    def __init__(
        self,
        *,
        size: int,
        num_interests: int,
        max_length: int,
        iterations: int,
        sigma: float,
        softmax: str,
        init: str,
        scale: float | None,
        recency: float | str,
        adaptive: bool,
        seed: int,
        recency_start: float = 1.0,
        time_gaps: bool = False,
        whole_share: float = 0.0,
    ) -> None:
        super().__init__()
        require(num_interests >= 1, f"K: {num_interests} is not allowed; the number of interests is at least 1")
        require(sigma > 0, f"sigma: {sigma} is not allowed; it is above 0")
        require(iterations >= 1, f"routing_iterations: {iterations} is not allowed; it is at least 1")
        allowed = ", ".join(ROUTING_SOFTMAX)
        good = 0 <= whole_share < WHOLE
        require(good, f"whole_share: {whole_share} is not allowed; it is at least 0 and below {WHOLE}")
        require(softmax in ROUTING_SOFTMAX, f"routing_softmax: '{softmax}' is unknown; allowed: {allowed}")
        allowed = ", ".join(ROUTING_INIT)
        require(init in ROUTING_INIT, f"routing_init: '{init}' is unknown; allowed: {allowed}")
        self.num_interests, self.iterations, self.sigma = num_interests, iterations, sigma
        self.recency = Recency(
            recency, start=recency_start, max_length=max_length, curves=num_interests, time_gaps=time_gaps
        )
        routes = num_interests > 1 or softmax == "behaviors"  # else an interest takes all of every behaviour
        self.share_logit: nn.Parameter | None = None  # [K], of ρ / WHOLE
        if whole_share and routes:
            self.share_logit = nn.Parameter(torch.full((num_interests,), whole_share / WHOLE).logit())
        self.softmax, self.init, self.scale, self.adaptive = softmax, init, scale, adaptive
        self.bilinear = nn.Linear(size, size, bias=False)  # S
        nn.init.eye_(self.bilinear.weight)
        draw = torch.randn(num_interests, max_length, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("initial_logits", sigma * draw)  # [K, L]

    def forward(self, behaviors: Tensor, mask: Tensor, generator: torch.Generator | None = None) -> Capsules:
        """Route ``behaviors`` [B, L, D] with ``mask`` [B, L] (true on real ones, which stand first in each row).

        Args:
            behaviors: ``[B, L, D]``.
            mask: ``[B, L]`` booleans.
            generator: draws the logits per user; ``None`` uses the fixed ones.

        Returns:
            :class:`Capsules`. An inactive interest is zero and has no coupling; so has a padded behaviour. A row
            without any real behaviour gives zeros.

        Raises:
            InputError: L is longer than ``max_length``.
        """
        B, L = mask.shape
        logits = None if generator is None else self.draw(B, L, generator)
        return self.route(self.vote(behaviors), mask, logits)

    def whole_share(self) -> Tensor | None:
        """ρ ``[K]``; ``None`` where there is none."""
        return None if self.share_logit is None else WHOLE * self.share_logit.sigmoid()

    def vote(self, behaviors: Tensor) -> Tensor:
        """Map behaviours ``[..., D]`` to what they say in the routing, ê = S e, at the routing's own scale."""
        if self.scale is not None:
            behaviors = unit(behaviors, self.scale)
        votes: Tensor = self.bilinear(behaviors)
        return votes

    def draw(self, rows: int, L: int, generator: torch.Generator) -> Tensor:
        """Draw logits for ``rows`` histories: ``[rows, K, L]``."""
        shape = (rows, self.num_interests, L)
        return torch.randn(shape, generator=generator, device=self.initial_logits.device).mul_(self.sigma)

    def route(self, votes: Tensor, mask: Tensor, logits: Tensor | None = None, gaps: Tensor | None = None) -> Capsules:
        """Do what :meth:`forward` does, from ``votes`` [B, L, D] that :meth:`vote` has made.

        Args:
            votes: ``[B, L, D]``.
            mask: ``[B, L]`` booleans.
            logits: ``[B, K, L]`` from :meth:`draw`, or ``None`` for the fixed ones.
            gaps: ``[B, L]``, the time before the newest behaviour (:class:`~recbole_mind.layers.recency.Recency`).
        """
        B, L, _ = votes.shape
        longest = self.initial_logits.shape[1]
        require(longest >= L, f"a history of {L} behaviours is too long; MAX_ITEM_LIST_LENGTH is {longest}")
        if logits is None:
            logits = self.initial_logits[:, :L].expand(B, -1, -1)
        logits = logits.to(votes.dtype)
        active = active_interests(mask.sum(1), self.num_interests, adaptive=self.adaptive)  # [B, K]
        weights = None if self.recency.even else self.recency(mask.sum(1), L, gaps).to(votes.dtype)  # [B, C, L]
        shares = self._iterate(votes.detach(), mask, logits, active if self.adaptive else None, weights)
        coupling = shares
        if weights is not None:
            counts = weights.sum(1, keepdim=True)  # [B, 1, L]
            coupling = shares * (counts / counts.amax(2, keepdim=True).clamp(min=1e-12))
        if (share := self.whole_share()) is not None:
            shares = (shares + share[:, None]) * (mask[:, None, :] & active[:, :, None])
        sums = (shares if weights is None else shares * weights) @ votes
        return Capsules(squash(sums), coupling, active, torch.linalg.vector_norm(sums, dim=2))

    def route_ragged(
        self, votes: Tensor, place: Tensor, lengths: Tensor, logits: Tensor, gaps: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Route histories of many lengths, those of like length together, so that little of the work is padding.

        Args:
            votes: ``[U, D]`` of the different behaviours.
            place: ``[B, L]``, the row of each behaviour in them.
            lengths: ``[B]`` real lengths, at least 1.
            logits: ``[B, K, L]``.
            gaps: ``[B, L]``, as in :meth:`route`.

        Returns:
            interests ``[B, K, D]``, which are active ``[B, K]``, and |z_k| ``[B, K]``, as :meth:`route` gives them to
            rounding.
        """
        active = active_interests(lengths, self.num_interests, adaptive=self.adaptive)
        weights = None if self.recency.even else self.recency(lengths, place.shape[1], gaps).to(votes.dtype)
        sums: Tensor = _Ragged.apply(votes, self, place, lengths, logits, weights, self.whole_share())  # type: ignore[no-untyped-call]
        return squash(sums), active, torch.linalg.vector_norm(sums, dim=2)

    @torch.no_grad()
    def _iterate(
        self, votes: Tensor, mask: Tensor, logits: Tensor, active: Tensor | None, weights: Tensor | None
    ) -> Tensor:
        """The shares ``[B, K, L]`` after all iterations: the coupling, before ``weights`` [B, C, L] multiply it.

        No ``active`` means that all interests are, no ``weights`` that all behaviours count alike.
        """
        if logits.shape[1] == 1 and self.softmax == "interests":
            return self._couple(logits, mask, active)
        weights = None if weights is None else weights.detach()
        if self.init == "kmeans++":
            length = 1.0 if self.scale is None else self.scale
            logits = logits + length * seed_similarities(votes, mask, logits.shape[1])
        for _ in range(self.iterations - 1):
            shares = self._couple(logits, mask, active)
            interests = squash((shares if weights is None else shares * weights) @ votes)  # [B, K, D]
            logits = logits + interests @ votes.transpose(1, 2)  # [B, K, L]
        return self._couple(logits, mask, active)

    def _couple(self, logits: Tensor, mask: Tensor, active: Tensor | None) -> Tensor:
        """How ``logits`` [B, K, L] share out each behaviour; inactive interests and padding get nothing."""
        allowed = mask[:, None, :]  # [B, 1, L]
        if active is not None:
            allowed = allowed & active[:, :, None]  # [B, K, L]
        if active is not None or self.softmax == "behaviors":
            # a large finite number: a column or row that is wholly barred must not divide by zero
            logits = logits.masked_fill(~allowed, torch.finfo(logits.dtype).min)
        return logits.softmax(1 if self.softmax == "interests" else 2) * allowed


class _Ragged(torch.autograd.Function):
    """Σ_j w_kj ê_j of histories in groups of like length: the last, differentiable step of the routing.

    Inputs as in :meth:`BehaviorToInterestRouting.route_ragged`, and ``weights`` [B, C, L], if behaviours have any, and
    ``share`` [K], ρ, if there is one. Each group's votes are gathered, used and dropped while they are in the cache.
    """

    @staticmethod
    def forward(
        ctx: Any,
        votes: Tensor,
        routing: BehaviorToInterestRouting,
        place: Tensor,
        lengths: Tensor,
        logits: Tensor,
        weights: Tensor | None,
        share: Tensor | None,
    ) -> Tensor:
        (B, K, _), D = logits.shape, votes.shape[1]
        ordered, order = lengths.sort()
        place, logits = place.index_select(0, order), logits.index_select(0, order).to(votes.dtype)
        if weights is not None:
            weights = weights.index_select(0, order)
        learns = any(ctx.needs_input_grad[5:])
        ctx.save_for_backward(*(votes, weights, share) if learns else (None, None, None))
        sums = votes.new_zeros(B, K, D)  # in that order
        ctx.size, ctx.order, ctx.groups = len(votes), order, []
        for start, end, longest in like_lengths(ordered):
            k = int(interest_counts(ordered[end - 1 : end], K)) if routing.adaptive else K
            columns = place[start:end, :longest].flatten()
            group = votes.index_select(0, columns).view(end - start, longest, D)
            mask = torch.arange(longest) < ordered[start:end, None]
            of_group = None if weights is None else weights[start:end, :k, :longest]
            shares = routing._iterate(group, mask, logits[start:end, :k, :longest], None, of_group)
            if share is not None:
                shares = (shares + share[:k, None]) * mask[:, None, :]
            coupling = shares if of_group is None else shares * of_group
            sums[start:end, :k] = (coupling @ group).to(sums.dtype)
            ctx.groups.append((start, end, columns, coupling, shares if learns else None, mask))
        return torch.empty_like(sums).index_copy_(0, order, sums)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradient.index_select(0, ctx.order)
        of_votes = gradient.new_zeros(ctx.size, gradient.shape[2])
        votes, weights, share = ctx.saved_tensors
        of_weights = torch.zeros_like(weights) if ctx.needs_input_grad[5] else None
        of_share = torch.zeros_like(share) if ctx.needs_input_grad[6] else None
        for start, end, columns, coupling, shares, mask in ctx.groups:
            b, k, longest = coupling.shape
            of_group = gradient[start:end, :k]
            of_rows = coupling.transpose(1, 2).to(gradient.dtype) @ of_group  # [b, L, D]
            of_votes.index_add_(0, columns, of_rows.flatten(0, 1))
            if votes is None:
                continue
            group = votes.index_select(0, columns).view(b, longest, -1)
            of_coupling = of_group.to(group.dtype) @ group.transpose(1, 2)  # [b, k, L]
            if of_weights is not None:
                found = shares * of_coupling
                found = found.sum(1, keepdim=True) if weights.shape[1] == 1 else found
                of_weights[start:end, :k, :longest] = found
            if of_share is not None:
                kept = mask[:, None, :] if weights is None else weights[start:end, :k, :longest]  # 0 on padding
                of_share[:k] += (of_coupling * kept).sum((0, 2))
        if of_weights is not None:
            of_weights = torch.empty_like(of_weights).index_copy_(0, ctx.order, of_weights)
        return of_votes, None, None, None, None, of_weights, of_share
