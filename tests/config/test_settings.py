"""Settings that are refused, each in one line that names the file, key or value and what is allowed."""

from __future__ import annotations

import re

import pytest

from recbole_mind import InputError
from recbole_mind.config import keys as setting_keys
from recbole_mind.config import loading
from recbole_mind.config.model_names import MODELS
from recbole_mind.training import build, run
from tests import ROOT
from tests.support.data import small_settings


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"K": 0}, ["K: 0", "at least 1"]),
        ({"K": 2.5}, ["K: 2.5", "whole number"]),
        ({"sigma": 0}, ["sigma: 0", "above 0"]),
        ({"negative_interest": "best"}, ["negative_interest: 'best'", "label, nearest"]),
        ({"capsule_length": 1}, ["capsule_length: 1", "True, False"]),
        ({"recency": 0}, ["recency: 0", "above 0, at most 1"]),
        ({"recency": 1.5}, ["recency: 1.5", "above 0, at most 1"]),
        ({"sigma": -1}, ["sigma: -1", "above 0"]),
        ({"sigma": "inf"}, ["sigma", "finite"]),
        ({"p": -1}, ["p: -1", "from 0 to inf"]),
        ({"p": "high"}, ["p: 'high'", "not a number", "from 0 to inf"]),
        ({"p": float("nan")}, ["p: nan", "from 0 to inf"]),
        ({"p": True}, ["p: True"]),
        ({"loss_type": "hinge"}, ["loss_type: 'hinge'", "CE, sampled, BPR"]),
        ({"similarity": "cosin"}, ["similarity: 'cosin'", "did you mean 'cosine'", "cosine, dot"]),
        ({"negatives": "hard"}, ["negatives: 'hard'", "log_uniform"]),
        ({"routing_softmax": "users"}, ["routing_softmax: 'users'", "interests, behaviors"]),
        ({"routing_init": "zeros"}, ["routing_init: 'zeros'", "random, kmeans++"]),
        ({"routing_scale": 0}, ["routing_scale: 0", "above 0"]),
        ({"routing_iterations": 0}, ["routing_iterations: 0", "at least 1"]),
        ({"attention_form": "exp"}, ["attention_form: 'exp'", "pow, scale"]),
        ({"adaptive_K": "maybe"}, ["adaptive_K: 'maybe'", "True, False"]),
        ({"dropout": 1}, ["dropout: 1", "below 1"]),
        ({"temperature": 0}, ["temperature: 0", "above 0"]),
        ({"relu_layers": "wide"}, ["relu_layers: 'wide'", "list of whole numbers"]),
        ({"item_features": 3}, ["item_features: 3", "list of field names"]),
        ({"mask_history": "maybe"}, ["mask_history: 'maybe'", "True, False"]),
        ({"timestamp_order": "file"}, ["timestamp_order: 'file'", "data, recbole"]),
        ({"loss_type": "BPR", "train_neg_sample_args": None}, ["loss_type: 'BPR' needs negatives"]),
        ({"train_neg_sample_args": {"distribution": "uniform"}}, ["train_neg_sample_args", "'CE'", "BPR"]),
        ({"loss_type": "BPR", "train_neg_sample_args": {"sample_nums": 3}}, ["'sample_nums'", "'sample_num'"]),
        ({"loss_type": "BPR", "train_neg_sample_args": {"distribution": "hard"}}, ["'hard'", "uniform, popularity"]),
        ({"epochs": "many"}, ["epochs: 'many'", "number"]),
        ({"train_batch_size": 0}, ["train_batch_size: 0", "at least 1"]),
        ({"show_progress": "some"}, ["show_progress: 'some'", "True, False"]),
        ({"valid_metric": "NDCG@20"}, ["valid_metric: 'ndcg@20'", "ndcg@10"]),
        ({"metrics": ["Recal"]}, ["Recal"]),
        ({"epochz": 1}, ["unknown key 'epochz' for MIND", "did you mean 'epochs'"]),
        ({"mask_history": True, "eval_args": {"order": "TO", "mode": "uni20"}}, ["mask_history: True", "'uni20'"]),
        ({"loss_type": "sampled", "negatives": "sampler", "train_neg_sample_args": {"dynamic": True}}, ["log Q"]),
        ({"loss_type": "BPR", "train_neg_sample_args": {"alpha": "x"}}, ["alpha: 'x'"]),
        ({"numerical_features": ["timestamp"], "timestamp_order": "data"}, ["timestamp_order: 'data'"]),
        ({"seed": 99999999999}, ["seed: 99999999999", "below 2**32"]),
        ({"checkpoint_dir": 3}, ["checkpoint_dir: 3", "path"]),
        ({"learning_rate": -1}, ["learning_rate: -1", "above 0"]),
        ({"reg_weight": 0.5}, ["unknown key 'reg_weight' for MIND"]),
        ({"rooting_scale": 1}, ["did you mean 'routing_scale'"]),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_setting_out_of_range_is_refused_by_name(small, bad, words):
    with pytest.raises(InputError) as error:
        build.build_config("MIND", "small", overrides=small_settings(small) | bad)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "bad", "words"),
    [
        ("ComiRecSA", {"K": 0}, ["K: 0", "at least 1"]),
        ("ComiRecSA", {"p": -1}, ["p: -1", "from 0 to inf"]),
        ("ComiRecSA", {"attention_form": "exp"}, ["attention_form: 'exp'", "pow, scale"]),
        ("ComiRecSA", {"attention_size": 0}, ["attention_size: 0", "at least 1, or ~"]),
        ("ComiRecSA", {"routing_regularization": -1}, ["routing_regularization: -1", "at least 0"]),
        ("ComiRecSA", {"attention_size": 1.5}, ["attention_size: 1.5", "whole number"]),
        ("ComiRecSA", {"positions": "yes"}, ["positions: 'yes'", "True, False"]),
        ("ComiRecSA", {"positions": None}, ["positions: None", "True, False"]),
        ("ComiRecSA", {"routing_maps": "position"}, ["unknown key 'routing_maps' for ComiRecSA"]),
        ("ComiRecDR", {"K": 2.5}, ["K: 2.5", "whole number"]),
        ("ComiRecDR", {"routing_iterations": 0}, ["routing_iterations: 0", "at least 1"]),
        ("ComiRecDR", {"routing_scale": -1}, ["routing_scale: -1", "above 0, or ~"]),
        ("ComiRecDR", {"routing_maps": "positions"}, ["did you mean 'position'", "position, interest"]),
        ("ComiRecDR", {"sigma": 1}, ["unknown key 'sigma' for ComiRecDR"]),
        ("ComiRecDR", {"relu_layers": [0]}, ["relu_layers: [0]", "list of whole numbers"]),
        ("YouTubeDNN", {"K": 4}, ["unknown key 'K' for YouTubeDNN"]),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_setting_of_another_model_is_refused_by_name(small, name, bad, words):
    with pytest.raises(InputError) as error:
        build.build_config(name, "small", overrides=small_settings(small) | bad)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_what_may_be_left_open_may_be_given_as_none(small):
    for name, key in (("ComiRecSA", "attention_size"), ("ComiRecDR", "routing_scale"), ("MIND", "routing_scale")):
        config = build.build_config(name, "small", overrides=small_settings(small, **{key: None}))
        assert config[key] is None


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"item_features": ["colour"]}, ["item_features: 'colour'", "small.item", "genre, tags"]),
        ({"user_features": ["age"]}, ["user_features: 'age'", "small.user", "allowed: job"]),
        ({"item_features": ["user_id"]}, ["item_features: 'user_id'", "allowed: genre, tags"]),
    ],
)
def test_a_feature_that_the_data_lacks_is_refused(small, bad, words):
    with pytest.raises(InputError) as error:
        run.run("MIND", "small", overrides=small_settings(small, **bad))
    for word in words:
        assert word in str(error.value)


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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["cannot be read", "No such file"]),
        (b"a: [1\nb: 2", ["malformed", "line 2"]),
        (b"a: 1\nb: {c: 1, d: 2, c: 3}\n", ["malformed", "line 2: 'c' stands twice"]),
        (b"- 1\n- 2\n", ["malformed", "'key: value' pairs"]),
        (b"\xff\xfe", ["cannot be read", "UTF-8"]),
        (b"!!python/object/apply:os.system ['true']", ["malformed"]),
        (b"epochs: 2020-13-45", ["malformed"]),
        (b'{"config": null, "versions": {}, "protocol": {}}', ["holds no settings"]),
        (b"epochz: 3", ["unknown key 'epochz'", "did you mean 'epochs'"]),
    ],
)
def test_a_bad_config_file_is_refused_by_its_name(tmp_path, small, content, words):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        build.build_config("MIND", "small", [path], small_settings(small))
    for word in [*words, "mine.yaml"]:
        assert word in str(error.value)


def test_arguments_that_are_no_settings_are_refused():
    for arguments, word in (
        (["epochs=3"], "'epochs=3'"),
        (["--epochs"], "needs a value"),
        (["--a=1", "--a=2"], "twice"),
    ):
        with pytest.raises(InputError, match=word):
            loading.parse_arguments(arguments)


def write(folder, rows):
    target = folder / "tiny"
    target.mkdir()
    (target / "tiny.inter").write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n")
    return small_settings(folder, load_col=None)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([f"u{u}\tonly\t{t}" for u in range(3) for t in range(4)], ["'tiny'", "1 item", "at least 2"]),
        ([f"u{u}\ti{u}\t1" for u in range(3)], ["'tiny'"]),  # no user has a history
        ([], ["tiny.inter'", "holds no row"]),
        (["u1\ti1\tyesterday"] * 5, ["tiny.inter', line 2", "timestamp"]),
    ],
    ids=["one item", "no history", "no rows", "bad time"],
)
def test_a_data_set_that_cannot_be_used_is_refused_by_name(tmp_path, rows, words):
    overrides = write(tmp_path, rows)
    with pytest.raises(InputError) as error:
        run.run("MIND", "tiny", overrides=overrides)
    for word in words:
        assert word in str(error.value)


def test_every_default_is_documented_with_meaning_and_range():
    """Each key of properties/model/*.yaml has a comment with its type, and no other place holds the default."""
    from importlib.resources import files

    for name in MODELS:
        text = (files("recbole_mind.properties") / "model" / f"{name}.yaml").read_text()
        keys = set(loading.defaults("model", name))
        documented = {line.split(":")[0] for line in text.splitlines() if ":" in line.split("#")[0] and "# (" in line}
        assert keys == documented


def test_defaults_are_found_in_the_installed_package():
    assert loading.defaults("model", "MIND")["K"] == 4
    assert loading.defaults("dataset", "ml-100k")["user_features"] == ["age", "gender", "occupation"]
    assert loading.defaults("model", "GRU4Rec") == {}


def test_text_stays_text_and_numbers_become_numbers():
    same = ("|", ">", "::", "-", "01", "1:30", "no", "2020-13-45", "uni100")
    assert [loading.parse_value(text) for text in same] == list(same)
    values = {"1e-3": 1e-3, "true": True, "False": False, "none": None, "[1, a]": [1, "a"], "{'LS': 'x'}": {"LS": "x"}}
    assert {text: loading.parse_value(text) for text in values} == values


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


def test_what_cannot_be_written_or_ranked_is_refused_before_training(small, tmp_path):
    with pytest.raises(InputError, match="is a folder; name a file"):
        run.run("MIND", "small", overrides=small_settings(small), record=tmp_path)
    overrides = small_settings(small, topk=[100], valid_metric="NDCG@100")
    with pytest.raises(InputError, match="topk: 100 is more than the 50 items"):
        run.run("MIND", "small", overrides=overrides)
    with pytest.raises(InputError, match="output folder '/proc/none' cannot be written"):
        run.run("MIND", "small", overrides=small_settings(small, checkpoint_dir="/proc/none"))


@pytest.mark.parametrize("page", ["README.md", "docs/model.md"])
def test_the_pages_show_the_defaults_in_force(page):
    text = (ROOT / page).read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", text, re.MULTILINE))
    in_force = loading.defaults("model", "MIND")
    assert {key: str(in_force[key]) for key in rows} == {key: value for key, value in rows.items()}
    assert len(rows) >= 6
    assert "@@" not in text


@pytest.mark.parametrize(
    ("history", "message"),
    [("a b", None), ("", "'split' holds an empty history for training"), ("a b c d", "a history of 4 items")],
)
def test_histories_given_in_files_are_checked_before_training(tmp_path, history, message):
    """A split in files (RecBole's benchmark_filename) may hold what RecBole itself never makes."""
    folder = tmp_path / "split"
    folder.mkdir()
    for phase in ("train", "valid", "test"):
        first = history if phase == "train" else "a b"
        rows = [f"u{user}\t{'abcd'[user]}\t{first if user == 0 else 'c d'}" for user in range(4)]
        head = "user_id:token\titem_id:token\titem_id_list:token_seq"
        (folder / f"split.{phase}.inter").write_text("\n".join([head, *rows]) + "\n")
    overrides = small_settings(tmp_path, load_col=None, MAX_ITEM_LIST_LENGTH=3, topk=[2], valid_metric="NDCG@2")
    overrides |= {"benchmark_filename": ["train", "valid", "test"], "alias_of_item_id": ["item_id_list"], "epochs": 1}
    overrides |= {"mask_history": True}
    if message is None:
        assert run.run("MIND", "split", overrides=overrides).epochs == 1
        return
    with pytest.raises(InputError, match=message):
        run.run("MIND", "split", overrides=overrides)
