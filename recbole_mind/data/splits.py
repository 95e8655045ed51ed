"""Splits of samples, for all users at once: RecBole's by user to the sample and its place, and one of the users."""

from __future__ import annotations

import logging
import math
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
        samples = ranges(self.starts + first, number)
        return samples if self.order is None else self.order[samples]


def ranges(starts: Ints, counts: Ints) -> Ints:
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
    """All but the last ``number`` samples of each group, then those, one a part; a group keeps one at least.

    RecBole's rule (``Dataset._split_index_by_leave_one_out``): a group of fewer than ``number + 1`` samples fills the
    last part first. With validation and test (2), a user's one sample trains; two are for training and test; from three
    on there is one for validation too. A sample of a sequential model is a behaviour with one before it, so that users
    of 2, 3 and 4 behaviours have 1, 2 and 3 samples, and a user of a single behaviour has none.
    """
    counts = data.counts
    parts = [data.part(0, counts - np.minimum(number, counts - 1))]
    for back in range(number - 1, -1, -1):
        parts.append(data.part(counts - 1 - back, (counts > back + 1).astype(np.int64)))
    return parts


def tell_left_out(counts: Ints, mode: str, *, first: int) -> None:
    """Warn of users who are too short for :func:`leave_out` to give them a target in each part.

    Args:
        counts: ``[U]`` samples of each user who has one.
        mode: RecBole's ``valid_and_test``, ``valid_only`` or ``test_only``.
        first: behaviours that a user's first sample takes.
    """
    targets = {"valid_and_test": ("test", "validation"), "valid_only": ("validation",), "test_only": ("test",)}[mode]
    said = [
        f"{lacking:,} have no {phase} target (it takes {first + place})"
        for place, phase in enumerate(targets, 1)
        if (lacking := int((counts <= place).sum()))
    ]
    if said:
        among = f"of {len(counts):,} users with at least {first} behaviour{'s' * (first > 1)}"
        logging.getLogger().warning(f"leave-one-out: {among}, {' and '.join(said)}")


def portions(total: Ints, ratios: Sequence[float]) -> npt.NDArray[np.int64]:
    """How many of ``total`` [G] samples each part takes of ``ratios``, which sum to 1: ``[parts, G]``.

    RecBole's rule (``Dataset._calcu_split_ids``), for all groups at once: all but the first are rounded down, if not to
    none.
    """
    numbers = np.stack([(ratio * total).astype(np.int64) for ratio in ratios])  # [parts, G]
    numbers[0] = total - numbers[1:].sum(0)
    going = np.ones(len(total), bool)
    for i in range(1, len(ratios)):
        going &= numbers[0] > 1
        share = ratios[-i] * total
        more = going & (share > 0) & (share < 1)
        numbers[-i] += more
        numbers[0] -= more
    return numbers


def by_ratio(data: Groups, ratios: Sequence[float]) -> list[Ints]:
    """Each group in parts of about ``ratios``, which sum to 1; see :func:`portions`."""
    numbers = portions(data.counts, ratios)
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


def users(counts: Ints, ratios: Sequence[float], seed: int) -> list[Ints]:
    """Share the users who have behaviours out among disjoint parts, whatever those behaviours are.

    Each user gets a 64-bit random number, in the order of their ids; the users in the order of their numbers are cut
    into parts. The numbers are PCG64's own, which no release of numpy changes.

    Args:
        counts: ``[U]`` behaviours of each user.
        ratios: shares of the parts; all but the first are rounded to the nearest number of users, halves up.
        seed: of the numbers.

    Returns:
        user ids of each part, ascending.
    """
    present = np.flatnonzero(counts)
    order = np.argsort(np.random.PCG64(seed).random_raw(len(present)), kind="stable")
    sizes = [math.floor(len(present) * ratio / sum(ratios) + 0.5) for ratio in ratios[1:]]
    ends = np.cumsum([max(len(present) - sum(sizes), 0), *sizes])[:-1]
    return [np.sort(part) for part in np.split(present[order], ends)]


def cuts(counts: Ints, history: float | None) -> Ints:
    """How many of ``counts`` [U] behaviours precede the cut: a share, rounded down; ``None`` for all but the last."""
    if history is None:
        return np.maximum(counts - 1, 0)
    result: Ints = np.floor(counts * history + 1e-9).astype(np.int64)  # 0.29 * 100 is 29
    return result
