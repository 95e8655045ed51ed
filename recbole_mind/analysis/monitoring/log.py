"""A log of events as views in the order of time."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from recbole_mind.analysis.ab_test import events
from recbole_mind.analysis.monitoring.views import Views
from recbole_mind.data import event_log


def read(*paths: str | Path) -> Views:
    """Read a log of events, as :func:`recbole_mind.analysis.ab_test.events.read` does, with the column ``bundle``.

    Raises:
        InputError: it cannot be read, or lacks a column or a value.
    """
    table, _ = events.joined(*paths, more=[event_log.BUNDLE])
    table = table.filter(pc.invert(table["torn"])).sort_by("time").combine_chunks()
    channels, channel = events.codes(table["channel"])
    bundles, bundle = events.codes(table["bundle"])
    return Views(
        channels=channels,
        bundles=bundles,
        time=table["time"].cast(pa.int64()).to_numpy() / 1e6,
        channel=channel,
        bundle=bundle,
        user=events.codes(table["user"])[1],
        request=events.codes(table["request"])[1],
        clicked=table["clicked"].to_numpy(),
    )
