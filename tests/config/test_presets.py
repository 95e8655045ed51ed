"""Presets: each model as its paper has it."""

from __future__ import annotations

import json
import re

import pytest

from recbole_mind import InputError
from recbole_mind.config import loading, presets
from recbole_mind.config.model_names import MODELS
from recbole_mind.training import build, run
from tests.support.data import small_settings


def test_the_papers_settings_are_settings_of_the_models():
    assert presets.known() == ["paper", "plain"]
    for name in presets.known():
        every = loading.defaults("preset", name)
        assert set(every) == set(MODELS)
        for model, own in every.items():
            assert set(own) <= set(loading.defaults("model", model))


@pytest.mark.parametrize("model", MODELS)
def test_a_preset_is_in_force_and_what_is_given_wins(small, model):
    base = {"data_path": str(small)}
    config = build.build_config(model, "small", overrides={**base, "preset": "paper", "temperature": 0.3})
    own = loading.defaults("preset", "paper")[model]
    for key, value in own.items():
        found = config[key]
        assert found == (0.3 if key == "temperature" else value)
    usual = build.build_config(model, "small", overrides=base)
    assert usual["preset"] is None
    assert usual["similarity"] == "cosine"


def test_a_run_with_the_paper_trains_and_its_record_makes_it_again(small, tmp_path):
    given = {key: value for key, value in small_settings(small).items() if key not in ("K", "loss_type", "dropout")}
    record = tmp_path / "record.json"
    result = run.run("MIND", "small", overrides=given | {"preset": "paper", "epochs": 2}, record=record)
    assert result.config["preset"] == "paper"
    assert (result.config["similarity"], result.config["routing_scale"]) == ("dot", None)
    again = run.run(config_files=[record])
    assert again.test == result.test
    assert json.loads(record.read_text())["config"]["preset"] == "paper"


def test_unknown_presets_are_refused(small):
    for name, words in (("papers", "preset: 'papers' is unknown; did you mean 'paper'"), (["paper"], "is unknown")):
        with pytest.raises(InputError, match=re.escape(words)):
            build.build_config("MIND", "small", overrides={"data_path": str(small), "preset": name})
    with pytest.raises(InputError, match="unknown key 'preset'"):
        build.build_config("GRU4Rec", "small", overrides={"data_path": str(small), "preset": "paper"})
