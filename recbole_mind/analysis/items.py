"""What items are called and which categories they have, read beside the model's own data; and names for interests.

The model loads few columns of a data set's ``.item`` file. These are read from the file itself, so that its data, and
with it every number, stays as it is.

Shape legend: N items (RecBole's ids, 0 being padding), K interests, L behaviours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt
from pathlib import Path
from typing import Any

import numpy.typing as npt

from recbole_mind.data import atomic_file
from recbole_mind.data.atomic_file import Format
from recbole_mind.errors import InputError, nearest, require

TITLES = ("title", "movie_title", "item_title", "name", "item_name", "product_name")
CATEGORIES = ("class", "genre", "genres", "category", "categories", "cate", "tags")
_TITLE_ENDS = ("_title", "_name")
_CATEGORY_ENDS = ("_class", "_genre", "_genres", "_category", "_categories", "_cate", "_tags")
_NOTHING = frozenset({"unknown", "none", "other", "n/a", "(no genres listed)"})
SUPPORT = 0.1  # of an interest's weight that a category needs to name it
NAMED_BY = 2  # categories in an interest's name, at most


@dataclass(frozen=True)
class Items:
    """The catalogue in words.

    Attributes:
        tokens: ``[N]`` raw tokens.
        titles: ``[N]``; the token of an item without one.
        categories: ``[N]``, each item's, in the file's order; empty where there is none.
        title_field, category_field: where they are from; ``None`` where the data has no such field.
    """

    tokens: Sequence[str]
    titles: Sequence[str]
    categories: Sequence[tuple[str, ...]]
    title_field: str | None
    category_field: str | None

    def base_rates(self, counts: npt.NDArray[Any]) -> dict[str, float]:
        """The share of all interactions, ``counts`` [N], whose item has a category; every category has some."""
        total = float(counts.sum()) + 1.0
        found: dict[str, float] = {}
        for number, categories in zip(counts.tolist(), self.categories, strict=True):
            for category in set(categories):
                found[category] = found.get(category, 0.0) + number
        return {category: max(number, 1.0) / total for category, number in found.items()}


def read_items(dataset: Any, title: str | None = None, category: str | None = None) -> Items:
    """The words for the items of ``dataset``, RecBole's.

    Args:
        dataset: as it was built.
        title: the field of titles; found by its name (:data:`TITLES`, or one that ends like them) where none is given.
        category: the field of categories, likewise (:data:`CATEGORIES`).

    Raises:
        InputError: there is no such field, or the file cannot be read.
    """
    tokens = [str(token) for token in dataset.field2id_token[dataset.iid_field]]
    path = Path(dataset.dataset_path) / f"{dataset.dataset_name}.item"
    for key, field in (("title", title), ("category", category)):
        require(field is None or path.is_file(), f"{key}: '{field}' cannot be read: there is no file '{path}'")
    form = Format.of(dataset.config)
    columns = {column.field: column for column in atomic_file.columns(path, form)} if path.is_file() else {}
    fields = {field: column.kind for field, column in columns.items()}
    usable = [name for name, kind in fields.items() if kind in ("token", "token_seq") and name != dataset.iid_field]
    title = _chosen("title", title, usable, TITLES, _TITLE_ENDS, path)
    category = _chosen("category", category, usable, CATEGORIES, _CATEGORY_ENDS, path)
    titles, categories = list(tokens), [()] * len(tokens)
    wanted = [name for name in dict.fromkeys((title, category)) if name]
    if not wanted:
        return Items(tokens, titles, categories, None, None)
    require(dataset.iid_field in fields, f"'{path}' has no column '{dataset.iid_field}'")
    numbers = {token: number for number, token in enumerate(tokens) if number}
    found: list[tuple[str, ...]] = [()] * len(tokens)
    separators = form.sequence if category and fields[category] == "token_seq" else None
    for _, cells in atomic_file.rows(path, form):
        number = numbers.pop(cells[columns[dataset.iid_field].place], None)  # of an item's rows the first counts
        if number is None:
            continue
        if title:
            titles[number] = " ".join(cells[columns[title].place].split()) or tokens[number]
        if category:
            text = cells[columns[category].place]
            values = text.split(separators) if separators else [text]
            found[number] = tuple(dict.fromkeys(value.strip() for value in values if value.strip()))
    return Items(tokens, titles, found, title, category)


def _chosen(
    key: str, asked: str | None, usable: Sequence[str], known: Sequence[str], ends: tuple[str, ...], path: Path
) -> str | None:
    if asked is not None:
        if asked not in usable:
            allowed = ", ".join(usable) or "none"
            raise InputError(
                f"{key}: '{asked}' is not a token or token_seq field of '{path}'{nearest(asked, usable)}; "
                f"allowed: {allowed}"
            )
        return asked
    by_fold = {name.casefold(): name for name in reversed(usable)}
    exact = [by_fold[name] for name in known if name in by_fold]
    alike = [name for name in usable if name.casefold().endswith(ends)]
    return next(iter([*exact, *alike]), None)


def name_interests(
    weights: npt.NDArray[Any], categories: Sequence[Sequence[str]], base: Mapping[str, float]
) -> list[str]:
    """Name each interest by the one or two categories that it draws from more than everybody does.

    With s the share of interest k's weight on behaviours that have category c, c counts s·log(s/b); a second category
    is named where it counts at least half as much. b is c's base rate: the share of all interactions whose item has it
    and, of several interests, the share of the user's own weights, as their geometric mean. So a category that
    everybody has, or all interests of the user, names one only where little else does; so does one with less than
    :data:`SUPPORT` of the interest's weight.

    Args:
        weights: ``[K, L]``, what each interest is made of.
        categories: of each of the L behaviours.
        base: of each category, its share of all interactions.

    Returns:
        a name for each; ``""`` where no behaviour has a category.
    """
    shares = [_shares(own.tolist(), categories) for own in weights]
    own_rates = _shares(weights.sum(0).tolist(), categories)
    names = []
    for found in shares:
        counted = {}
        for value, share in found.items():
            rate = base.get(value, 1.0)
            rate = sqrt(rate * own_rates[value]) if len(shares) > 1 else rate
            counted[value] = share * log(share / rate)
        order = sorted(counted, key=lambda value: (-counted[value], value))
        order = [value for value in order if counted[value] > 0 and found[value] >= SUPPORT]
        if not order:
            order = sorted(found, key=lambda value: (-found[value], value))[:1]
        names.append(", ".join(value for value in order[:NAMED_BY] if counted[value] >= counted[order[0]] / 2))
    return names


def _shares(weights: Sequence[float], categories: Sequence[Sequence[str]]) -> dict[str, float]:
    """The share of ``weights`` [L] on behaviours of each category that says something."""
    total = max(sum(weights), 1e-12)
    shares: dict[str, float] = {}
    for weight, values in zip(weights, categories, strict=True):
        for value in values:
            if weight > 0 and value.casefold() not in _NOTHING:
                shares[value] = shares.get(value, 0.0) + weight / total
    return shares


def short_list(values: Sequence[str], most: int = 5) -> str:
    """Some values in words: the first few, and how many more there are."""
    shown = ", ".join(values[:most])
    return f"{shown} and {len(values) - most} more" if len(values) > most else shown
