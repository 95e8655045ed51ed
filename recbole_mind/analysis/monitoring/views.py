"""What was shown, by time, channel and bundle, and the figures of some hours of it.

Shape legend: V views, an item of a list each; U users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
FIGURES = {"pvctr": "clicks by impression", "uvctr": "users who clicked", "shown": "items shown by list"}


class Figure(NamedTuple):
    """A figure of a channel in some hours.

    Attributes:
        value: of it.
        variance: of a user's share in it: that of the figure is this by the number of users.
        users, views: that it is of.
    """

    value: float
    variance: float
    users: int
    views: int


@dataclass(frozen=True)
class Views:
    """What was shown, each item of each list once, in the order of time.

    Attributes:
        channels, bundles: their names.
        time: ``[V]``, seconds since 1970.
        channel, bundle: ``[V]``, places in the names.
        user, request: ``[V]``, a number each.
        clicked: ``[V]`` booleans.
    """

    channels: list[str]
    bundles: list[str]
    time: Doubles
    channel: Ints
    bundle: Ints
    user: Ints
    request: Ints
    clicked: Any

    def between(self, start: float, end: float) -> Views:
        """Those after ``start`` and not after ``end``."""
        low, high = np.searchsorted(self.time, [start, end], side="right")
        return self._chosen(slice(low, max(low, high)))

    def of(self, channel: str, bundle: str | None = None, *, but: str | None = None) -> Views:
        """Those of a channel, and of a bundle or of all ``but`` one."""
        chosen = self.channel == _place(self.channels, channel)
        if bundle is not None:
            chosen &= self.bundle == _place(self.bundles, bundle)
        if but is not None:
            chosen &= self.bundle != _place(self.bundles, but)
        return self._chosen(chosen)

    def figures(self) -> dict[str, Figure]:
        """By name, as :data:`FIGURES` has them; none where nothing was shown.

        A user's views depend on each other, so the variances are of users: those of ratios by linearisation (the delta
        method), which needs no resampling.
        """
        if len(self.time) == 0:
            return {}
        users, place = np.unique(self.user, return_inverse=True)
        views = np.bincount(place).astype(np.float64)
        clicks = np.bincount(place, weights=self.clicked)
        first = np.unique(self.request, return_index=True)[1]  # of each list
        requests = np.bincount(place[first], minlength=len(users)).astype(np.float64)
        ones = np.ones(len(users))
        found = {}
        for name, above, below in (
            ("pvctr", clicks, views),
            ("uvctr", (clicks > 0).astype(np.float64), ones),
            ("shown", views, requests),
        ):
            value = float(above.sum() / below.sum())
            variance = float(np.mean((above - value * below) ** 2) / below.mean() ** 2)
            found[name] = Figure(value, variance, len(users), len(self.time))
        return found

    def _chosen(self, chosen: Any) -> Views:
        parts = {
            name: getattr(self, name)[chosen] for name in ("time", "channel", "bundle", "user", "request", "clicked")
        }
        return Views(self.channels, self.bundles, **parts)


def _place(names: list[str], name: str) -> int:
    return names.index(name) if name in names else -1
