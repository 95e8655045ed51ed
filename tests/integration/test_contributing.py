"""What the files for whoever comes next name is there."""

from __future__ import annotations

import configparser
import re

import pytest
import yaml

from tests import ROOT

TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))


def test_the_map_answers_by_folder_names():
    rows = re.findall(r"^\| (.+\?) \| `(.+)` \|$", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE)
    assert len(rows) == 11
    assert [path for _, path in rows if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_what_make_has(path):
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    runs = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    called = {target for run in runs for target in re.findall(r"^make ([a-z]+)", run)}
    assert called <= TARGETS
    assert called or "test" not in path.stem


def test_each_supported_python_is_tested():
    meta = configparser.ConfigParser()
    meta.read(ROOT / "setup.cfg")
    supported = re.findall(r"Python :: (3\.\d+)", meta["metadata"]["classifiers"])
    tested = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["whole"]["strategy"]["matrix"]
    assert tested["python"] == supported


def test_hooks_run_the_linters_of_make():
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    for hook in repo["hooks"]:
        program = hook["entry"].split()[0].removeprefix(".venv/bin/")
        assert f"$(BIN)/{program}" in lint


def test_issue_forms_have_what_is_needed():
    for path in ROOT.glob(".github/ISSUE_TEMPLATE/[!c]*.yml"):
        form = yaml.safe_load(path.read_text())
        assert {"name", "description", "body"} <= set(form)
        assert all(part["attributes"]["label"] for part in form["body"])
