"""What ``doctor`` says of the libraries that are installed."""

from __future__ import annotations

import sys

import pytest

from recbole_mind.plugin import doctor

GOOD = {"recbole": "1.2.1", "torch": "2.13.0", "numpy": "1.26.4", "pandas": "2.3.3", "setuptools": "80.10.2",
        "ray": "2.6.3", "scipy": "1.17.1", "faiss-cpu": "1.15.1"}  # fmt: skip


def examined(**versions):
    found = GOOD | {name.replace("_", "-"): version for name, version in versions.items()}
    return doctor.examine(found.get, imports=False)


def test_what_is_known_to_work_has_no_remark():
    report = examined(torch="2.13.0+cpu")  # a build's name does not count
    assert report.problems == report.help == []
    assert [row for row in report.versions if row[3]] == []
    assert [row[0] for row in report.versions] == ["Python", *GOOD]


@pytest.mark.parametrize(
    ("versions", "remark", "stops"),
    [
        ({"pandas": "3.0.1"}, "too new; pandas 3 fails on item features", True),
        ({"pandas": None}, "missing; pandas 3 fails on item features", True),
        ({"numpy": "2.1.0"}, "too new; ray 2.6.3 is built for numpy 1", False),
        ({"ray": None}, "missing; RecBole's own quick start imports it; ours does not", False),
        ({"scipy": "1.10.0"}, "not tested", False),
    ],
)
def test_another_version_is_remarked_on_and_only_what_we_cannot_do_without_stops(versions, remark, stops):
    report, (name, version) = examined(**versions), *versions.items()
    assert (name, version or "-", GOOD[name], remark) in report.versions
    assert bool(report.problems) == stops
    helps = [] if remark == "not tested" else [f"pip install '{name}=={GOOD[name]}'"]
    assert report.help == helps


def test_an_import_that_fails_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "recbole.data", None)
    report = doctor.examine(GOOD.get)
    assert "RecBole cannot be imported: ModuleNotFoundError" in report.problems[0]
    assert report.help == ["pip install -c constraints.txt recbole-mind"]
