"""The defaults and the pages ship inside the wheel, and an editable install finds them too."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import yaml

from recbole_mind.serving.http.page import PAGE
from tests import ROOT


def defaults_of(path, cwd):
    """Where the package comes from and what it reads as MIND's default p, in a fresh process."""
    code = (
        "import recbole_mind; from recbole_mind.config.loading import defaults\n"
        "print(recbole_mind.__file__); print(defaults('model', 'MIND')['p'], defaults('dataset', 'ml-100k') != {})"
    )
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def page_of(path, cwd):
    """The service's page as a package elsewhere makes it."""
    code = "from recbole_mind.serving.http.page import PAGE; print(PAGE.decode(), end='')"
    environment = os.environ | {"PYTHONPATH": str(path)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=True).stdout


def test_a_wheel_holds_the_package_and_its_defaults(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in (
        "setup.cfg",
        "setup.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "constraints.txt",
        "recbole_mind",
        "properties",
    ):
        (source / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path]
    subprocess.run([*command, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("recbole_mind-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    found = (*ROOT.glob("properties/*/*.yaml"), *ROOT.glob("properties/*/*.json"))
    shipped = {f"recbole_mind/properties/{path.relative_to(ROOT / 'properties')}" for path in found}
    pages = {
        path.relative_to(ROOT) for kind in ("templates", "static") for path in ROOT.glob(f"recbole_mind/**/{kind}/*")
    }
    assert len(pages) > 15
    assert shipped | {path.as_posix() for path in pages} <= names
    assert "recbole_mind/py.typed" in names
    where, what = defaults_of(tmp_path / "site", tmp_path)
    assert where.startswith(str(tmp_path / "site"))
    assert what.endswith("True")
    assert page_of(tmp_path / "site", tmp_path).encode() == PAGE


def test_this_install_finds_the_defaults(tmp_path):
    where, what = defaults_of(None, tmp_path)
    expected = yaml.safe_load((ROOT / "properties/model/MIND.yaml").read_text())["p"]
    assert what.split()[0] == str(expected)
    assert Path(where).name == "__init__.py"
