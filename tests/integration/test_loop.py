"""The whole loop: two channels that are served are judged as they are worth, and their clicks make a better model."""

from __future__ import annotations

import json

import pytest

from benchmarks import loop
from tests import ROOT


@pytest.mark.slow
def test_the_loop_finds_what_is_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = loop.loop(tmp_path, 200, 3)
    holds(found, 200)


def test_the_record_of_the_loop_holds_together():
    record = json.loads((ROOT / "benchmarks/records/loop.json").read_text())
    assert record["command"].startswith("python -m benchmarks.loop --output benchmarks/records/loop.json")
    holds(record, 600)


def holds(found, users):
    for channel, rates in found["experiment"].items():
        assert rates["users"] == users / 2
        assert [rates["impressions"], rates["clicks"]] == found["seen"][channel]  # nothing lost, nothing twice
        assert rates["impressions"] == users / 2 * loop.REQUESTS * 10
        assert rates["pvctr"]["low"] <= found["worth"][channel] <= rates["pvctr"]["high"]
    interval = found["difference"]["difference"]
    assert interval["low"] <= found["known difference"] <= interval["high"]
    assert (found["difference"]["p"] < 0.05) == (interval["low"] > 0 or interval["high"] < 0)
    assert found["worth"][found["better"]] == max(found["worth"].values())
    assert found["worth again"] > found["worth"][found["better"]]
    assert found["worth of any items"] < found["worth again"] < found["worth of items drawn by interest"] * 1.5
