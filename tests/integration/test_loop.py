"""The whole loop: two channels that are served are judged as they are worth, and their clicks make a better model."""

from __future__ import annotations

import json

import pytest

from benchmarks import loop
from tests import ROOT
from tests.support.documents import prose


@pytest.mark.slow
def test_the_loop_finds_what_is_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = loop.loop(tmp_path, 200, 3)
    holds(found, 200)


def test_the_record_of_the_loop_holds_together():
    record = json.loads((ROOT / "benchmarks/records/loop.json").read_text())
    assert record["command"].startswith("python -m benchmarks.loop --output benchmarks/records/loop.json")
    holds(record, 600)
    page, one = " ".join(prose("docs/production.md").split()), record["difference"]["difference"]
    assert f"{100 * one['value']:+.2f}% of what is shown ({100 * one['low']:+.2f} to {100 * one['high']:+.2f})" in page
    assert (
        f"they find {record['difference']['detectable']:.2%}. What is true is {record['known difference']:+.2%}."
        in page
    )
    clicks = sum(clicked for _, clicked in record["seen"].values())
    worth = f"{record['worth again']:.2%} in place of {record['worth'][record['better']]:.2%}"
    assert f"Trained again on the {clicks:,} clicks it is worth {worth}." in page


def holds(found, users):
    for channel, rates in found["experiment"].items():
        assert rates["users"] == users / 2
        assert [rates["impressions"], rates["clicks"]] == found["seen"][channel]  # nothing lost, nothing twice
        assert rates["impressions"] == users / 2 * loop.REQUESTS * 10
        assert within(found["worth"][channel], rates["pvctr"])
    assert within(found["known difference"], found["difference"]["difference"])
    if found["difference"]["p"] < 0.05:
        assert found["worth"][found["better"]] == max(found["worth"].values())
    assert found["worth again"] > found["worth"][found["better"]]
    assert found["worth of any items"] < found["worth again"] < found["worth of items drawn by interest"] * 1.5


def within(value, estimate):
    """Whether a value is in an interval twice as wide as that of 95%, which other versions' training leaves, too."""
    return abs(value - estimate["value"]) <= estimate["high"] - estimate["low"]
