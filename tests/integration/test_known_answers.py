"""Experiments whose answer is known: statistics, mismatches and the watch keep what they promise.

``python -m benchmarks.experiment`` makes the same with 1,000 experiments, and its record is held here, too.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from benchmarks import experiment
from recbole_mind.analysis.ab_test.simulator import World
from tests import ROOT
from tests.support.documents import prose


@pytest.fixture(scope="module")
def people():
    return experiment.world(10_000)


@pytest.mark.slow
def test_without_a_difference_one_of_twenty_is_significant_by_user_and_more_by_view(people):
    found = experiment.alike(people, 300, users=500)
    low, high = found["allowed"]
    assert low <= found["significant"]["pvctr"] <= high
    assert low <= found["significant"]["uvctr"] <= high
    assert found["significant"]["by view"] > 2 * high
    assert all(0.9 <= share <= 0.985 for share in found["interval_holds"].values())


@pytest.mark.slow
def test_users_who_are_alike_need_no_such_care():
    """The test by view is wrong for the users' sake alone: without differences between them it is right."""
    random = np.random.default_rng(0)
    alike = World.planted(4000, random, unlike=0, interests=20, clusters=20)
    alike = World(np.full((4000, 20), 0.05), alike.clusters, alike.appetite, alike.activity, alike.examined, 1.0)
    runs = 300
    found = sum(
        experiment.by_view(experiment.once(alike, dict.fromkeys(experiment.CHANNELS, 0.5), seed, users=200)) < 0.05
        for seed in range(runs)
    )
    low, high = stats.binom.ppf([0.0005, 0.9995], runs, 0.05)
    assert low <= found <= high


@pytest.mark.slow
def test_a_planted_lift_is_found_as_often_as_is_promised(people):
    lift = experiment.promised(people, 10, experiment.alike(people, 10)["detectable"])
    found = experiment.lifted(people, 200, lift)
    low, high = found["allowed"]
    assert low <= found["found"] <= high
    assert 0.9 <= found["interval_holds"] <= 0.985


def test_lost_users_are_reported_and_whole_channels_are_not(people):
    assert experiment.lossy(people, 20, 0.1, users=4000)["reported"] == 1
    assert experiment.lossy(people, 40, 0.0, users=1000)["reported"] == 0


@pytest.mark.slow
def test_a_fall_is_seen_and_none_is_not():
    few = experiment.world(1000)
    assert experiment.falls(few, 20, 0.0)["seen"] <= 0.1
    assert experiment.falls(few, 10, 0.4)["seen"] == 1
    begun = [experiment.watched(experiment.served(few, seed, fall=0.5, fell=15.0))[0] for seed in range(4)]
    assert begun == ["fell before"] * 4


def test_the_record_keeps_the_promises():
    record = json.loads((ROOT / "benchmarks/records/experiment.json").read_text())
    aa, ab = record["alike"], record["lifted"]
    assert aa["runs"] == ab["runs"] == 1000
    assert all(aa["allowed"][0] <= aa["significant"][rate] <= aa["allowed"][1] for rate in ("pvctr", "uvctr"))
    assert aa["significant"]["by view"] > 2 * aa["allowed"][1]
    assert ab["allowed"][0] <= ab["found"] <= ab["allowed"][1]
    assert ab["lift"] == pytest.approx(ab["detectable"], rel=0.01)  # what these experiments themselves promise
    assert ab["lift"] > aa["detectable"]
    by_loss = {one["lost"]: one["reported"] for one in record["lost"]}
    assert by_loss[0.1] == 1
    assert by_loss[0.0] <= 0.02
    page = " ".join(prose("docs/production.md").split())
    significant, holds = aa["significant"], aa["interval_holds"]
    for said in (
        f"Of 1,000 experiments without a difference {significant['pvctr']:.1%} are significant by pvctr and "
        f"{significant['uvctr']:.1%} by uvctr (a test that takes every view for itself says "
        f"{significant['by view']:.1%})",
        f"the intervals hold the truth in {holds['pvctr']:.1%} and {holds['uvctr']:.1%}",
        f"is found in {ab['found']:.1%}, its interval holds it in {ab['interval_holds']:.1%}",
        f"one detectable that is {1 - aa['detectable'] / ab['lift']:.0%} smaller",
        f"reported in {by_loss[0.1]:.0%} of experiments; a mismatch where none are lost, in {by_loss[0.0]:.0%}",
    ):
        assert said in page
    by_fall = {one["fall"]: one["seen"] for one in record["falls"]}
    hours = {one["fall"]: one["hours"] for one in record["falls"]}
    assert by_fall[0.0] == 0
    assert f"fell by 20% {by_fall[0.2]:.0%} were, by 30% or half all" in page
    assert by_fall[0.5] == 1
    assert f"within {hours[0.2]:.0f}, {hours[0.3]:.0f} and {hours[0.5]:.0f} hours" in page
    assert by_fall[0.3] == 1
