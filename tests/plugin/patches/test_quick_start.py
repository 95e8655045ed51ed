"""RecBole's quick start, without each patch and with it."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import pytest
from recbole.trainer import Trainer

from recbole_mind.plugin.patches.quick_start import (
    QUICK_START_CHECKPOINTS,
    QUICK_START_REPORT,
)
from recbole_mind.training import build
from tests.support.data import small_settings


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


# -- Ray Tune ------------------------------------------------------------------------------------------------------


def test_quick_start_report(monkeypatch):
    from ray import tune
    from recbole.quick_start import quick_start

    if not QUICK_START_REPORT.needed():
        pytest.skip("this Ray takes keywords")
    told = []
    monkeypatch.setattr(tune, "report", lambda metrics, *, checkpoint=None: told.append(metrics))
    with QUICK_START_REPORT.off(), pytest.raises(TypeError, match="recall"):
        quick_start.tune.report(**{"recall": 0.5})
    quick_start.tune.report(**{"recall": 0.5, "recall@10": 0.25})
    assert told == [{"recall": 0.5, "recall@10": 0.25}]
    assert quick_start.tune.uniform is tune.uniform


TUNED = """
import json, ray, recbole_mind, sys
from ray import tune
from recbole.quick_start import objective_function
from recbole_mind.plugin.patches.quick_start import QUICK_START_WORKERS

program, settings, folder, how = sys.argv
sys.argv = [program]
if how == "bare":
    QUICK_START_WORKERS.undo()
    from recbole.quick_start import objective_function
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
found = tune.run(
    tune.with_parameters(objective_function, saved=False),
    config=json.loads(settings) | {"learning_rate": tune.grid_search([0.01, 0.02])},
    storage_path=folder, verbose=0, raise_on_failed_trial=False,
)
best = found.get_best_trial("recall@10", "max", "last")
print([trial.status for trial in found.trials], best and best.metric_analysis["recall@10"]["last"] > 0)
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(("how", "status"), [("patched", "TERMINATED"), ("bare", "ERROR")])
def test_quick_start_workers(small, tmp_path, how, status):
    """RecBole's tuning by Ray Tune, as its documentation has it: ``tune.run`` with its ``objective_function``."""
    (tmp_path / "tuned.py").write_text(TUNED)
    said = small_settings(small, train_neg_sample_args=None, epochs=1, model="MIND", dataset="small")
    program = [sys.executable, "-W", "ignore", str(tmp_path / "tuned.py"), json.dumps(said), str(tmp_path), how]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{[status] * 2} {True if how == 'patched' else None}"
