"""The tests stand as the package does: a file for each module, in a folder for each room."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests import ROOT
from tests.support.durations import Durations, file_of

PACKAGE = ROOT / "recbole_mind"
# modules without a test file of their own name: where they are tested, and why there
ELSEWHERE: dict[str, tuple[str, str]] = {}


def test_file(module):
    folder, _, name = module.rpartition("/")
    return f"tests/{folder}/test_{name}.py".replace("//", "/")


def modules():
    paths = (path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py"))
    return sorted(path for path in paths if not path.endswith("__init__"))


@pytest.mark.parametrize("module", modules())
def test_every_module_has_a_test_file_of_its_name(module):
    if module not in ELSEWHERE:
        assert (ROOT / test_file(module)).is_file(), (
            f"write {test_file(module)}, or say in ELSEWHERE where it is tested"
        )


@pytest.mark.parametrize("module", ELSEWHERE)
def test_what_is_tested_elsewhere_is_there_and_has_no_file(module):
    place, reason = ELSEWHERE[module]
    assert module in modules(), f"there is no module {module}: leave it out of ELSEWHERE"
    assert not (ROOT / test_file(module)).exists(), f"{test_file(module)} is there: leave {module} out of ELSEWHERE"
    assert (ROOT / place).exists(), place
    assert reason


def test_recorded_durations_are_of_tests_that_exist():
    durations = Durations()
    assert [name for name in durations.files if not (ROOT / name).is_file()] == []
    assert {file_of(name) for name in (*durations.tests, *durations.fixtures)} <= set(durations.files)


@pytest.mark.parametrize("target", ["test", "quick", "durations", "fuzz"])
def test_the_files_that_make_names_exist(target):
    said = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "pytest" in said
    assert all((ROOT / path).is_file() for path in re.findall(r"\btests/\S+\.py", said))
