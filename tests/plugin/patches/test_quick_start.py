"""RecBole's quick start, without each patch and with it."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
from recbole.trainer import Trainer

from recbole_mind.plugin.patches.quick_start import QUICK_START_CHECKPOINTS
from recbole_mind.training import build


def test_quick_start_checkpoints(made):
    from recbole import quick_start

    config = made("MIND")
    _, train, _, _ = build.build_data(config)
    trainer = Trainer(config, build.build_model(config, train))
    trainer.fit(train, saved=True)
    with QUICK_START_CHECKPOINTS.off():
        for module in (quick_start, sys.modules["recbole.quick_start.quick_start"]):
            with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
                module.load_data_and_model(trainer.saved_model_file)
    for module in (quick_start, sys.modules["recbole.quick_start.quick_start"]):
        loaded = module.load_data_and_model(trainer.saved_model_file)
        assert loaded[0]["model"] == type(loaded[1]).__name__ == "MIND"


def test_quick_start_data():
    code = (
        "import recbole.quick_start.quick_start as quick_start, recbole_mind\n"
        "from recbole_mind.plugin.patches.quick_start import QUICK_START_DATA as patch\n"
        "print(quick_start.create_dataset.__module__)\n"
        "patch.undo()\n"
        "print(quick_start.create_dataset.__module__)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["recbole_mind.data.create", "recbole.data.utils"]
