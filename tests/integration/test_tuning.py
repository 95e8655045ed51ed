"""The leaderboard's settings: drawn alike for every model, chosen on validation, other protocols' kept."""

import json
import sys

import pytest
import yaml

from benchmarks import tuning
from tests.support.data import SHORT_RUN

PLAN = {
    "trials": 3,
    "epochs": 3,
    "protocol": "last-fifth",
    "seed": 1,
    "threads": 1,
    "settings": {key: SHORT_RUN[key] for key in ("embedding_size", "train_batch_size")},
    "datasets": {"small": {"epochs": 1}},
    "models": {"one": {"model": "YouTubeDNN", "dropout": 0.3}, "two": {"model": "MIND"}},
    "spaces": {
        "one": {
            "scores": [{"similarity": "cosine", "temperature": 0.1}, {"similarity": "dot", "temperature": 1.0}],
            "horizon": [1, 3],
        },
        "two": {"K": [1, 2, 4]},
    },
}


def test_the_first_trial_is_the_defaults_and_joint_values_stay_together():
    usual = {"similarity": "cosine", "temperature": 0.1, "horizon": 1}
    drawn = tuning.draws(PLAN, "one", usual)
    assert drawn == tuning.draws(PLAN, "one", usual)
    assert drawn[0] == {}
    assert len(drawn) == 3
    assert all(point["temperature"] == {"cosine": 0.1, "dot": 1.0}[point["similarity"]] for point in drawn[1:])
    assert usual not in drawn


def test_a_plan_is_run_and_the_best_of_each_model_kept(small, tmp_path, monkeypatch, capsys):
    (tmp_path / "benchmarks/records").mkdir(parents=True)
    (tmp_path / "properties/leaderboard").mkdir(parents=True)
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    monkeypatch.setattr(tuning, "HERE", tmp_path / "benchmarks")
    arguments = ["tuning", "--dataset=small", f"--data_path={small}", f"--output={tmp_path / 'out'}"]
    monkeypatch.setattr(sys, "argv", [*arguments, f"--plan={tmp_path / 'plan.yaml'}"])
    tuning.main()
    record = json.loads((tmp_path / "benchmarks/records/plan-small.json").read_text())
    chosen = yaml.safe_load((tmp_path / "properties/leaderboard/small.yaml").read_text())["last-fifth"]
    assert record["budget"]["epochs"] == 1
    for label, model in record["models"].items():
        assert len(model["trials"]) == 3
        best = max(model["trials"], key=lambda trial: trial["valid"]["recall@50"])
        assert model["chosen"] == best["settings"]
        fixed = {key: value for key, value in PLAN["models"][label].items() if key != "model"}
        assert chosen[label] == fixed | best["settings"]
    monkeypatch.setattr(sys, "argv", [*arguments, f"--plan={tmp_path / 'plan.yaml'}", "--models", "three"])
    with pytest.raises(SystemExit) as stopped:
        tuning.main()
    assert stopped.value.code == 2
    assert "--models: three" in capsys.readouterr().err
