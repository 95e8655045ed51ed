"""Values that RecBole passes over in silence are refused."""

from __future__ import annotations

import pytest

from recbole_mind import InputError
from recbole_mind.training import build, run
from tests.support.data import small_settings


def config_of(small, model, more, **parts):
    given = small_settings(small) | more
    return build.build_config(model, "small", overrides=given, **parts)


@pytest.mark.parametrize("model", ["MIND", "GRU4Rec"])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"learner": "adamm"}, ["learner: 'adamm' is unknown; did you mean 'adam'", "adagrad"]),
        ({"learner": "sparse_adam"}, ["learner: 'sparse_adam' is unknown"]),
        ({"user_inter_num_interval": "13,inf"}, ["user_inter_num_interval: '13,inf'", "[5,inf)"]),
        ({"item_inter_num_interval": "[5;inf)"}, ["item_inter_num_interval: '[5;inf)'"]),
        ({"item_inter_num_interval": "[9,5]"}, ["item_inter_num_interval: '[9, 5]'"]),
        ({"user_inter_num_interval": 5}, ["user_inter_num_interval: '5'"]),
        ({"user_inter_num_interval": ""}, ["user_inter_num_interval: ''"]),
        ({"user_inter_num_interval": "[x,inf)"}, ["user_inter_num_interval: '[x,inf)'"]),
        ({"val_interval": {"timestamp": "3,inf"}}, ["val_interval: timestamp: '3,inf'", "[5,inf)"]),
        ({"val_interval": "[3,inf)"}, ["val_interval: '[3,inf)'", "pairs such as"]),
        ({"rm_dup_inter": "frist"}, ["rm_dup_inter: 'frist'", "first, last"]),
        ({"state": "INFOO"}, ["state: 'INFOO' is unknown", "info"]),
        ({"clip_grad_norm": 5}, ["clip_grad_norm: 5", "max_norm"]),
        ({"eval_args": {"splt": {"RS": [8, 1, 1]}}}, ["eval_args: unknown key 'splt'; did you mean 'split'"]),
        ({"train_neg_sample_args": {"alpha": 0.5}}, ["train_neg_sample_args: alpha: 0.5 has no effect", "popularity"]),
        ({"train_neg_sample_args": {"candidate_num": 5}}, ["candidate_num: 5 has no effect: it takes dynamic True"]),
        ({"nproc": 2}, ["nproc: it is an argument of the command, --nproc"]),
    ],
)
def test_values_that_recbole_passes_over_are_refused(small, model, given, words):
    keys = ("data_path", "load_col", "eval_args", "epochs", "topk", "valid_metric")
    base = {key: small_settings(small)[key] for key in keys}
    with pytest.raises(InputError) as caught:
        build.build_config(model, "small", overrides=base | given)
    for part in words:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_intervals_that_recbole_reads_are_taken(small):
    for value in ("[5,inf)", "(0, 10]", "[1,2);[5,1e3]", "[-inf,.5)"):
        config = config_of(small, "MIND", {"item_inter_num_interval": value, "val_interval": {"timestamp": value}})
        assert config["item_inter_num_interval"] == value


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"unused_col": {"inter": ["price"]}}, "can not be set in `unused_col`"),
        ({"normalize_field": ["timestamp", "item_id"]}, "item_id is not a FLOAT"),
        (
            {"load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["prize"]}},
            "load_col: 'item' lacks 'item_id'",
        ),
    ],
)
def test_warnings_of_recbole_over_values_it_passes_over_end_the_run(small, given, words):
    overrides = small_settings(small, epochs=1, state="error") | given
    with pytest.raises(InputError) as caught:
        run.run("GRU4Rec", "small", overrides={k: v for k, v in overrides.items() if k not in
                                                       ("embedding_size", "relu_layers")})  # fmt: skip
    assert words in str(caught.value)
