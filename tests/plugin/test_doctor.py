"""What ``doctor`` says of the libraries that are installed."""

from __future__ import annotations

import sys

import pytest

from recbole_mind.cli import main
from recbole_mind.plugin import doctor
from recbole_mind.util.extras import EXTRAS, RECBOLE, extra_of

GOOD = {"recbole": "1.2.1"} | doctor.tested_versions()


OLD = {"numpy": "1.26.4", "setuptools": "80.10.2"}  # which no Ray breaks


def examined(**versions):
    found = GOOD | {name.replace("_", "-"): version for name, version in versions.items()}
    return doctor.examine(found.get, imports=False)


def test_what_is_tested_has_no_remark():
    report = examined(torch="2.13.0+cpu")  # a build's name does not count
    assert report.problems == report.help == []
    assert [row for row in report.versions if row[3]] == []
    assert [row[0] for row in report.versions[:3]] == ["Python", "recbole", "torch"]
    assert all(tested for _, _, tested, _ in report.versions)


@pytest.mark.parametrize(
    ("versions", "remark", "stops"),
    [
        ({"pandas": None}, "missing", True),
        ({"recbole": "1.3.0"}, "the patches are made for 1.2.1", True),
        ({"numpy": "2.1.0", "ray": "2.6.3"}, "ray 2.6.3 is built for numpy 1", False),
        ({"setuptools": "82.0", "ray": "2.6.3"}, "ray 2.6.3 imports pkg_resources", False),
        ({"numpy": "2.1.0", "ray": "2.60.0"}, "not tested", False),
        ({"scipy": "1.10.0"}, "not tested", False),
        ({"ray": None}, "not installed; of recbole-mind[sweep]", False),
        ({"pymilvus": None}, "not installed; of recbole-mind[milvus]", False),
    ],
)
def test_another_version_is_remarked_on_and_only_what_we_cannot_do_without_stops(versions, remark, stops):
    report, (name, version) = examined(**OLD | versions), next(iter(versions.items()))
    assert (name, version or "-", GOOD[name], remark) in report.versions
    assert bool(report.problems) == stops
    silent = remark.startswith("not ")
    command = RECBOLE if name == "recbole" else f"pip install '{name}=={GOOD[name]}'"
    assert report.help == ([] if silent else [command])
    assert {row[3] for row in report.versions if row[0] not in versions} <= {"", "not tested"}


def test_an_old_ray_alone_needs_setuptools():
    assert "setuptools" not in [row[0] for row in examined(setuptools=None, ray="2.60.0").versions]
    assert examined(setuptools=None, ray="2.6.3").problems == ["setuptools is missing"]


def test_a_missing_recbole_is_told_with_the_command_that_helps():
    report = examined(recbole=None)
    assert report.problems == [f"RecBole is not installed: {RECBOLE}"]
    assert report.help == [RECBOLE]


def test_each_extra_is_shown():
    assert {extra_of(name) for name in doctor._OPTIONAL} == set(EXTRAS)


def test_an_import_that_fails_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "recbole.data", None)
    report = doctor.examine(GOOD.get)
    assert "RecBole cannot be imported: ModuleNotFoundError" in report.problems[0]
    assert report.help == ["pip install -c constraints.txt recbole-mind"]


def test_the_command_names_the_extra_as_it_is_written(monkeypatch, capsys):
    known = doctor._installed
    monkeypatch.setattr(doctor, "_installed", lambda name: None if name == "ray" else known(name))
    monkeypatch.setattr(doctor.examine, "__defaults__", (doctor._installed,))
    assert main.main(["doctor"]) == 0
    assert "recbole-mind[sweep]" in capsys.readouterr().out
