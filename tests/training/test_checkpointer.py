"""When the files of a run are written, and which."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from recbole_mind import InputError
from recbole_mind.training import build, checkpoint
from recbole_mind.training.checkpointer import Checkpointer, best_of
from tests.support.data import small_settings


@pytest.fixture
def made(small, tmp_path):
    """The checkpointer of a run with these settings, and a model."""

    def make(**more):
        config = build.build_config("YouTubeDNN", "small", overrides=small_settings(small, **more))
        _, train, _, _ = build.build_data(config)
        model = build.build_model(config, train)
        files = Checkpointer(config)
        files.move(str(tmp_path / "run.pth"))
        return files, model, torch.optim.Adam(model.parameters())

    return make


STATE = {"epoch": 0, "cur_step": 0, "best_valid_score": 0.5, "best_valid_result": {}}


def test_the_last_file_names_its_best_and_goes_with_the_run(made, tmp_path):
    files, model, optimizer = made()
    files.save(files.best, model, optimizer, STATE)
    assert files.kept() == f"the last good checkpoint is '{files.best}'; --resume={files.best} goes on"
    files.save_last(model, optimizer, STATE)
    assert checkpoint.load(files.best)["best"] is None
    content = checkpoint.load(files.last)
    assert content["best"] == "run.pth"
    assert torch.equal(content["state_dict"]["item_encoder.embedding.weight"], model.item_encoder.embedding.weight)
    assert best_of(files.last, content) == files.best
    assert files.kept().startswith(f"the last good checkpoint is '{files.last}'")
    files.finish()
    assert sorted(path.name for path in tmp_path.glob("*.pth*")) == ["run.pth", "run.pth.json"]
    Path(files.best).unlink()
    assert files.kept() == "no checkpoint was written yet"
    with pytest.raises(InputError, match=r"goes with '.*run.pth', which does not exist"):
        best_of(files.last, content)


def test_the_last_file_is_due_as_often_as_asked(made, monkeypatch):
    monkeypatch.setattr("recbole_mind.training.checkpointer.time.monotonic", lambda: 1000.0)
    files, model, optimizer = made(checkpoint_minutes=5)
    assert files.due == 1300.0
    monkeypatch.setattr("recbole_mind.training.checkpointer.time.monotonic", lambda: 1400.0)
    files.save_last(model, optimizer, STATE)
    assert files.due == 1700.0
    files.start(saves=False)
    assert not files.saves
    assert files.due == math.inf
    assert made(checkpoint_minutes=None)[0].due == math.inf
