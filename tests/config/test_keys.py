"""Which models and settings exist."""

from __future__ import annotations

import pytest

from recbole_mind import InputError
from recbole_mind.config import keys
from recbole_mind.config import keys as setting_keys
from recbole_mind.training import build
from tests.support.data import small_settings


def test_models_are_known_as_recbole_spells_them():
    known = keys.known_models()
    assert {"LightGBM", "XGBoost", "Random", "KD_DAGFM", "xDeepFM", "FOSSIL", "MIND"} <= known
    assert not {"lightgbm", "random", "init", "GRU"} & known
    # their defaults stand in lightgbm.yaml and xgboost.yaml, which RecBole does not find by the class's name
    assert "lgb_params" in keys.known_keys("LightGBM")
    assert keys.model_defaults("XGBoost")["xgb_params"]
    with pytest.raises(InputError, match="'random' is unknown; did you mean 'Random'"):
        keys.check_model("random")


def test_the_nearest_model_is_named():
    with pytest.raises(InputError, match="'Mind' is unknown; did you mean 'MIND'"):
        setting_keys.check_model("Mind")
    with pytest.raises(InputError, match="did you mean 'SASRec'"):
        setting_keys.check_model("SASRek")
    with pytest.raises(InputError, match="needs lightgbm; pip install lightgbm"):
        setting_keys.check_model("lightgbm")
    for name in ("__init__", "*", "../mind"):
        with pytest.raises(InputError, match="is no model's name"):
            setting_keys.check_model(name)
    with pytest.raises(InputError, match="no model is named"):
        setting_keys.check_model(None)


def test_other_models_settings_are_checked_too(small):
    keys = ("data_path", "load_col", "eval_args", "topk", "show_progress")
    base = {key: value for key, value in small_settings(small).items() if key in keys}
    with pytest.raises(InputError, match="loss_type: 'hinge' is unknown; allowed for GRU4Rec: CE, BPR"):
        build.build_config("GRU4Rec", "small", overrides=base | {"loss_type": "hinge", "valid_metric": "MRR@5"})
    config = build.build_config("GRU4Rec", "small", overrides=base | {"metrics": ["GAUC"], "valid_metric": "GAUC"})
    assert config["valid_metric"] == "GAUC"
    for name, word in (("../small", "is not a name"), ("small/", "is not a name")):
        with pytest.raises(InputError, match=word):
            build.build_config("MIND", name, overrides=base)
