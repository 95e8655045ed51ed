"""RecBole's own tuning with hyperopt, as its run_hyper.py does it; that with Ray Tune is in test_quick_start.py."""

from __future__ import annotations

import pytest
import yaml
from recbole.quick_start import objective_function
from recbole.trainer import HyperTuning

from recbole_mind.plugin.patches.hyper_tuning import EXHAUSTIVE_SEARCH
from recbole_mind.training import build
from tests.support.data import small_settings


@pytest.mark.parametrize(("algo", "trials"), [("exhaustive", 4), ("random", 3), ("bayes", 3)])
def test_tuning_with_hyperopt(small, tmp_path, algo, trials):
    said = small_settings(small, epochs=1, train_neg_sample_args=None, model="MIND", dataset="small")
    (tmp_path / "fixed.yaml").write_text(yaml.safe_dump({key: said[key] for key in said if key != "learning_rate"}))
    (tmp_path / "hyper.test").write_text("learning_rate choice [0.001, 0.02]\nK choice [1, 2]\n")
    tuning = HyperTuning(
        objective_function, params_file=tmp_path / "hyper.test", fixed_config_file_list=[str(tmp_path / "fixed.yaml")],
        algo=algo, max_evals=3, display_file=str(tmp_path / "shown.html"),
    )  # fmt: skip
    with build.argv_hidden():
        tuning.run()
    assert len(tuning.score_list) == trials
    assert tuning.best_score == max(tuning.score_list) > 0
    assert tuning.params2result[tuning.params2str(tuning.best_params)]["best_valid_score"] == tuning.best_score
    if algo == "exhaustive":
        assert len(tuning.params2result) == 4
    tuning.export_result(str(tmp_path / "result.txt"))
    assert (tmp_path / "result.txt").read_text().count("Test result:\nrecall@5") == len(tuning.params2result)
    assert "MIND tuning process" in (tmp_path / "shown.html").read_text()


def test_exhaustive_search():
    def tuning():
        tried = []

        def objective(params, files):
            tried.append(params["K"])
            score = params["K"] / 4
            shown = {"recall@10": score}
            return {"model": "MIND", "best_valid_score": score, "valid_score_bigger": True, "best_valid_result": shown,
                    "test_result": shown}  # fmt: skip

        HyperTuning(objective, params_dict={"choice": {"K": [1, 2, 3]}}, early_stop=5).run()
        return sorted(tried)

    with EXHAUSTIVE_SEARCH.off(), pytest.raises(AttributeError, match="integers"):
        tuning()
    assert tuning() == [1, 2, 3]
