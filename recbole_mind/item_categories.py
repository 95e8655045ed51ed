"""The categories of items, read from the .item file beside what the model reads: its data stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from recbole_mind.errors import InputError, nearest, require
from recbole_mind.exact import Floats, Ints
from recbole_mind.inter_file import columns

# found in a file in this order, whatever the case; then a field that ends like one, such as item_category
NAMES = ("class", "genre", "genres", "category", "categories", "cate", "tags")
_KINDS = ("token", "token_seq")
_ENDS = tuple(f"_{name}" for name in NAMES)


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
        field: a token or token_seq field of the .item file; by default the first of :data:`NAMES` that there is.

    Raises:
        InputError: there is no such field, or no such file.
    """
    config, key = dataset.config, dataset.iid_field
    path = Path(dataset.dataset_path) / f"{dataset.dataset_name}.item"
    require(field is None or path.is_file(), f"category: '{field}' cannot be read: there is no file '{path}'")
    if not path.is_file():
        return None
    separator, encoding = config["field_separator"], config["encoding"]
    try:
        head = columns(path, separator, encoding)
        kinds = {column.field: column.kind for column in head}
        name = _chosen([field for field, kind in kinds.items() if kind in _KINDS and field != key], field, path)
        if name is None:
            return None
        require(key in kinds, f"category: '{path}' has no column '{key}'")
        frame = pd.read_csv(
            path,
            sep=separator,
            header=0,
            names=list(kinds),
            usecols=[key, name],
            dtype=str,
            keep_default_na=False,
            encoding=encoding,
            engine="python" if len(separator) > 1 else "c",
        ).fillna("")
    except InputError:
        raise
    except (ValueError, TypeError, OSError) as error:
        raise InputError(f"category: '{path}' cannot be read: {error}") from None
    number = dataset.field2token_id[key]
    lists: list[list[str]] = [[] for _ in range(dataset.item_num)]
    several = kinds[name] == "token_seq"
    for token, cell in zip(frame[key], frame[name], strict=True):
        if token in number:
            lists[number[token]] = [
                part for part in (cell.split(config["seq_separator"]) if several else [cell]) if part
            ]
    require(any(lists), f"category: '{name}' of '{path}' is empty for every item")
    return Categories.of(name, lists)


def _chosen(usable: Sequence[str], asked: str | None, path: Path) -> str | None:
    if asked is not None:
        text = f"category: '{asked}' is no token or token_seq field of '{path}'{nearest(asked, usable)}"
        require(asked in usable, f"{text}; allowed: {', '.join(usable) or 'none'}")
        return asked
    by_fold = {name.casefold(): name for name in reversed(usable)}
    alike = [name for name in usable if name.casefold().endswith(_ENDS)]
    return next(iter([*(by_fold[name] for name in NAMES if name in by_fold), *alike]), None)
