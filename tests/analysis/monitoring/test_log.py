"""A log of events as views."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from recbole_mind.analysis.monitoring import log
from recbole_mind.errors import InputError
from tests.analysis.ab_test.test_events import row, written


def test_views_stand_in_order_once_each_with_their_bundle(tmp_path):
    rows = [
        row("r2", "i1", day=3, bundle="y", channel="b"),
        row("r1", "i1", day=1, bundle="x"),
        row("r1", "i1", day=2, bundle="x"),  # again, later
        row("r1", "i2", day=1, bundle="x", user="u"),
        row("r2", "i1", "click", day=3, bundle="y", channel="b"),
        row("r3", "i1", day=2, bundle="y", user="v"),
        row("r3", "i1", day=2, bundle="y", user="w"),  # two users say the same
        row("r4", "i9", day=2, bundle="y", user="u"),  # a user of two channels counts here
    ]
    found = log.read(written(tmp_path / "log.parquet", rows))
    assert (np.diff(found.time) >= 0).all()
    assert found.channels == ["a", "b"]
    assert found.bundles == ["x", "y"]
    assert found.bundle.tolist() == [0, 0, 1, 1]
    assert found.channel.tolist() == [0, 0, 0, 1]
    assert found.clicked.tolist() == [False, False, False, True]
    assert len(set(found.request)) == 3
    assert found.time[0] == 1772366400.0  # 2026-03-01T12:00Z
    assert found.of("a").figures()["shown"].value == 1.5


def test_a_log_without_bundles_is_refused(tmp_path):
    path = written(tmp_path / "log.parquet", [row("r1", "i1")])
    with pytest.raises(InputError, match="it has no column 'bundle'"):
        log.read(path)
    empty = pq.read_table(written(path, [row("r1", "i1", bundle="")]))
    assert empty.num_rows == 1
    with pytest.raises(InputError, match="column 'bundle' lacks a value in 1 rows"):
        log.read(path)
