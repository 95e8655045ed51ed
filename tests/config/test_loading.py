"""Settings from files and from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_mind import InputError
from recbole_mind.config import loading
from recbole_mind.training import build
from tests.support.data import small_settings
from tests.support.shop import ORDERED, given

# -- None ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["None", "none", "null", "~"])
def test_none_is_null_in_a_file_and_on_the_command_line(shop, tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(f"train_neg_sample_args: {text}\neval_args: {{group_by: {text}}}\nval_interval: {text}\n")
    content = loading.read_file(path)
    assert content == {"train_neg_sample_args": None, "eval_args": {"group_by": None}, "val_interval": None}
    parsed = loading.parse_arguments([f"--train_neg_sample_args={text}", f"--eval_args={{group_by: {text}}}"])
    assert parsed == {"train_neg_sample_args": None, "eval_args": {"group_by": None}}
    more = given(shop, train_neg_sample_args=text, eval_args=ORDERED)
    assert build.build_config("MIND", "shop", overrides=more)["train_neg_sample_args"]["distribution"] == "none"
    path.write_text(f"K: {text}\n")
    with pytest.raises(InputError, match="K: None is not allowed"):
        build.build_config("MIND", "shop", [path], given(shop))
    path.write_text(f"topk: {text}\n")
    overrides = {key: value for key, value in given(shop).items() if key != "topk"}
    with pytest.raises(InputError, match="topk: None is not allowed"):
        build.build_config("BPR", "shop", [path], overrides)


def test_recboles_own_files_of_settings_are_read_alike(shop, tmp_path):
    from recbole.config import Config

    path = tmp_path / "mine.yaml"
    path.write_text("train_neg_sample_args: None\neval_args: {group_by: None, order: TO, split: {LS: test_only}}\n")
    with build.argv_hidden():
        config = Config("MIND", "shop", config_file_list=[str(path)], config_dict={"data_path": str(shop)})
    assert config["train_neg_sample_args"]["distribution"] == "none"
    assert config["eval_args"]["group_by"] is None


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


def test_defaults_are_found_in_the_installed_package():
    assert loading.defaults("model", "MIND")["K"] == 4
    assert loading.defaults("dataset", "ml-100k")["user_features"] == ["age", "gender", "occupation"]
    assert loading.defaults("model", "GRU4Rec") == {}


def test_text_stays_text_and_numbers_become_numbers():
    same = ("|", ">", "::", "-", "01", "1:30", "no", "2020-13-45", "uni100")
    assert [loading.parse_value(text) for text in same] == list(same)
    values = {"1e-3": 1e-3, "true": True, "False": False, "none": None, "[1, a]": [1, "a"], "{'LS': 'x'}": {"LS": "x"}}
    assert {text: loading.parse_value(text) for text in values} == values


def test_a_file_of_settings_may_be_long_and_not_too_long():
    Path("a.yaml").write_text("".join(f"key{n}: [1, 2]\n" for n in range(5_000)))
    assert len(loading.read_file("a.yaml")) == 5_000
    Path("a.yaml").write_text("a: 1\n" * 500_000)
    with pytest.raises(InputError, match="cannot be read: it is larger than 2 MiB"):
        loading.read_file("a.yaml")
