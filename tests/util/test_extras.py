"""Libraries of an extra: each is named where it is missing, and what training needs is not among them."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys

import pytest

from recbole_mind.errors import InputError
from recbole_mind.util import extras
from tests import ROOT

PROJECTS = {"prometheus_client": "prometheus-client", "milvus_lite": "milvus-lite", "starlette": "fastapi"}


def required():
    """The names of the projects that setup.cfg asks for: by extra, and ``""`` for all installs."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    given = {"": config["options"]["install_requires"], **config["options.extras_require"]}
    return {
        extra: {line.split("=")[0].split(">")[0].split("<")[0].split("[")[0].split(";")[0].strip()
                for line in text.splitlines() if line and not line.startswith("#")}
        for extra, text in given.items()
    }  # fmt: skip


def test_the_extras_are_those_of_the_installation():
    asked = required()
    assert set(extras.EXTRAS) == set(asked) - {"", "all", "dev"}
    for extra, modules in extras.EXTRAS.items():
        assert {PROJECTS.get(name, name) for name in modules} <= asked[extra], extra
        assert not set(modules) & asked[""], "what every install has is no extra's"


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("ray", "this needs the library 'ray', which is not installed: pip install 'recbole-mind[sweep]'"),
        ("pyarrow.parquet", "which is not installed: pip install 'recbole-mind[serve]'"),
        ("recbole.config", f"RecBole is not installed: {extras.RECBOLE}"),
        ("xgboost", "this needs the library 'xgboost', which is not installed"),
    ],
)
def test_a_missing_library_is_named_with_the_command_that_helps(module, line):
    assert extras.lacking(module, "this").endswith(line)


def test_what_is_not_there_is_refused(monkeypatch):
    extras.require_modules("this", "json")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"^a page needs the library 'matplotlib'.*recbole-mind\[report\]'$"):
        extras.require_modules("a page", "json", "matplotlib")


# a fresh process in which some libraries are not installed, that says of each command its status and its last line
WITHOUT = """
import contextlib, io, json, sys
sys.argv = ["recbole-mind"]
for name in {missing}:
    sys.modules[name] = None
for command in {commands}:
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(said):
        from recbole_mind.cli import main
        kind = main.run_recbole if command[0] == "run_recbole" else main.main
        status = kind(command[kind is main.run_recbole:])
    print(json.dumps([status, said.getvalue()]))
"""


def answers(missing, *commands):
    text = WITHOUT.format(missing=sorted(missing), commands=commands)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_without_the_extras_training_goes_on_and_the_rest_names_its_extra(small, tmp_path):
    missing = {module for modules in extras.EXTRAS.values() for module in modules}
    data = f"--data_path={small}"
    (tmp_path / "board.yaml").write_text(
        f"dataset: small\nmodels: [Pop]\nseeds: [1]\nsettings: {{data_path: {small}}}\n"
    )
    (tmp_path / "space.yaml").write_text("K: {choice: [1, 2]}\n")
    trained, *others = answers(
        missing,
        ["run_recbole", "--model=MIND", "--dataset=small", data, "--epochs=1", "--checkpoint_dir=saved"],
        ["export", "nothing.pth", "-o", "bundle"],
        ["explain", "nothing.pth", "-o", "pages"],
        ["leaderboard", "board.yaml", "-o", "board"],
        ["sweep", "space.yaml", "--model=MIND", "--dataset=small", data, "-o", "sweep"],
        ["serve", "bundle"],
        ["recall", "bundle", "--histories", "users.parquet", "-o", "lists.parquet"],
    )
    assert trained[0] == 0, trained[1]
    assert "recall@10" in trained[1]
    extra = ["serve", "report", "report", "report", "serve", "serve"]
    for (status, said), name in zip(others, extra, strict=True):
        assert status == 2
        assert said.startswith("error: ")
        assert said.endswith(f"which is not installed: pip install 'recbole-mind[{name}]'\n")
        assert said.count("\n") == 1


def test_without_recbole_our_commands_say_so_in_one_line():
    (status, said), doctor = answers({"recbole"}, ["run_recbole", "--model=MIND", "--dataset=ml-100k"], ["doctor"])
    assert (status, said) == (2, f"error: RecBole is not installed: {extras.RECBOLE}\n")
    assert doctor[0] == 1


def test_without_recbole_the_import_says_so_in_one_line_and_goes_on(tmp_path):
    code = "import sys; sys.modules['recbole'] = None; import recbole_mind; print(recbole_mind.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout
    assert done.stderr == f"recbole_mind:1: UserWarning: RecBole is not installed: {extras.RECBOLE}\n"
    (tmp_path / "script.py").write_text(code)
    script = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True)
    assert script.stderr == done.stderr
    missing = code.replace("['recbole']", "['torch'] = sys.modules['recbole']")  # an install that only serves
    assert subprocess.run([sys.executable, "-c", missing], capture_output=True, text=True).stderr == ""
