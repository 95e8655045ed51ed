"""What is recorded of how long tests take, and what comes of it: marks and order."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.support.durations import LEAST, QUICK, SLOW, UNKNOWN, Durations, Recorder
from tests.support.schedule import makespan


def item(nodeid, *fixtures):
    return SimpleNamespace(nodeid=nodeid, fixturenames=fixtures)


@pytest.fixture
def durations(tmp_path):
    found = Durations(tmp_path / "durations.json")
    half = SLOW / 2 + 0.1
    found.update(
        [
            ("tests/test_house.py::test_a[1]", "tests", half),
            ("tests/test_house.py::test_a[2]", "tests", half),
            ("tests/test_house.py::test_b", "tests", 0.2),
            ("tests/test_house.py::board", "fixtures", SLOW),
            ("tests/test_durations.py::test_c", "tests", 100.0),
            ("tests/gone.py::test_d", "tests", 50.0),
        ]
    )
    found.save()
    return Durations(found.path)


def test_cases_are_summed_and_what_is_short_is_not_kept(durations):
    assert durations.tests["tests/test_house.py::test_a"] == pytest.approx(SLOW + 0.2)
    assert "tests/test_house.py::test_b" not in durations.tests
    assert durations.fixtures == {"tests/test_house.py::board": SLOW}
    assert durations.files["tests/test_house.py"] == pytest.approx(2 * SLOW + 0.4)


def test_a_test_is_slow_with_its_cases_or_by_a_fixture_of_its_file(durations):
    assert durations.slow(item("tests/test_house.py::test_a[2]"))
    assert durations.slow(item("tests/test_house.py::test_b", "tmp_path", "board"))
    assert not durations.slow(item("tests/test_house.py::test_b", "tmp_path"))
    assert not durations.slow(item("tests/util/test_lazy.py::test_b", "board"))  # of another file


def test_the_longest_are_slow_until_the_rest_is_quick(tmp_path):
    found = Durations(tmp_path / "none.json")
    assert found.limit == SLOW
    many = [(f"tests/test_house.py::test_{n}", "tests", 1 + n / 100) for n in range(int(QUICK))]
    found.update([*many, ("tests/integration/test_docs.py::test_all", "tests", 1000.0)])
    del found.limit
    slow = [name for name, _, seconds in many if found.slow(item(name))]
    left = sum(seconds for name, _, seconds in many if name not in slow)
    assert QUICK - SLOW < left <= QUICK
    assert slow == [name for name, *_ in many[-len(slow) :]]
    assert LEAST < found.limit < SLOW


def test_long_files_come_first_and_keep_their_order(durations):
    names = ["a/test_new.py::x", "tests/test_house.py::y", "tests/test_durations.py::z", "tests/test_house.py::b"]
    items = [item(name) for name in names]
    durations.longest_first(items)
    assert 2 * SLOW + 0.4 < UNKNOWN < 100
    assert [each.nodeid for each in items] == [names[2], names[0], names[1], names[3]]


def test_a_file_that_is_run_again_replaces_what_was_known_and_one_that_is_gone_is_forgotten(durations):
    durations.update([("tests/test_house.py::test_b", "tests", 5.0)])
    assert set(durations.files) == {"tests/test_house.py", "tests/test_durations.py"}
    assert durations.tests == {"tests/test_durations.py::test_c": 100.0, "tests/test_house.py::test_b": 5.0}
    assert durations.fixtures == {}


def test_what_other_work_makes_of_the_clock_is_left_out(monkeypatch, tmp_path):
    """Three tests on a machine that gives half of its time: two compute, one waits."""
    path = tmp_path / "durations.json"
    monkeypatch.setattr("tests.support.durations.Durations", lambda: Durations(path))
    recorder = Recorder()
    recorder.measured = [
        ("tests/test_house.py::test_a", "tests", [8.0, 4.0]),
        ("tests/test_house.py::test_b", "tests", [20.0, 10.0]),
        ("tests/test_house.py::test_c", "tests", [6.0, 0.0]),
    ]
    recorder.pytest_sessionfinish(SimpleNamespace(config=SimpleNamespace()))
    assert list(Durations(path).tests.values()) == [4.0, 10.0, 3.0]


def test_the_schedule_by_hand():
    assert makespan([1, 1, 1, 1, 8], 2) == 10  # a long file at the end
    assert makespan([8, 1, 1, 1, 1], 2) == 8
    assert makespan([5], 4) == 5
