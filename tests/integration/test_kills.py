"""Kills at moments that nobody chose: what comes in the end is what comes of a run that was not killed.

``RECBOLE_MIND_KILLS`` says how often each command is killed; the usual run tries one.
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from recbole_mind.serving.bundle.sealed_folder import verify
from recbole_mind.serving.store.store import Store
from tests import ROOT
from tests.support.bundles import exported, trained
from tests.support.data import SHORT_RUN, small_settings

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("RECBOLE_MIND_KILLS", "1"))
CODE = "import sys; from recbole_mind.cli import main; sys.exit(getattr(main, sys.argv[1])(sys.argv[2:]))"


def start(folder, entry, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", CODE, entry, *map(str, arguments)]
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(folder, entry, *arguments):
    run = start(folder, entry, *arguments)
    output = run.communicate()[0].decode()
    assert run.returncode == 0, output


def killed(folder, entry, again, seed):
    """Run the command ``again()`` to its end; beside it kill it KILLS times, at random moments, then let it end."""
    moments = random.Random(seed)
    began = time.monotonic()
    finish(folder / "whole", entry, *again(folder / "whole"))
    seconds = time.monotonic() - began
    for _ in range(KILLS):
        run = start(folder / "killed", entry, *again(folder / "killed"))
        try:
            run.communicate(timeout=moments.uniform(0.3, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.communicate()
    finish(folder / "killed", entry, *again(folder / "killed"))


def test_training(small, tmp_path):
    given = small_settings(small, epochs=12, checkpoint_minutes=0, checkpoint_dir="saved")
    settings = [f"--{key}={value}" for key, value in given.items()]

    def again(folder):
        written = sorted((folder / "saved").glob("*.pth"), key=lambda path: path.stat().st_mtime_ns)
        last = [path for path in written if path.name.endswith(".last.pth")]
        going = [f"--resume={(last or written)[-1]}"] if written else []  # killed before anything was written: anew
        return ["--model=MIND", "--dataset=small", "--record=r.json", *settings, *going]

    killed(tmp_path, "run_recbole", again, seed=1)
    whole, resumed = (json.loads((tmp_path / name / "r.json").read_text()) for name in ("whole", "killed"))
    for key in ("valid", "test", "epochs", "curve", "data", "interests", "report"):
        assert resumed[key] == whole[key], key
    assert len(list((tmp_path / "killed/saved").glob("*.last.pth*"))) == 0


def table(path):
    """A table of figures, without the seconds."""
    with open(path, newline="") as file:
        return [{key: value for key, value in row.items() if "seconds" not in key} for row in csv.DictReader(file)]


def test_leaderboard(small, tmp_path):
    common = {key: value for key, value in SHORT_RUN.items() if key not in ("topk", "valid_metric")} | {"epochs": 3}
    spec = {"models": ["MIND", "YouTubeDNN"], "datasets": ["small"], "data_path": str(small), "seeds": [1, 2]}
    spec["settings"] = {"all": common | {"topk": [5], "valid_metric": "NDCG@5"}}
    (tmp_path / "board.yaml").write_text(yaml.safe_dump(spec))
    killed(tmp_path, "main", lambda _: ["leaderboard", tmp_path / "board.yaml", "--output=board"], seed=2)
    assert table(tmp_path / "killed/board/leaderboard.csv") == table(tmp_path / "whole/board/leaderboard.csv")


def test_sweep(small, tmp_path):
    spec = {"model": "YouTubeDNN", "dataset": "small", "max_evals": 3, "final_seeds": [], "seed": 1}
    spec["space"] = {"learning_rate": {"loguniform": [0.001, 0.1]}}
    given = small_settings(small, epochs=3)
    spec["settings"] = {key: value for key, value in given.items() if key not in ("show_progress", "learning_rate")}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(spec))

    def again(folder):
        begun = ["--resume"] if (folder / "out").is_dir() and any((folder / "out").glob("*.json")) else []
        return ["sweep", tmp_path / "space.yaml", "--output=out", *begun]

    killed(tmp_path, "main", again, seed=3)
    assert table(tmp_path / "killed/out/trials.csv") == table(tmp_path / "whole/out/trials.csv")
    assert (tmp_path / "killed/out/best.yaml").read_text() == (tmp_path / "whole/out/best.yaml").read_text()


@pytest.fixture(scope="module")
def checkpoint(small, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("trained"), small, "MIND", K=2)


@pytest.fixture(scope="module")
def bundle(checkpoint, tmp_path_factory):
    return exported(checkpoint, tmp_path_factory.mktemp("bundle") / "b")


def test_export(checkpoint, tmp_path):
    killed(tmp_path, "main", lambda _: ["export", checkpoint, "-o", "b"], seed=4)
    files = [
        {name: entry for name, entry in verify(tmp_path / side / "b")["files"].items()} for side in ("whole", "killed")
    ]
    assert files[0] == files[1]
    assert [path.name for path in (tmp_path / "killed").iterdir() if path.name.endswith(".tmp")] == []


def test_publish(bundle, tmp_path):
    killed(tmp_path, "main", lambda _: ["publish", bundle, "store"], seed=5)
    wanted = verify(bundle)["id"]
    for side in ("whole", "killed"):
        assert verify(Store(tmp_path / side / "store").current())["id"] == wanted


def test_offline_recall(bundle, tmp_path):
    histories = [[f"i{1 + (user * place) % 50}" for place in range(1, 9)] for user in range(400)]
    table = pa.table({"user": [f"u{n}" for n in range(400)], "history": pa.array(histories, pa.list_(pa.string()))})
    pq.write_table(table, tmp_path / "h.parquet")
    given = ["recall", bundle, f"--histories={tmp_path / 'h.parquet'}", "-o", "out.parquet", "--n=30", "--batch=4"]
    killed(tmp_path, "main", lambda _: given, seed=6)
    assert (tmp_path / "killed/out.parquet").read_bytes() == (tmp_path / "whole/out.parquet").read_bytes()
