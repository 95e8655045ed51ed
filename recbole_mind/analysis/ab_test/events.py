"""Logs of impressions and clicks, in Parquet files, counted once each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbole_mind.analysis.ab_test.statistics import Ints
from recbole_mind.data import event_log
from recbole_mind.data.event_log import CLICK, IMPRESSION
from recbole_mind.errors import require


@dataclass(frozen=True)
class Impressions:
    """What was shown, each item of each request once, and whether it was clicked.

    Attributes:
        channels: their names, in alphabetical order.
        days: those of the impressions, in order (UTC).
        channel, user, day: of each impression, a place in ``channels``, a number by user, a place in ``days``.
        clicked: of each impression.
        left_out: what of the log does not count, by reason.
    """

    channels: list[str]
    days: list[date]
    channel: Ints
    user: Ints
    day: Ints
    clicked: Any  # [n] booleans
    left_out: dict[str, int]

    def by_user(self, channel: int, day: int | None = None) -> tuple[Ints, Ints]:
        """Impressions and clicks of each user who saw something in a channel, on one day or at all."""
        chosen = self.channel == channel
        if day is not None:
            chosen &= self.day == day
        users, place = np.unique(self.user[chosen], return_inverse=True)
        clicks = np.bincount(place, weights=self.clicked[chosen], minlength=len(users))
        return np.bincount(place, minlength=len(users)), clicks.astype(np.int64)


def read(*paths: str | Path, since: date | None = None, until: date | None = None) -> Impressions:
    """Read a log (:mod:`recbole_mind.data.event_log`): Parquet files, or folders of them.

    Events other than impressions and clicks are not read. An event that is there again counts once; a click counts with
    the impression of its request and item, on the day of that.

    Args:
        paths: of the log.
        since, until: the first and the last day of impressions that count (UTC).

    Raises:
        InputError: it cannot be read, lacks a column or a value, or holds no impression that counts.
    """
    together, left_out = joined(*paths)
    clicked = together["clicked"].to_numpy()
    days = together["time"].cast(pa.date32())
    counts = np.ones(len(together), bool)
    for day, outside in ((since, pc.less), (until, pc.greater)):
        if day is not None:
            counts &= ~outside(days, pa.scalar(day, pa.date32())).to_numpy()
    left_out["impressions on other days"] = int((~counts).sum())
    torn = together["torn"].to_numpy() & counts
    left_out["impressions of two users or channels"] = int(torn.sum())
    counts &= ~torn

    user = codes(together["user"])[1]
    names, channel = codes(together["channel"])
    moved = _in_several(user[counts], channel[counts])
    inside = counts & np.isin(user, moved)
    left_out["impressions of users who changed channel"] = int(inside.sum())
    counts &= ~inside
    require(bool(counts.any()), f"log '{paths[0]}': it holds no impression that counts")
    present, day = np.unique(days.to_numpy()[counts], return_inverse=True)
    return Impressions(
        channels=names,
        days=present.astype("datetime64[D]").tolist(),
        channel=channel[counts],
        user=user[counts],
        day=day,
        clicked=clicked[counts],
        left_out={reason: number for reason, number in left_out.items() if number},
    )


def joined(*paths: str | Path, more: Sequence[str] = ()) -> tuple[Any, dict[str, int]]:
    """Each item of each request that was shown, once, with whether it was clicked; and what does not count, by reason.

    Args:
        paths: of the log.
        more: columns that are wanted besides those of an experiment, as :func:`event_log.tables` knows them.

    Returns:
        a table: ``request``, ``item``, ``time`` (the first), ``channel``, ``user``, ``clicked``, ``torn`` (its rows do
        not agree in channel or user) and ``more``.

    Raises:
        InputError: it cannot be read, or lacks a column or a value.
    """
    log = pa.concat_tables(event_log.tables(event_log.files(*paths), more))
    other = pc.invert(pc.is_in(log["event"], pa.array([IMPRESSION, CLICK])))
    left_out = {"other events": int(pc.sum(other).as_py() or 0)}
    seen, repeated_seen = event_log.once(log.filter(pc.equal(log["event"], IMPRESSION)))
    clicks, repeated_clicks = event_log.once(log.filter(pc.equal(log["event"], CLICK)))
    left_out["repeated events"] = repeated_seen + repeated_clicks
    clicks = clicks.select(["request", "item"]).append_column("clicked", pa.array(np.ones(len(clicks), bool)))
    together = seen.join(clicks, ["request", "item"], join_type="left outer").combine_chunks()
    clicked = together["clicked"].fill_null(False)
    left_out["clicks without their impression"] = len(clicks) - int(clicked.to_numpy().sum())
    return together.set_column(together.schema.get_field_index("clicked"), "clicked", clicked), left_out


def codes(column: Any) -> tuple[list[str], Ints]:
    """The different values of a column in order, and which each row has."""
    encoded = column.combine_chunks().dictionary_encode()
    values = np.array(encoded.dictionary.to_pylist(), dtype=object)
    order = np.argsort(values)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return values[order].tolist(), rank[encoded.indices.to_numpy(zero_copy_only=False)]


def _in_several(user: Ints, channel: Ints) -> Ints:
    """The users who saw several channels."""
    pairs = np.unique(np.stack([user, channel], 1), axis=0)
    users, number = np.unique(pairs[:, 0], return_counts=True)
    several: Ints = users[number > 1]
    return several
