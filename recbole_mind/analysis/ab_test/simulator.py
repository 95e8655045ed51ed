"""People with planted interests, who look down a list and click: an experiment whose answer is known.

A user is a mixture of clusters of items. An item at place j of a list is looked at with a probability that falls with
j (position bias), and one that is looked at is clicked with a probability that is the user's interest in its cluster
times the user's own appetite; so a user's views depend on each other, as those of people do. With numpy alone.

Shape legend: U users, C clusters, N items, R requests, n items of a list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import numpy as np

from recbole_mind.analysis.ab_test.events import Impressions
from recbole_mind.analysis.ab_test.statistics import Doubles, Ints
from recbole_mind.data.event_log import CLICK, IMPRESSION
from recbole_mind.errors import require

DAY = 86_400.0
Lists = Callable[[Ints, np.random.Generator], Ints]  # users [R] to items [R, n]


class Views(NamedTuple):
    """What was shown in a channel: requests in no order.

    Attributes:
        user: ``[R]``.
        time: ``[R]``, seconds.
        items: ``[R, n]``.
        clicked: ``[R, n]`` booleans.
    """

    user: Ints
    time: Doubles
    items: Ints
    clicked: Any


@dataclass(frozen=True)
class World:
    """Users, items and what the ones think of the others.

    Attributes:
        interests: ``[U, C]``, of each user; rows sum to 1.
        clusters: ``[N]``, of each item.
        appetite: ``[U]``, how readily a user clicks, 1 on average.
        activity: ``[U]``, a user's requests a day, on average.
        examined: ``[n]``, the probability that a place is looked at.
        liked: of a click on an item that is looked at and of a cluster with the whole of a user's interest.
    """

    interests: Doubles
    clusters: Ints
    appetite: Doubles
    activity: Doubles
    examined: Doubles
    liked: float

    @classmethod
    def planted(
        cls,
        users: int,
        random: np.random.Generator,
        *,
        clusters: int = 20,
        per_cluster: int = 10,
        interests: int = 3,
        places: int = 10,
        liked: float = 0.6,
        unlike: float = 0.5,
        requests: float = 3.0,
    ) -> World:
        """Draw a world.

        Args:
            users: U.
            random: draws all of it.
            clusters, per_cluster: C, and the items of each.
            interests: clusters of a user, of shares drawn from a Dirichlet distribution.
            places: n, examined with 1/log2(1 + j), as DCG discounts them.
            liked: see above.
            unlike: the variance of appetite (a Gamma distribution's), 0 for users who are all alike.
            requests: a user's a day on average; users differ in them, too.
        """
        require(1 <= interests <= clusters, f"interests: {interests} is not allowed; allowed: 1 to {clusters}")
        chosen = random.random((users, clusters)).argsort(1)[:, :interests]
        shares = np.zeros((users, clusters))
        np.put_along_axis(shares, chosen, random.dirichlet(np.full(interests, 2.0), users), 1)
        return cls(
            interests=shares,
            clusters=np.repeat(np.arange(clusters), per_cluster),
            appetite=random.gamma(1 / unlike, unlike, users) if unlike > 0 else np.ones(users),
            activity=requests * random.gamma(4.0, 0.25, users),
            examined=1 / np.log2(2 + np.arange(places)),
            liked=liked,
        )

    @property
    def users(self) -> int:
        """U."""
        return len(self.appetite)

    def history(self, user: int, length: int, random: np.random.Generator) -> Ints:
        """Items ``[length]`` that a user clicked before, drawn by interest."""
        items: Ints = self._items(self._clusters(np.array([user]), length, random), random)[0]
        return items

    def probabilities(self, user: Ints, items: Ints) -> Doubles:
        """Of a click, ``[R, n]``, on ``items`` [R, n] that are shown to ``user`` [R]."""
        interest = self.interests[user[:, None], self.clusters[items]]
        relevance = np.minimum(1.0, self.liked * self.appetite[user, None] * interest)
        found: Doubles = self.examined[: items.shape[1]] * relevance
        return found

    def show(self, user: Ints, time: Doubles, lists: Lists, random: np.random.Generator) -> Views:
        """Show a list to each of ``user`` [R] and see what is clicked."""
        items = lists(user, random)
        return Views(user, time, items, random.random(items.shape) < self.probabilities(user, items))

    def visits(self, users: Ints, days: float, random: np.random.Generator) -> tuple[Ints, Doubles]:
        """Who comes when in so many days, from time 0: users [R] and times [R]."""
        user = np.repeat(users, random.poisson(self.activity[users] * days))
        return user, random.random(len(user)) * days * DAY

    # -- lists whose answer is known ---------------------------------------------------------------------------------

    def mixed(self, quality: float) -> Lists:
        """Lists of which each place is, with the probability ``quality``, of the user's interests; else any item."""
        require(0 <= quality <= 1, f"quality: {quality} is not allowed; allowed: 0 to 1")

        def lists(user: Ints, random: np.random.Generator) -> Ints:
            shape = len(user), len(self.examined)
            any_cluster = random.integers(0, self.interests.shape[1], shape)
            cluster = np.where(random.random(shape) < quality, self._clusters(user, shape[1], random), any_cluster)
            return self._items(cluster, random)

        return lists

    def click_rate(self, quality: float) -> float:
        """The clicks by impression of :meth:`mixed` lists, exactly: of all users, weighed by how often they come."""
        interest = np.minimum(1.0, self.liked * self.appetite[:, None] * self.interests)  # [U, C]
        liked, any_item = (interest * self.interests).sum(1), interest.mean(1)  # clusters are of one size
        rate = self.examined.mean() * (quality * liked + (1 - quality) * any_item)
        return float(np.average(rate, weights=self.activity))

    def quality_of(self, rate: float) -> float:
        """The quality at which :meth:`mixed` lists have a rate of clicks."""
        low, high = self.click_rate(0.0), self.click_rate(1.0)
        require(low <= rate <= high, f"rate: {rate:.4g} is not allowed; allowed: {low:.4g} to {high:.4g}")
        return (rate - low) / (high - low)

    def _clusters(self, user: Ints, number: int, random: np.random.Generator) -> Ints:
        """Clusters [R, number], drawn by interest."""
        ends = np.cumsum(self.interests, 1)[user]  # [R, C]
        drawn = random.random((len(user), number)) * ends[:, -1:]
        found: Ints = (drawn[:, :, None] >= ends[:, None, :]).sum(2)
        return found

    def _items(self, cluster: Ints, random: np.random.Generator) -> Ints:
        """Items [R, n] of clusters [R, n], none twice in a row as long as its cluster lasts."""
        R = len(cluster)
        size = len(self.clusters) // self.interests.shape[1]
        earlier = np.tril(cluster[:, :, None] == cluster[:, None, :], -1).sum(2)  # of the same cluster
        first = random.integers(0, size, (R, self.interests.shape[1]))
        items: Ints = cluster * size + (np.take_along_axis(first, cluster, 1) + earlier) % size
        return items


def assigned(users: Ints, channels: Sequence[str], random: np.random.Generator) -> dict[str, Ints]:
    """Users by channel, as many in each, or one more."""
    order = random.permutation(users)
    return {name: order[place :: len(channels)] for place, name in enumerate(channels)}


def impressions(shown: Mapping[str, Views]) -> Impressions:
    """Views by channel as a log that was read, for :func:`recbole_mind.analysis.ab_test.comparison.compare`."""
    channels = sorted(shown)
    views = [shown[name] for name in channels]
    sizes = [one.clicked.size for one in views]
    day = np.concatenate([np.repeat(one.time // DAY, one.items.shape[1]) for one in views]).astype(np.int64)
    present, place = np.unique(day, return_inverse=True)
    return Impressions(
        channels=channels,
        days=[date.fromordinal(date(1970, 1, 1).toordinal() + int(each)) for each in present],
        channel=np.repeat(np.arange(len(channels)), sizes),
        user=np.concatenate([np.repeat(one.user, one.items.shape[1]) for one in views]),
        day=place,
        clicked=np.concatenate([one.clicked.ravel() for one in views]),
        left_out={},
    )


def columns(views: Views, channel: str, bundle: str, *, start: float = 0.0, prefix: str = "") -> dict[str, Any]:
    """Views as the columns of a log of events, a row an event: times are seconds since 1970, from ``start`` on."""
    R, n = views.items.shape
    request = [f"{prefix}{channel}-{place}" for place in range(R)]
    rows, places = np.nonzero(views.clicked)
    row = np.concatenate([np.repeat(np.arange(R), n), rows])
    place = np.concatenate([np.tile(np.arange(n), R), places])
    micro = ((start + views.time[row]) * 1e6).astype("datetime64[us]")
    return {
        "time": micro,
        "request": [request[each] for each in row],
        "channel": [channel] * len(row),
        "bundle": [bundle] * len(row),
        "user": [f"u{each}" for each in views.user[row]],
        "item": [f"i{each}" for each in views.items[row, place]],
        "position": (place + 1).tolist(),
        "event": [IMPRESSION] * (R * n) + [CLICK] * len(rows),
    }


def visit(
    post: Callable[[str, dict[str, Any]], Any],
    world: World,
    user: int,
    history: Sequence[int],
    random: np.random.Generator,
) -> tuple[int, int]:
    """Have a user ask the real service and click: its answer to ``/recall`` is shown, and sent back to ``/events``.

    Items are ``i<number>`` to the service, users ``u<number>``.

    Args:
        post: sends a body to a path and gives the answer.
        world: of the user and the items.
        user: who asks.
        history: of the user.
        random: decides what is clicked.

    Returns:
        how many items were shown, and how many clicked.
    """
    question = {"history": [f"i{item}" for item in history], "n": len(world.examined), "user": f"u{user}"}
    answer = post("/recall", question)
    items = np.array([int(token[1:]) for token in answer["items"]], np.int64)
    if not len(items):
        return 0, 0
    clicked = random.random(len(items)) < world.probabilities(np.array([user]), items[None])[0]
    sent = [
        {"request": answer["request"], "item": f"i{item}", "event": IMPRESSION, "position": place}
        for place, item in enumerate(items, 1)
    ]
    sent += [{"request": answer["request"], "item": f"i{item}", "event": CLICK} for item in items[clicked]]
    post("/events", {"events": sent})
    return len(items), int(clicked.sum())
