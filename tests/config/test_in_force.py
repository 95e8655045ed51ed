"""The settings in force build the same configuration again."""

import json

import pytest

from recbole_mind.config import in_force
from recbole_mind.training import build
from tests.support.data import LEAVE_ONE_OUT, small_settings


@pytest.mark.parametrize("model", ["MIND", "GRU4Rec", "BPR"])
def test_what_is_in_force_builds_the_same_again(small, model):
    given = small_settings(small)
    if model != "MIND":
        own = {"embedding_size", "relu_layers"} | ({"MAX_ITEM_LIST_LENGTH"} if model == "BPR" else set())
        given = {key: value for key, value in given.items() if key not in own} | {"eval_args": LEAVE_ONE_OUT}
    found = in_force.settings_of(build.build_config(model, "small", overrides=given))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["data_path"] == str(small)  # the folder that holds the data set's, as it is given
    assert not {"device", "world_size", "eval_type", "gpu_id"} & set(found)
    again = build.build_config(None, None, overrides={}, stored=found)
    assert in_force.settings_of(again) == found


def test_the_data_set_that_ships_is_named_by_no_place_of_this_machine():
    found = in_force.settings_of(build.build_config("MIND", "ml-100k"))
    assert found["data_path"] == "dataset/"
    assert found["train_neg_sample_args"] is None
