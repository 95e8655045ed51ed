"""Splits of samples by user, for all users at once: RecBole's rules in numpy, to the sample and its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer[Any]]

_BLOCK = 2**20


@dataclass(frozen=True)
class Groups:
    """Samples by user: users in the order in which they first occur, each user's samples in their order.

    Attributes:
        starts, counts: ``[G]`` group g has the samples ``starts[g]`` to ``starts[g] + counts[g]`` of ``order``.
        order: ``[n]`` places of samples; ``None`` where those are row numbers of a store instead, which need no order.
    """

    starts: Ints
    counts: Ints
    order: Ints | None

    def part(self, first: Ints | int, number: Ints) -> Ints:
        """Of each group, ``number`` [G] samples from its ``first`` [G] on, group by group."""
        samples = _ranges(self.starts + first, number)
        return samples if self.order is None else self.order[samples]


def _ranges(starts: Ints, counts: Ints) -> Ints:
    """``counts`` [G] numbers from each of ``starts`` [G], one range after the other; 32 bits wide if they can be."""
    ends = counts.cumsum()
    last = int((starts + counts).max(initial=0))
    kind = np.int32 if last < 2**31 else np.int64
    result: Ints = np.repeat((starts - (ends - counts)).astype(kind), counts)
    for begin in range(0, len(result), _BLOCK):
        part = result[begin : begin + _BLOCK]
        np.add(part, np.arange(begin, begin + len(part), dtype=kind), out=part)
    return result


def stable_order(keys: Ints) -> npt.NDArray[np.intp]:
    """``argsort(kind="stable")`` of integers from 0: numpy sorts 16 bits by radix, so two passes of that for most."""
    top = int(keys.max()) if len(keys) else 0
    if top >= 2**32:
        return np.argsort(keys, kind="stable")
    order = np.argsort(keys.astype(np.uint16), kind="stable")
    if top >= 2**16:
        order = order[np.argsort((keys[order] >> 16).astype(np.uint16), kind="stable")]
    return order


def groups(keys: Ints) -> Groups:
    """Group samples by ``keys`` [n], integers from 0."""
    n = len(keys)
    places = np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)
    counts = np.bincount(keys)
    first: Ints = np.full(len(counts), n, places.dtype)
    first[keys[::-1]] = places[::-1]  # the last that is written is the first that occurs
    present = np.flatnonzero(counts)
    counts = counts[present][np.argsort(first[present])]
    return Groups(counts.cumsum() - counts, counts, stable_order(first[keys]).astype(places.dtype))


def leave_out(data: Groups, number: int) -> list[Ints]:
    """All but the last ``number`` samples of each group, then those, one a part; a group keeps one at least."""
    counts = data.counts
    parts = [data.part(0, counts - np.minimum(number, counts - 1))]
    for back in range(number - 1, -1, -1):
        parts.append(data.part(counts - 1 - back, (counts > back + 1).astype(np.int64)))
    return parts


def by_ratio(data: Groups, ratios: Sequence[float]) -> list[Ints]:
    """Each group in parts of about ``ratios``, which sum to 1; all but the first are rounded down, if not to none.

    RecBole's rule (``Dataset._calcu_split_ids``), for all groups at once.
    """
    total = data.counts
    numbers = [(ratio * total).astype(np.int64) for ratio in ratios]
    numbers[0] = total - sum(numbers[1:])
    going = np.ones(len(total), bool)
    for i in range(1, len(ratios)):
        going &= numbers[0] > 1
        share = ratios[-i] * total
        more = going & (share > 0) & (share < 1)
        numbers[-i] += more
        numbers[0] -= more
    return [data.part(sum(numbers[:part]), number) for part, number in enumerate(numbers)]


def by_time(data: Groups, times: npt.NDArray[np.floating[Any]], ratios: Sequence[float]) -> list[Ints]:
    """What comes after the time before which ``1 - ratios[2]`` of all samples lie, then each group's rest in two parts.

    Args:
        data: groups whose samples are in the order of time.
        times: ``[n]`` their times, group by group.
        ratios: three shares that sum to 1.
    """
    early = times <= np.percentile(times, 100 * (1 - ratios[-1]))
    numbers = np.add.reduceat(early, data.counts.cumsum() - data.counts, dtype=np.int64)
    train = (numbers * (ratios[0] / (1 - ratios[2]))).astype(np.int64)
    return [data.part(0, train), data.part(train, numbers - train), data.part(numbers, data.counts - numbers)]
