"""The categories of items, read from the .item file beside what the model reads: its data stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recbole_mind.analysis.items import read_items
from recbole_mind.errors import require
from recbole_mind.retrieval.types import Floats, Ints


class Categories(NamedTuple):
    """Categories of N items: their ``field``, the ``names`` of V categories, and ``values`` [N, M], 0 for none.

    Row i is RecBole's item i, padding first; value v is ``names[v - 1]``. Names are in alphabetical order.
    """

    field: str
    names: tuple[str, ...]
    values: npt.NDArray[np.int32]

    @classmethod
    def of(cls, field: str, lists: Sequence[Sequence[str]]) -> Categories:
        """From the categories of each item, padding first, in words; the same one twice counts once."""
        names = sorted({name for parts in lists for name in parts})
        value = {name: place for place, name in enumerate(names, 1)}
        values = np.zeros((len(lists), max(1, *(len(set(parts)) for parts in lists))), np.int32)
        for row, parts in zip(values, lists, strict=True):
            own = sorted({value[name] for name in parts})
            row[: len(own)] = own
        return cls(field, tuple(names), values)

    def rarest(self) -> Ints:
        """The one category of each item that the fewest items have, ``[N]``: what it tells of the item; 0 for none.

        A tie goes to the first in alphabetical order.
        """
        count = np.bincount(self.values.ravel(), minlength=len(self.names) + 1)
        count[0] = count.sum() + 1  # last among all
        place = count[self.values].argmin(1)
        result: Ints = self.values[np.arange(len(self.values)), place].astype(np.int64)
        return result

    def coverage(self, lists: Ints) -> tuple[Floats, Floats]:
        """How many categories each of ``lists`` [B, n] of items holds, ``[B]``, and their entropy in nats, ``[B]``.

        For the entropy an item shares itself out among its categories; items without one and places without an item
        (-1) do not count. A list without any category has 0 and 0.
        """
        B, V = len(lists), len(self.names) + 1
        found = self.values[np.where(lists < 0, 0, lists)]  # [B, n, M]
        number = (found > 0).sum(2, keepdims=True)
        share: Any = np.broadcast_to(1 / np.maximum(number, 1), found.shape)[found > 0]
        rows = np.broadcast_to(np.arange(B)[:, None, None], found.shape)[found > 0]
        cells, place = np.unique(rows * V + found[found > 0], return_inverse=True)
        mass: Any = np.bincount(place, share, len(cells))
        row = cells // V
        whole = np.bincount(row, mass, B)
        mass = mass / whole[row]
        distinct: Floats = np.bincount(row, minlength=B).astype(np.float32)
        entropy: Floats = np.bincount(row, -mass * np.log(mass), B).astype(np.float32)
        return distinct, entropy


def read(dataset: Any, field: str | None = None) -> Categories | None:
    """The categories of the items of ``dataset``; ``None`` where no field is named and none is found.

    Args:
        dataset: RecBole's, which says where the file is and numbers the items.
        field: a token or token_seq field of the .item file; found by its name by default.

    Raises:
        InputError: there is no such field, or the file cannot be read.
    """
    items = read_items(dataset, category=field)
    if items.category_field is None:
        return None
    require(any(items.categories), f"category: '{items.category_field}' is empty for every item")
    return Categories.of(items.category_field, items.categories)
