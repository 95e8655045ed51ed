"""What two lists did, and whether they differ by more than chance: resampling of users.

Shape legend: U users, P different pairs of impressions and clicks that a user has, R resamplings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from recbole_mind.errors import require

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEVEL = 0.05  # of the intervals and the test
POWER = 0.8  # with which the smallest detectable effect is found
MISMATCH = 0.001  # p of the numbers of users below which the experiment is not to be believed
FEWEST = 50  # users of a channel below whom resampling finds differences where there are none
RESAMPLINGS = 10_000
_BLOCK = 2**24  # numbers drawn at once


class Estimate(NamedTuple):
    """A rate and its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rates:
    """The rates of a channel's users, and what resampling them gives.

    Attributes:
        users: U.
        impressions, clicks: of all of them.
        pvctr: clicks by impression; ``[R]`` of the resamplings.
        uvctr: the share of users who clicked; ``[R]`` likewise.
    """

    users: int
    impressions: int
    clicks: int
    pvctr: Estimate
    uvctr: Estimate
    resampled: dict[str, Doubles]


@dataclass(frozen=True)
class Difference:
    """A channel's rate less the control's.

    Attributes:
        difference: with its 95% interval.
        relative: by the control's rate; ``None`` where that is 0.
        p: two-sided, of the resampled differences; ``None`` where that is not to be said: a channel has fewer than
            :data:`FEWEST` users, or nobody clicked, or all did.
        detectable: the smallest difference that an experiment of this size finds in 80% of cases; ``None`` likewise.
    """

    difference: Estimate
    relative: float | None
    p: float | None
    detectable: float | None


def rates(impressions: Ints, clicks: Ints, *, seed: Sequence[int], resamplings: int = RESAMPLINGS) -> Rates:
    """The rates of the users who had ``impressions`` [U], at least 1, and ``clicks`` [U] of them.

    A user's impressions depend on each other, so users are drawn, with replacement, not impressions (Efron 1979). Users
    with the same pair of numbers are the same to a resampling: how often each pair is drawn is multinomial.

    Args:
        impressions: ``[U]``.
        clicks: ``[U]``, at most as many.
        seed: of the resamplings.
        resamplings: R.

    Raises:
        InputError: no user, or numbers that cannot be.
    """
    require(len(impressions) > 0, "no user has an impression")
    require(bool((impressions >= 1).all()), "impressions: a user without one does not count")
    require(bool(((clicks >= 0) & (clicks <= impressions)).all()), "clicks: from 0 to as many as there are impressions")
    pairs, counts = np.unique(np.stack([impressions, clicks], 1), axis=0, return_counts=True)
    users, random = len(impressions), np.random.default_rng(seed)
    seen, clicked = pairs[:, 0].astype(np.float64), pairs[:, 1].astype(np.float64)
    found: dict[str, list[Doubles]] = {"pvctr": [], "uvctr": []}
    rows = max(1, _BLOCK // len(pairs))
    for start in range(0, resamplings, rows):
        drawn = random.multinomial(users, counts / users, size=min(rows, resamplings - start))  # [rows, P]
        found["pvctr"].append((drawn @ clicked) / (drawn @ seen))
        found["uvctr"].append((drawn @ (clicked > 0)) / users)
    resampled = {name: np.concatenate(parts) for name, parts in found.items()}
    values = {"pvctr": float(clicks.sum() / impressions.sum()), "uvctr": float((clicks > 0).mean())}
    estimates = {name: _estimate(values[name], resampled[name]) for name in values}
    return Rates(users, int(impressions.sum()), int(clicks.sum()), **estimates, resampled=resampled)


def difference(channel: Rates, control: Rates, rate: str, *, channels: int = 1) -> Difference:
    """A channel against the control by ``"pvctr"`` or ``"uvctr"``, one of so many ``channels`` that are compared."""
    ours, theirs = getattr(channel, rate).value, getattr(control, rate).value
    drawn = channel.resampled[rate] - control.resampled[rate]
    R, spread = len(drawn), float(drawn.std(ddof=1))
    beyond = min(int((drawn <= 0).sum()), int((drawn >= 0).sum())) + 1
    told = spread > 0 and min(channel.users, control.users) >= FEWEST
    quantiles = stats.norm.ppf(1 - LEVEL / channels / 2) + stats.norm.ppf(POWER)
    return Difference(
        difference=_estimate(ours - theirs, drawn),
        relative=(ours - theirs) / theirs if theirs > 0 else None,
        p=min(1.0, 2 * beyond / (R + 1)) if told else None,
        detectable=float(quantiles * spread) if told else None,
    )


def mismatch(users: Sequence[int], shares: Sequence[float]) -> float:
    """p of the numbers of ``users`` by channel if they were assigned by ``shares``, by the χ² test.

    A small one says that users are missing from a channel, for a reason that may well change the rates too: a
    sample-ratio mismatch.

    Raises:
        InputError: a share that is not above 0, or shares without a finite sum.
    """
    good = all(share > 0 for share in shares) and math.isfinite(sum(shares))
    require(good, "share: each is above 0, and all together a finite number")
    expected = np.array(shares) / sum(shares) * sum(users)
    return float(stats.chisquare(users, expected).pvalue)


def _estimate(value: float, drawn: Doubles) -> Estimate:
    low, high = np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2])
    return Estimate(value, float(low), float(high))
