"""Seconds by phase, over a stop."""

from __future__ import annotations

import pytest

from recbole_mind.training.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [100.0]
    monkeypatch.setattr("recbole_mind.training.stopwatch.time.perf_counter", lambda: now[0])
    return now


def test_phases_add_up_and_the_running_one_counts(clock):
    watch = Stopwatch("training", "validation")
    for seconds in (2.0, 3.0):
        with watch.phase("training"):
            clock[0] += seconds
            assert watch.seconds()["training"] == (2.0 if seconds == 2.0 else 5.0)
        clock[0] += 7.0  # between two phases
    with watch.phase("validation"):
        clock[0] += 1.0
    assert watch.seconds() == {"training": 5.0, "validation": 1.0}
    assert watch.earlier == 0.0


def test_a_phase_that_fails_counts(clock):
    watch = Stopwatch("training")

    def fail():
        with watch.phase("training"):
            clock[0] += 4.0
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    clock[0] += 1.0
    assert watch.seconds() == {"training": 4.0}


def test_a_resumed_run_counts_what_was_before(clock):
    watch = Stopwatch("training", "validation")
    watch.resume({"training": 10.0, "validation": 2.0})
    with watch.phase("training"):
        clock[0] += 1.0
    assert watch.seconds() == {"training": 11.0, "validation": 2.0}
    assert watch.earlier == 12.0
