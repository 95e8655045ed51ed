"""What a trained model makes of a history, in data: the case study of the paper (Li et al., CIKM 2019, §4.4).

Figures of it are :mod:`recbole_mind.analysis.explain.figures`, a page :mod:`recbole_mind.analysis.explain.page`.

Shape legend: K active interests, L behaviours that are read, D embedding size, N items (RecBole's ids, 0 is padding).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from recbole_mind.analysis.explain.histories import Past, Retriever, draw_users, past_of, to_unit
from recbole_mind.analysis.items import Items, name_interests, read_items, short_list
from recbole_mind.errors import require
from recbole_mind.retrieval.types import Floats, Ints
from recbole_mind.training.describe import popularity
from recbole_mind.training.load import Loaded

SHOWN = 6  # users that are shown where none is named
_WEIGHTS = {"ComiRecSA": "attention weight", "YouTubeDNN": "share of the mean"}


class ExplainedItem(NamedTuple):
    """An item in words, with RecBole's id."""

    id: int
    token: str
    title: str
    categories: tuple[str, ...]


class Recommended(NamedTuple):
    """An item that is recalled: by which interest (-1 in a fallback), with which score, at which cosine to it.

    In a fallback the score is the item's number of interactions in training, and the cosine is 0.
    """

    item: ExplainedItem
    interest: int
    score: float
    cosine: float


class Similarity(NamedTuple):
    """Cosines ``[n]`` of some items: to ``interest`` where it is one, else (-1) to the nearest of all interests."""

    name: str
    interest: int
    cosines: Floats


@dataclass(frozen=True, eq=False)
class Explained:
    """A history, its interests, and what they recall.

    Attributes:
        label: ``user 196``, or ``history 1`` of those that were given.
        user: the raw token, ``None`` of a history that was given.
        model: its name.
        kind: what a weight is: a coupling coefficient, an attention weight or a share of the mean.
        behaviors: the L behaviours that are read, oldest first.
        earlier: how many known ones before them are too old to be read.
        unknown: raw tokens of the history that are not in the catalogue, oldest first.
        followed: the item that came next in the data, held out of what is read; ``None`` of a history that was given.
        vectors: ``[K, D]`` the active interests, v_k.
        weights: ``[K, L]`` how much of each interest each behaviour makes.
        names: of the interests, by their categories (:func:`~recbole_mind.analysis.items.name_interests`); ``""``
            where no behaviour has one.
        recalled: what each interest recalls by itself, the n best that are not in the history.
        merged: the n best of all interests (Eq. 3), or the most popular items in a fallback.
        similarities: of the items that each interest recalls, of the merged list where there are several, of a
            baseline's items if there is one, and of random ones; see :func:`explain`.
        fallback: why the most popular items are recalled, else ``None``.
        notes: what a reader should know, a sentence each.
    """

    label: str
    user: str | None
    model: str
    kind: str
    behaviors: tuple[ExplainedItem, ...]
    earlier: int
    unknown: tuple[str, ...]
    followed: ExplainedItem | None
    vectors: Floats
    weights: Floats
    names: tuple[str, ...]
    recalled: tuple[tuple[Recommended, ...], ...]
    merged: tuple[Recommended, ...]
    similarities: tuple[Similarity, ...]
    fallback: str | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def shares(self) -> Floats:
        """``[K]`` each interest's share of all weights."""
        total = self.weights.sum(1)
        shares: Floats = total / max(float(total.sum()), 1e-12)
        return shares

    def title(self, interest: int) -> str:
        """An interest's number, from 1, and its name."""
        name = self.names[interest]
        return f"{interest + 1} {name}" if name else f"interest {interest + 1}"


def explain(
    loaded: Loaded,
    users: Sequence[str] | int | None = None,
    histories: Sequence[Sequence[str]] | None = None,
    *,
    n: int = 50,
    seed: int = 0,
    title: str | None = None,
    category: str | None = None,
    baseline: Loaded | None = None,
) -> list[Explained]:
    """Explain what a model makes of some histories.

    A user is read as the test reads it: what it did before its last held-out item. A model of one vector
    (YouTubeDNN) has one interest.

    The cosines of :attr:`Explained.similarities` are those of the paper's Figure 6, in this model's space: of each
    item that interest k recalls to v_k; of what all interests together recall, of the baseline's items for the same
    history and of n items drawn from the catalogue, each to the nearest of the user's interests.

    Args:
        loaded: :func:`~recbole_mind.training.load.load` of MIND, ComiRecSA, ComiRecDR or YouTubeDNN.
        users: raw tokens, or how many to draw (:func:`draw_users`); by default :data:`SHOWN` are drawn where no
            history is given.
        histories: raw item tokens, oldest first; without a profile.
        n: how many items are recalled.
        seed: of what is drawn.
        title, category: fields of the ``.item`` file (:func:`~recbole_mind.analysis.items.read_items`).
        baseline: another such model of the same data, YouTubeDNN in the paper.

    Raises:
        InputError: a user that does not exist or has no history, an empty history, a model without interests.
    """
    retriever = Retriever(loaded)
    other = None if baseline is None else Retriever(baseline)
    items = read_items(loaded.dataset, title, category)
    if users is None:
        users = 0 if histories else SHOWN
    tokens = draw_users(loaded, users, seed) if isinstance(users, int) else list(users)
    counts = popularity(loaded.train_data)
    study = _Study(retriever, other, items, counts, items.base_rates(counts), n, seed)
    found = []
    for token in tokens:
        past = past_of(loaded, token)
        found.append(study.one(f"user {token}", token, past, ()))
    for number, history in enumerate(histories or [], 1):
        require(len(history) > 0, f"history: number {number} is empty; name at least one item")
        for item in history:  # a command's arguments may be any bytes
            broken = any("\ud800" <= letter <= "\udfff" for letter in str(item))
            require(not broken, f"history: {item!r} is not UTF-8 text; name raw item tokens")
        ids = np.array([retriever.item_id(item) for item in history], np.int64)
        unknown = tuple(item for item, known in zip(history, ids > 0, strict=True) if not known)
        found.append(study.one(f"history {number}", None, Past(ids[ids > 0], 0), unknown))
    return found


class _Study(NamedTuple):
    retriever: Retriever
    other: Retriever | None
    items: Items
    counts: Ints
    base: dict[str, float]
    n: int
    seed: int

    def item(self, number: int) -> ExplainedItem:
        return ExplainedItem(
            number, self.items.tokens[number], self.items.titles[number], self.items.categories[number]
        )

    def one(self, label: str, user: str | None, past: Past, unknown: tuple[str, ...]) -> Explained:
        model = self.retriever.model
        read = past.ids[-model.max_seq_length :]
        earlier = len(past.ids) - len(read)
        behaviors = tuple(self.item(number) for number in read.tolist())
        about: dict[str, Any] = {
            "label": label,
            "user": user,
            "model": self.retriever.name,
            "kind": _WEIGHTS.get(self.retriever.name, "coupling coefficient"),
            "behaviors": behaviors,
            "earlier": earlier,
            "unknown": unknown,
            "followed": self.item(past.followed) if past.followed else None,
        }
        if not len(read):
            return self._fallback(about)
        vectors, weights = self.retriever.read(past.ids, self.retriever.user_id(user), past.gaps)
        alone = [
            self._recommended(*self.retriever.recall(vector[None], self.n, past.ids), vectors, interest)
            for interest, vector in enumerate(vectors)
        ]
        names = name_interests(weights, [item.categories for item in behaviors], self.base)
        explained = Explained(
            **about,
            vectors=vectors,
            weights=weights,
            names=tuple(names),
            recalled=tuple(alone),
            merged=self._recommended(*self.retriever.recall(vectors, self.n, past.ids), vectors),
            similarities=(),
            notes=self._notes(len(vectors), len(read), earlier, unknown),
        )
        return replace(explained, similarities=self._similarities(explained, past, user))

    def _recommended(
        self, ids: Ints, scores: Floats, origin: Ints, vectors: Floats, interest: int | None = None
    ) -> tuple[Recommended, ...]:
        origin = origin if interest is None else np.full(len(ids), interest)
        cosines = (self.retriever.unit[ids] * to_unit(vectors)[origin]).sum(1)
        rows = zip(ids.tolist(), origin.tolist(), scores.tolist(), cosines.tolist(), strict=True)
        return tuple(Recommended(self.item(number), *rest) for number, *rest in rows)

    def _similarities(self, explained: Explained, past: Past, user: str | None) -> tuple[Similarity, ...]:
        unit = to_unit(explained.vectors)
        found = [
            Similarity(explained.title(k), k, np.array([item.cosine for item in recalled], np.float32))
            for k, recalled in enumerate(explained.recalled)
        ]
        if len(unit) > 1:
            every = np.array([item.item.id for item in explained.merged], np.int64)
            found.append(self._nearest("all interests together", every, unit))

        if self.other is not None:
            tokens = [self.items.tokens[number] for number in past.ids.tolist()]
            theirs = np.array([number for token in tokens if (number := self.other.item_id(token))], np.int64)
            ids = np.zeros(0, np.int64)
            if len(theirs):
                gaps = past.gaps if len(theirs) == len(past.ids) and self.other.same_times(self.retriever) else None
                vectors, _ = self.other.read(theirs, self.other.user_id(user), gaps)
                recalled = self.other.recall(vectors, self.n, theirs)[0]
                known = self.other.loaded.dataset.field2id_token[self.other.loaded.dataset.iid_field]
                ids = np.array([self.retriever.item_id(str(known[number])) for number in recalled], np.int64)
            found.append(self._nearest(self.other.name, ids[ids > 0], unit))
        pool = np.setdiff1d(np.arange(1, len(self.retriever.vectors)), past.ids)
        drawn = np.random.default_rng(self.seed).permutation(len(pool))[: self.n]
        found.append(self._nearest("random items", pool[np.sort(drawn)], unit))
        return tuple(found)

    def _nearest(self, name: str, ids: Ints, interests: Floats) -> Similarity:
        return Similarity(name, -1, (self.retriever.unit[ids] @ interests.T).max(1, initial=-1.0))

    def _notes(self, active: int, length: int, earlier: int, unknown: tuple[str, ...]) -> tuple[str, ...]:
        model, notes = self.retriever.model, []
        if earlier:
            notes.append(
                f"The history holds {length + earlier} known items; the newest {length} are read, as many as the model "
                "takes (MAX_ITEM_LIST_LENGTH)."
            )
        notes += _unknown(unknown)
        K = model.num_interests or 1
        if active < K:
            counted = f"{length} behaviour{'s' * (length != 1)}"
            notes.append(f"{active} of {K} interests {'is' if active == 1 else 'are'} active with {counted}.")
        if model.num_interests is None:
            notes.append(f"{self.retriever.name} has one vector, made of all behaviours: it has no interests to tell.")
        return tuple(notes)

    def _fallback(self, about: dict[str, Any]) -> Explained:
        """The most popular items, for a history of which nothing is known."""
        order = np.argsort(-self.counts[1:], kind="stable")[: self.n] + 1
        D = self.retriever.vectors.shape[1]
        merged = tuple(Recommended(self.item(i), -1, float(self.counts[i]), 0.0) for i in order.tolist())
        return Explained(
            **about,
            vectors=np.zeros((0, D), np.float32),
            weights=np.zeros((0, 0), np.float32),
            names=(),
            recalled=(),
            merged=merged,
            similarities=(),
            fallback="unknown items",
            notes=(*_unknown(about["unknown"]), "Nothing is known of it: the most popular items are recalled."),
        )


def _unknown(tokens: Sequence[str]) -> list[str]:
    if not tokens:
        return []
    be = "items are" if len(tokens) > 1 else "item is"
    return [f"{len(tokens)} {be} not in the catalogue and not read: {short_list(tokens)}."]
