"""Folders that are whole or not there at all, and the arrays and tokens in them."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving.bundle import sealed_folder
from recbole_mind.serving.bundle.sealed_folder import verify
from tests import ROOT

# -- whole or not at all ---------------------------------------------------------------------------------------------


def filler(text):
    def fill(folder):
        (folder / "inner").mkdir()
        for name in ("one", "inner/two"):
            (folder / name).write_text(text)
        return {"text": text}

    return fill


def left(folder):
    return sorted(path.name for path in folder.parent.iterdir())


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_bundle_is_replaced_whole(exchanges, tmp_path, monkeypatch):
    if not exchanges:
        monkeypatch.setattr(sealed_folder, "_exchange", lambda one, other: False)
    folder = tmp_path / "bundle"
    ids = [sealed_folder.write(folder, filler(text))["id"] for text in ("old", "new")]
    assert ids[0] != ids[1]
    assert verify(folder)["text"] == "new"
    assert left(folder) == ["bundle"]


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
def test_a_failing_step_leaves_the_old_bundle(call, exchanges, tmp_path, monkeypatch):
    if call == "mkdir" and sys.version_info < (3, 11):
        pytest.skip("pathlib of Python 3.10 looks os.mkdir up when it is imported")
    folder, real = tmp_path / "bundle", getattr(os, call)
    if not exchanges:
        monkeypatch.setattr(sealed_folder, "_exchange", lambda one, other: False)
    outcomes = []
    for step in range(1, 9):
        sealed_folder.write(folder, filler("old"))
        calls = []

        def full(*arguments, calls=calls, step=step, **keywords):
            calls.append(arguments)
            if len(calls) == step:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments, **keywords)

        monkeypatch.setattr(os, call, full)
        reason = ""
        try:
            sealed_folder.write(folder, filler("new"))
        except InputError as error:
            reason = str(error)
        finally:
            monkeypatch.setattr(os, call, real)
        assert left(folder) == ["bundle"]
        assert not reason or "No space left on device" in reason
        outcomes.append((verify(folder)["text"], bool(reason)))
    failed = [text for text, failed in outcomes if failed]
    assert all(text == "new" for text, failed in outcomes if not failed)
    # the last fsync is for the folder around a bundle that is in place
    assert (
        failed == {"fsync": ["old"] * 5 + ["new"], "mkdir": ["old"] * 3, "rename": ["old"] * 2 * (not exchanges)}[call]
    )


KILLED = """
import os, signal, sys
from pathlib import Path
from recbole_mind.serving.bundle import sealed_folder

step, folder, calls = int(sys.argv[1]), Path(sys.argv[2]), 0

def hooked(real):
    def call(*arguments):
        global calls
        calls += 1
        if calls == step:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments)
        calls += 1
        if calls == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

def fill(target):
    (target / "inner").mkdir()
    for name in ("one", "inner/two"):
        (target / name).write_text("new")
    return {"text": "new"}

sealed_folder.sync, sealed_folder._exchange = hooked(sealed_folder.sync), hooked(sealed_folder._exchange)
sealed_folder.sha256 = hooked(sealed_folder.sha256)
sealed_folder.write(folder, fill)
"""


def test_a_killed_export_leaves_the_old_bundle_or_the_new_one(tmp_path):
    folder, seen, step = tmp_path / "bundle", [], 0
    while True:
        step += 1
        sealed_folder.write(folder, filler("old"))  # clears what the last one left
        assert left(folder) == ["bundle"]
        command = [sys.executable, "-c", KILLED, str(step), folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        seen.append(verify(folder)["text"])
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert sorted(set(seen)) == ["new", "old"]
    assert seen == sorted(seen, reverse=True)  # old up to a step, new from then on
    assert len(seen) > 12


def test_a_process_killed_between_two_renames_is_mended(tmp_path):
    folder = tmp_path / "bundle"
    sealed_folder.write(folder, filler("old"))
    (tmp_path / ".bundle.export").mkdir()
    folder.rename(tmp_path / ".bundle.export/old")

    def fails(target):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match="No space left"):
        sealed_folder.write(folder, fails)
    assert verify(folder)["text"] == "old"


@pytest.mark.parametrize("kind", ["file", "folder", "link", "other manifest"])
def test_what_is_no_bundle_is_left_alone(kind, tmp_path):
    target = tmp_path / "target"
    if kind == "file":
        target.write_text("mine")
    elif kind == "link":
        (tmp_path / "mine").mkdir()
        target.symlink_to(tmp_path / "mine")
    else:
        target.mkdir()
        (target / ("mine" if kind == "folder" else "manifest.json")).write_text("[]")
    with pytest.raises(InputError, match=r"^[^\n]*target[^\n]*$"):
        sealed_folder.write(target, filler("new"))
    assert left(target) == (["mine", "target"] if kind == "link" else ["target"])


def test_two_exports_to_one_folder_do_not_meet(tmp_path):
    folder = tmp_path / "bundle"

    def fill(target):
        with pytest.raises(InputError, match="another run is writing"):
            sealed_folder.write(folder, filler("second"))
        return filler("first")(target)

    sealed_folder.write(folder, fill)
    assert verify(folder)["text"] == "first"


def test_a_bundle_inside_another_is_refused(tmp_path):
    sealed_folder.write(tmp_path / "bundle", filler("old"))
    with pytest.raises(InputError, match="is inside the bundle"):
        sealed_folder.write(tmp_path / "bundle" / "below" / "new", filler("new"))
    assert sealed_folder.verify(tmp_path / "bundle")
    assert not (tmp_path / "bundle" / "below").exists()
