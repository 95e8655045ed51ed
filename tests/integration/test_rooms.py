"""The rule of the rooms, which ``make lint`` checks: it holds, and a line that breaks it is found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

LINT = Path(sys.executable).with_name("lint-imports")
pytestmark = pytest.mark.skipif(not LINT.exists(), reason="import-linter is not installed")


def broken(folder):
    """The contracts that the package in ``folder`` breaks, by the rule of this project."""
    command = [LINT, "--no-logo", "--no-cache", ROOT / ".importlinter"]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert "Contracts: " in done.stdout, done.stdout + done.stderr
    assert done.returncode == (" BROKEN" in done.stdout)
    return [line.partition(" BROKEN")[0] for line in done.stdout.splitlines() if " BROKEN" in line]


@pytest.fixture
def package(tmp_path):
    """A copy of the package that may be broken."""
    shutil.copytree(ROOT / "recbole_mind", tmp_path / "recbole_mind", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_rule_holds(package):
    assert broken(package) == []


LINES = {
    "layers imports nothing else": ("layers/routing.py", "def f():\n    from recbole_mind.data import times"),
    "layers know neither RecBole nor pandas": ("layers/losses.py", "import recbole.utils"),
    "models imports config": ("models/base.py", "if TYPE_CHECKING:\n    from recbole_mind.training import run"),
    "data imports config": ("data/times.py", "from recbole_mind.layers import routing"),
    "training imports data": ("training/run.py", "def f():\n    import recbole_mind.plugin.doctor"),
    "serving knows neither torch": ("util/format.py", "def f():\n    import torch"),
    "retrieval knows neither RecBole nor pandas": ("retrieval/exact.py", "def f():\n    import torch"),
    "no circle": ("util/files.py", "def f():\n    from recbole_mind.util import arrays"),
}


def test_a_line_that_breaks_it_is_found(package):
    for module, line in LINES.values():
        path = package / "recbole_mind" / module
        path.write_text(path.read_text("utf-8") + f"\n\n{line}\n", "utf-8")
    found = broken(package)
    assert [rule for rule in LINES if not any(name.startswith(rule) for name in found)] == []
    assert not any(name.startswith("plugin ") for name in found)
