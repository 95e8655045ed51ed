"""The columns of a data set that is made of a log of events: what brings each its values, or why there is none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np

from recbole_mind.data import atomic_file
from recbole_mind.data.atomic_file import Format
from recbole_mind.data.event_log import CLICK, IMPRESSION, POSITION
from recbole_mind.errors import nearest, require

_KEYS = {"user": "USER_ID_FIELD", "item": "ITEM_ID_FIELD", "time": "TIME_FIELD"}


@dataclass(frozen=True)
class Fields:
    """The data set's names of the columns."""

    user: str = "user_id"
    item: str = "item_id"
    time: str = "timestamp"
    label: str = "label"


@dataclass(frozen=True)
class Wanted:
    """What is written of a log.

    Attributes:
        fields: the data set's names.
        form: how its files are written.
        impressions: whether those without a click are rows, too; ``label`` then tells them from clicks.
        more: of ``channel`` and ``position``, which are columns as well.
        fill: by column, what stands in the rows to which neither the events nor the data set bring a value.
        since, until: the first and the last day of events that count (UTC).
        anonymous: whether those of users whom nobody named count: each answer is a user of its own.
    """

    fields: Fields = Fields()
    form: Format = field(default_factory=Format)
    impressions: bool = False
    more: tuple[str, ...] = ()
    fill: Mapping[str, str] = field(default_factory=dict)
    since: date | None = None
    until: date | None = None
    anonymous: bool = False


@dataclass(frozen=True)
class Columns:
    """The columns of the file that is written.

    Attributes:
        heading: ``name:type`` of each.
        sources: for each what an event brings to it, or the text that stands in each of their rows.
        added: texts that stand at the end of the rows of the data set that was there.
        time, user, item: places of the data set's columns.
    """

    wanted: Wanted
    heading: list[str]
    sources: list[tuple[str, str]]
    added: list[str]
    time: int
    user: int
    item: int

    @property
    def positions(self) -> bool:
        return ("event", POSITION) in self.sources

    @property
    def kinds(self) -> list[str]:
        """The events that are needed; impressions say where a click's item stood if the click does not."""
        return [CLICK, IMPRESSION] if self.wanted.impressions or self.positions else [CLICK]

    @classmethod
    def of(cls, wanted: Wanted, base: Path | None) -> Columns:
        """The columns of ``base``, or the usual ones, and those that are asked for.

        Raises:
            InputError: one lacks its values, or has another type than they have.
        """
        fields = wanted.fields
        kinds = {fields.user: "token", fields.item: "token", fields.time: "float"}
        brings = {fields.user: "user", fields.item: "item", fields.time: "time", fields.label: "label"}
        brings |= {"channel": "channel", POSITION: POSITION}
        types = kinds | {fields.label: "float", "channel": "token", POSITION: "float"}
        held = None if base is None else {found.field: found.kind for found in atomic_file.columns(base, wanted.form)}
        asked = [*([fields.label] if wanted.impressions else ()), *wanted.more]
        every = dict(kinds if held is None else held) | {
            name: types[name] for name in asked if held is None or name not in held
        }
        for name in kinds:
            lacks = (
                f"'{base}' has no column '{name}:{kinds[name]}'{nearest(name, every)}; --{_KEYS[brings[name]]} names it"
            )
            require(name in every, lacks)
        for name in wanted.fill:
            require(name in every, f"fill: there is no column '{name}'{nearest(name, every)}")
        sources, added = [], []
        for name, kind in every.items():
            own = name in brings and (name in kinds or name in asked or name not in wanted.fill)
            if own:
                require(kind == types[name], f"'{base}': column '{name}' is of type {kind}, and that of events is "
                        f"{types[name]}")  # fmt: skip
                sources.append(("event", brings[name]))
            else:
                lacks = f"'{base}' has a column '{name}:{kind}', which events have not; --fill {name}=VALUE fills it"
                require(name in wanted.fill, lacks)
                sources.append(("text", _value(wanted, name, kind)))
            if held is not None and name not in held:
                lacks = f"'{base}' has no column '{name}:{kind}'; --fill {name}=VALUE says what its rows have there"
                require(name in wanted.fill, lacks)
                added.append(_value(wanted, name, kind))
        places = {name: place for place, name in enumerate(every)}
        heading = [f"{name}:{kind}" for name, kind in every.items()]
        return cls(wanted, heading, sources, added, *(places[name] for name in (fields.time, fields.user, fields.item)))


def _value(wanted: Wanted, name: str, kind: str) -> str:
    """What fills a column."""
    text, form = wanted.fill[name], wanted.form
    whole = re.search(unsafe(form), text) is None
    require(whole, f"fill: {name}={text!r} holds what separates columns or rows")
    if kind.startswith("float"):
        for number in [text] if kind == "float" else text.split(form.sequence):
            try:
                good = np.isfinite(float(number))
            except ValueError:
                good = False
            require(bool(good), f"fill: {name}={text!r} is not allowed; column '{name}' holds numbers")
    return text


def unsafe(form: Format) -> str:
    """What cannot stand in a cell, as a regular expression."""
    return f"{re.escape(form.separator)}|[\n\r\x00]"
