"""Histories cut from interactions that are kept once: numpy and torch only, no RecBole.

RecBole stores every prefix of every history as a padded row of every column. Here the interactions stand once, sorted
by user and time (:class:`Store`); a sample is the row number of its target, and its fields are made when they are asked
for (:class:`Samples`). :class:`BatchOrder` says which samples a training batch holds.

Shape legend: N interactions, U users, n samples, B of them in a batch, L longest history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_mind.data.splits import Groups, Ints, groups

BLOCK = 2**16  # samples whose histories are cut at once where all of them are asked for


class Store:
    """Interactions in the order of user and time.

    Args:
        columns: each field's values ``[N, ...]``. 32-bit integers are given out as 64-bit ones: ids are kept so.
        user: the column of user ids.
        offsets: ``[U + 1]`` 64-bit integers: user u has the rows ``offsets[u]`` to ``offsets[u + 1]``.
        width: L, how many interactions before a target its history holds at most.
    """

    def __init__(self, columns: Mapping[str, Tensor], user: str, offsets: Tensor, width: int) -> None:
        self.columns, self.user, self.offsets, self.width = dict(columns), user, offsets, width
        self._elsewhere: dict[tuple[str, torch.device], Tensor] = {}
        self._room: dict[torch.device, bool] = {}

    def __len__(self) -> int:
        return len(self.columns[self.user])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_elsewhere": {}, "_room": {}}

    def fits(self, device: torch.device) -> bool:
        """Whether two columns of ids take less than a quarter of what a GPU had free when it was first asked."""
        if device not in self._room:
            self._room[device] = 4 * 2 * 4 * len(self) < torch.cuda.mem_get_info(device)[0]
        return self._room[device]

    def column(self, name: str, device: torch.device) -> Tensor:
        """A column on ``device``, moved there once; ``""`` is the offsets."""
        here = self.columns[name] if name else self.offsets
        if here.device == device:
            return here
        if (name, device) not in self._elsewhere:
            self._elsewhere[name, device] = here.to(device)
        return self._elsewhere[name, device]

    def gather(self, name: str, index: Tensor) -> Tensor:
        """Values of a column at rows ``index`` [...], on the index's device."""
        values = self.column(name, index.device)[index]
        return values.long() if values.dtype == torch.int32 else values

    def lengths(self, rows: Tensor) -> Tensor:
        """How many interactions, at most L, the user of each of ``rows`` [n] has before it."""
        users = self.column(self.user, rows.device)[rows]
        return (rows - self.column("", rows.device)[users]).clamp_(max=self.width)

    def window(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Where the histories of ``rows`` [B] stand: row numbers ``[B, L]``, and true where there is none.

        Nothing waits for a device: the shape does not depend on the values. On the CPU it is numpy's work, on one
        thread: it takes half a millisecond, and torch's threads wait far longer for each other where cores are busy.
        """
        lengths = self.lengths(rows)
        if _by_numpy(rows):
            places = np.arange(self.width)
            index = (rows - lengths).numpy()[:, None] + places
            return torch.from_numpy(index), torch.from_numpy(places >= lengths.numpy()[:, None])
        steps = torch.arange(self.width, device=rows.device)
        return (rows - lengths)[:, None] + steps, steps >= lengths[:, None]

    def histories(self, name: str, index: Tensor, empty: Tensor) -> Tensor:
        """Values ``[B, L, ...]`` of a column in a :meth:`window`."""
        if not _by_numpy(index):
            values = self.gather(name, index.clamp(max=len(self) - 1))
            return values.masked_fill_(empty.view(*empty.shape, *[1] * (values.dim() - 2)), 0)
        found = self.columns[name].numpy().take(index.numpy(), axis=0, mode="clip")
        found = found.astype(np.int64) if found.dtype == np.int32 else found
        found[empty.numpy()] = 0
        return torch.from_numpy(found)

    def targets(self) -> Tensor:
        """The rows that have a history: each but a user's first, ``[n]``, as 32-bit integers if they can."""
        dtype = torch.int32 if len(self) < 2**31 else torch.int64
        first = np.zeros(len(self), bool)
        starts = self.offsets.numpy()
        first[starts[:-1][starts[1:] > starts[:-1]]] = True
        rows = np.flatnonzero(~first)
        return torch.from_numpy(rows).to(dtype)


def _by_numpy(rows: Tensor) -> bool:
    return rows.device.type == "cpu"


class Recipe:
    """How a field of samples is made."""

    def make(self, samples: Samples) -> Tensor:
        """The values ``[n, ...]``."""
        raise NotImplementedError


@dataclass(frozen=True)
class Target(Recipe):
    """A column at the target."""

    column: str

    def make(self, samples: Samples) -> Tensor:
        return samples.store.gather(self.column, samples.rows.long())


@dataclass(frozen=True)
class History(Recipe):
    """A column at the interactions before the target, oldest first, zero after them: ``[n, L, ...]``."""

    column: str

    def make(self, samples: Samples) -> Tensor:
        store = samples.store
        if len(samples.rows) <= BLOCK:
            return store.histories(self.column, *samples.window())
        example = store.gather(self.column, samples.rows[:1].long())
        result = example.new_empty(len(samples.rows), store.width, *example.shape[1:])
        for start in range(0, len(result), BLOCK):
            window = store.window(samples.rows[start : start + BLOCK].long())
            result[start : start + BLOCK] = store.histories(self.column, *window)
        return result


@dataclass(frozen=True)
class Length(Recipe):
    """The length of the history."""

    def make(self, samples: Samples) -> Tensor:
        return samples.store.lengths(samples.rows.long())


@dataclass(frozen=True)
class Row(Recipe):
    """The target's row number, which is how many interactions precede it in the store."""

    def make(self, samples: Samples) -> Tensor:
        return samples.rows.long()


@dataclass(frozen=True, eq=False)
class Joined(Recipe):
    """A table's row ``[...]`` for the id in the field ``key``."""

    table: Tensor
    key: str

    def make(self, samples: Samples) -> Tensor:
        ids = samples[self.key]
        return self.table[ids.to(self.table.device)].to(ids.device)


class Samples(MutableMapping[str, Tensor]):
    """The fields of n samples, each made when it is asked for.

    Args:
        store: what they are made of.
        fields: names, in order, with the values ``[n, ...]`` or the recipe for them.
        rows: ``[n]`` the targets' row numbers; ``None`` for all targets in the store's order.
        keep: whether a field that was made is kept, as a batch does; all samples of a data set together do not.
    """

    def __init__(
        self, store: Store, fields: Mapping[str, Tensor | Recipe], rows: Tensor | None = None, *, keep: bool = False
    ) -> None:
        self.store, self.fields, self.keep = store, dict(fields), keep
        self.device: torch.device | None = None  # where fields are wanted, if not where the rows are
        self._rows = rows
        self._by: str | None = None
        self._window: tuple[Tensor, Tensor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_window": None}

    # -- the mapping -------------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Tensor:
        found = self.fields[name]
        if not isinstance(found, Recipe):
            return found
        made = found.make(self)
        if self.device is not None:
            made = made.to(self.device)
        if self.keep:
            self.fields[name] = made
        return made

    def __setitem__(self, name: str, values: Tensor | Recipe) -> None:
        for other, found in self.fields.items():
            if isinstance(found, Joined) and found.key == name and other != name:
                self.fields[other] = found.make(self)  # by the ids that it was joined to
        self.fields[name] = values

    def __delitem__(self, name: str) -> None:
        del self.fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __contains__(self, name: object) -> bool:
        return name in self.fields

    # -- the samples -------------------------------------------------------------------------------------------------

    @property
    def rows(self) -> Tensor:
        """``[n]`` the targets' row numbers."""
        if self._rows is None:
            rows = self.store.targets()
            if self._by is not None:
                values = self.store.columns[self._by].numpy()[rows.numpy()]
                rows = rows[torch.from_numpy(np.argsort(values, kind="stable"))]
            self._rows = rows
        return self._rows

    @property
    def number(self) -> int:
        """N, known before the rows are."""
        if self._rows is not None:
            return len(self._rows)
        starts = self.store.offsets.numpy()
        return len(self.store) - int((starts[1:] > starts[:-1]).sum())

    def sort_whole(self, by: str) -> bool:
        """Order the samples by a column, ties in the store's order, if they are all targets and nothing else.

        The order is made when it is needed; a split by user never needs it (:meth:`groups`).
        """
        made = not all(isinstance(found, Recipe) for found in self.fields.values())
        recipe = self.fields[by]
        if self._rows is not None or self._by or made or not isinstance(recipe, Target):
            return False
        if self.store.columns[recipe.column].dim() != 1:
            return False
        self._by = recipe.column
        return True

    def groups(self, key: str) -> Groups:
        """The samples by the integer field ``key``."""
        recipe = self.fields[key]
        if self._rows is None and self._by and recipe == Target(self.store.user):
            return _groups_of_users(self.store, self._by)
        return groups(self[key].numpy())

    def chosen(self, part: Ints, *, of: Groups) -> Samples:
        """The samples that a split of ``of`` has chosen."""
        index = torch.from_numpy(part)
        return Samples(self.store, self.fields, index) if of.order is None else self.take(index.long())

    def window(self) -> tuple[Tensor, Tensor]:
        """Where the histories stand; see :meth:`Store.window`."""
        window = self._window or self.store.window(self.rows.long())
        if self.keep:
            self._window = window
        return window

    def take(self, index: Any, *, keep: bool | None = None, device: torch.device | None = None) -> Samples:
        """Some of the samples, in the order of ``index``: a slice, numbers or booleans.

        Args:
            index: which.
            keep: whether fields that are made are kept; as here, if it is not said.
            device: where their fields are made, if not where these are.
        """
        rows = self.rows[index].to(device)
        return self._with(rows, lambda values: values[index].to(device), self.keep if keep is None else keep)

    def repeat(self, times: int) -> Samples:
        """All of the samples ``times`` times, one after the other, to be written into."""
        return self._with(self.rows.repeat(times), lambda values: values.repeat(times, *[1] * (values.dim() - 1)), True)

    def copy(self) -> Samples:
        """The same samples with values of their own, to be written into."""
        return self._with(self.rows.clone(), lambda values: values.clone(), True)

    def to(self, device: torch.device) -> Samples:
        """The same samples with fields on ``device``; those that are not made yet are made first where the rows are."""
        moved = self._with(self.rows, lambda values: values.to(device), self.keep)
        moved.device, moved._window = device, self._window
        return moved

    def _with(self, rows: Tensor, change: Callable[[Tensor], Tensor], keep: bool) -> Samples:
        fields = {name: found if isinstance(found, Recipe) else change(found) for name, found in self.fields.items()}
        result = Samples(self.store, fields, rows, keep=keep)
        result.device = self.device
        return result


def _groups_of_users(store: Store, by: str) -> Groups:
    """:func:`groups` by user of all targets, ordered by a column, without ordering them: a user's rows stand together.

    The users' first targets decide, those that tie in the store's order.
    """
    starts = store.offsets.numpy()
    counts = np.diff(starts) - 1
    users = np.flatnonzero(counts > 0)
    users = users[np.argsort(store.columns[by].numpy()[starts[users] + 1], kind="stable")]
    return Groups(starts[users] + 1, counts[users], None)
