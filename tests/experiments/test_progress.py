"""The time left of many runs, by hand, with a clock that is set."""

from __future__ import annotations

import pytest

from recbole_mind.experiments import progress as runs_progress
from recbole_mind.experiments.progress import RunsProgress
from recbole_mind.util.format import duration


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(runs_progress.time, "monotonic", lambda: now[0])
    return now


def test_nothing_is_said_before_anything_is_known(clock):
    with RunsProgress("board", ["a", "b"]) as progress:
        progress.started("a1", "a")
        assert progress.left() is None


def test_time_left_is_that_of_like_runs(clock, capsys):
    with RunsProgress("board", ["a", "b", "b", "c"], [("a", 10.0), ("a", 20.0)]) as progress:
        progress.started("a3", "a")
        clock[0] += 5
        # the rest of a's 15 seconds, and 15, the mean of all, for each of the three that nothing is known of
        assert progress.left() == pytest.approx(10 + 3 * 15)
        clock[0] += 10
        assert progress.left() == pytest.approx(45)
        progress.ended("a3", "fine")
        progress.started("b1", "b")
        clock[0] += 30
        progress.ended("b1", "fine")
        # b is known now: 30 and, for c, the mean of 10, 20, 15 and 30
        assert progress.left() == pytest.approx(30 + 75 / 4)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["[3/6] a3: fine, 15 s; about 45 s left", "[4/6] b1: fine, 30 s; about 49 s left"]


def test_two_at_a_time_take_half_as_long_but_not_less_than_one(clock):
    with RunsProgress("board", ["a"] * 4, [("a", 10.0)], jobs=2) as progress:
        assert progress.left() == pytest.approx(20)
        for name in ("a1", "a2"):
            progress.started(name, "a")
        clock[0] += 4
        assert progress.left() == pytest.approx((20 + 6 + 6) / 2)
        for name in ("a1", "a2"):
            progress.ended(name, "fine")
            progress.started(f"{name}+", "a")
        progress.ended("a1+", "fine")
        assert progress.left() == pytest.approx(4.5)  # the mean of 10, 4, 4 and 0: one run is not shared by two


def test_seconds_of_a_record_count_in_place_of_the_time_since_the_start(clock, capsys):
    with RunsProgress("board", ["a", "a"], [("a", 10.0)]) as progress:
        progress.started("a1", "a")
        clock[0] += 60  # of which 20 in a queue
        progress.ended("a1", "fine", seconds=40.0)
        assert progress.left() == pytest.approx(25)
    assert "[2/3] a1: fine, 40 s; about 25 s left" in capsys.readouterr().err


def test_a_failed_run_teaches_no_time(clock, capsys):
    with RunsProgress("board", ["a", "a"], [("a", 10.0)]) as progress:
        progress.started("a1", "a")
        clock[0] += 1
        progress.ended("a1", "failed: no", failed=True)
        assert progress.left() == pytest.approx(10)
        assert progress.failed == 1
    assert "[2/3] a1: failed: no, 1 s; about 10 s left" in capsys.readouterr().err


def test_silence(clock, capsys):
    with RunsProgress("board", ["a"], enabled=False) as progress:
        progress.started("a1", "a")
        progress.ended("a1", "fine")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5940, "99 min"), (7500, "2 h 05 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
