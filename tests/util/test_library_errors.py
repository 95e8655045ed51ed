"""What RecBole's own code cannot do with settings: one line in words, early where it can be known; ours keep theirs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.config import keys, loading
from recbole_mind.models.youtube_dnn import YouTubeDNN
from recbole_mind.training import build, run
from recbole_mind.util import library_errors

PYTHON = re.compile(r"Traceback|\w+Error\b|\w+Exception\b|not enough values|too many values|\n")
ORDERED = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
LABELED, SAMPLED = ORDERED | {"mode": "labeled"}, ORDERED | {"mode": "uni20"}
AUC = {"metrics": ["AUC"], "valid_metric": "AUC"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The folder that holds the data set ``shop``: sessions and users, ratings and labels; classes and prices."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "shop").mkdir()
    g = np.random.default_rng(1)
    rows = ["session:token\tuser_id:token\titem_id:token\trating:float\ttimestamp:float\tliked:float"]
    for user in range(20):
        for place, item in enumerate(g.choice(30, size=6, replace=False)):
            rating = g.integers(1, 6)
            rows.append(f"s{user // 2}\tu{user}\ti{item}\t{rating}\t{100 * user + place}\t{int(rating > 3)}")
    (folder / "shop/shop.inter").write_text("\n".join(rows) + "\n")
    items = [f"i{i}\tc{i % 3} c{i % 2}\t{i / 7:.2f}" for i in range(30)]
    (folder / "shop/shop.item").write_text("\n".join(["item_id:token\tclass:token_seq\tprice:float", *items]) + "\n")
    return folder


def given(folder, **more):
    usual = {"data_path": str(folder), "topk": [5], "epochs": 1, "show_progress": False}
    return usual | ({} if "metrics" in more else {"valid_metric": "MRR@5"}) | more


# -- one line -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "more", "words"),
    [
        # what is judged and how
        ("MIND", {"eval_args": LABELED}, ["mode 'labeled'", "Recall", "allowed with it: AUC"]),
        ("DeepFM", {"metrics": ["NDCG"], "valid_metric": "NDCG@5", "threshold": {"rating": 3}}, ["mode 'labeled'"]),
        ("MIND", AUC | {"eval_args": ORDERED}, ["mode 'full'", "AUC", "allowed with these metrics: labeled"]),
        ("MIND", AUC | {"eval_args": LABELED}, ["AUC", "need a label", "'shop' has no field 'label'", "threshold"]),
        ("SASRec", {"metrics": ["RMSE"], "valid_metric": "RMSE", "eval_args": LABELED}, ["RMSE", "need a label"]),
        ("DeepFM", AUC, ["need a label", "LABEL_FIELD"]),
        ("DeepFM", AUC | {"eval_args": {"mode": "uni20"}}, ["'DeepFM' learns a label", "threshold"]),
        ("BPR", {"metrics": ["AUC", "NDCG"], "valid_metric": "AUC"}, ["AUC", "NDCG", "one kind at a time"]),
        ("BPR", {"metrics": [], "valid_metric": "AUC"}, ["metrics: [] is not allowed"]),
        ("BPR", {"metrics": ["Recal"], "valid_metric": "Recal@5"}, ["'Recal' is unknown; did you mean 'Recall'"]),
        ("BPR", {"topk": []}, ["topk: []"]),
        ("BPR", {"topk": [0, 5]}, ["topk: [0, 5]"]),
        ("BPR", {"topk": [2.5]}, ["topk: [2.5]"]),
        ("BPR", {"topk": "ten"}, ["topk: 'ten'"]),
        ("BPR", {"valid_metric": "MRR"}, ["valid_metric: 'mrr' is not evaluated", "mrr@5"]),
        ("BPR", {"eval_args": None}, ["eval_args: None is not allowed"]),
        ("BPR", {"eval_args": {"splitt": {}}}, ["unknown key 'splitt'; did you mean 'split'"]),
        ("BPR", {"eval_args": {"split": {"RX": [8, 1, 1]}}}, ["split: 'RX' is unknown"]),
        ("BPR", {"eval_args": {"split": {"RS": [8, "one", 1]}}}, ["split RS: [8, 'one', 1]", "three numbers"]),
        ("BPR", {"eval_args": {"split": {"RS": [0.8, 0.2]}}}, ["split RS: [0.8, 0.2]", "three numbers"]),
        ("BPR", {"eval_args": {"split": {"TS": [0, 0, 1]}}}, ["split TS: [0, 0, 1]"]),
        ("BPR", {"eval_args": {"split": {"LS": "valid_test"}}}, ["did you mean 'valid_and_test'"]),
        ("BPR", {"eval_args": {"split": {"RS": [8, 1, 1], "LS": "test_only"}}}, ["names RS, LS; leave one"]),
        ("BPR", {"eval_args": {"order": "T"}}, ["order: 'T' is unknown", "RO, TO"]),
        ("BPR", {"eval_args": {"group_by": "users"}}, ["group_by: 'users' is unknown; did you mean 'user'"]),
        ("BPR", {"eval_args": {"mode": "unj100"}}, ["mode: 'unj100' is unknown"]),
        ("BPR", {"eval_args": {"mode": "uni"}}, ["mode: 'uni' is unknown"]),
        ("BPR", {"eval_args": {"mode": {"vlid": "full"}}}, ["mode: 'vlid' is unknown; did you mean 'valid'"]),
        # negatives
        ("BPR", {"train_neg_sample_args": {"distribution": "zipf"}}, ["distribution: 'zipf'", "uniform, popularity"]),
        ("BPR", {"train_neg_sample_args": {"sample_numm": 1}}, ["'sample_numm'; did you mean 'sample_num'"]),
        ("BPR", {"train_neg_sample_args": {"sample_num": 0}}, ["sample_num: 0", "at least 1"]),
        ("BPR", {"train_neg_sample_args": 3}, ["train_neg_sample_args: 3 is not allowed"]),
        ("BPR", {"train_neg_sample_args": None}, ["'BPR' learns pairs", "must not be None"]),
        ("NeuMF", {"train_neg_sample_args": None}, ["'NeuMF' cannot be trained on 'shop'", "it asks for 'label'"]),
        ("GRU4Rec", {"loss_type": None}, ["loss_type: 'None' is unknown; allowed for GRU4Rec: CE, BPR"]),
        # models
        ("SASRec", {"n_heads": 3}, ["'SASRec' cannot be built on 'shop'", "not a multiple", "layers, line"]),
        ("SASRec", {"hidden_size": 0}, ["hidden_size: 0", "at least 1"]),
        ("GRU4Rec", {"num_layers": -1}, ["num_layers: -1"]),
        ("BPR", {"embedding_size": -1}, ["embedding_size: -1"]),
        ("DGCF", {"n_factors": 5}, ["it requires self.embedding_size % self.n_factors == 0"]),
        ("CDAE", {"loss_type": "hinge"}, ["'CDAE' cannot be trained", "loss_type must in [MSE, BCE]"]),
        ("CKE", {}, ["shop.kg"]),
        ("KSR", {}, ["shop.ent"]),
        ("SASRecF", {"selected_features": ["price"]}, ["'price' is a float field", "numerical_features=['price']"]),
        ("SASRecF", {"selected_features": ["color"]}, ["selected_features: 'color' is not read", "shop.item"]),
        ("S3Rec", {"train_stage": "finetune", "pre_model_path": "none.pth"}, ["'none.pth' cannot be opened: No such"]),
        ("S3Rec", {"pretrain_epochs": 1, "save_step": 5}, ["pretrain_epochs: 1 is less than save_step"]),
        ("RaCT", {"train_stage": "finetune"}, ["it opens a file that no setting names"]),
        ("SASRecF", {"selected_features": []}, ["selected_features: [] is not allowed", "shop.item"]),
        ("BERT4Rec", {"mask_ratio": 2.0}, ["mask_ratio: 2.0", "above 0 to 1"]),
        ("GRU4Rec", {"dropout_prob": -0.1}, ["dropout_prob: -0.1", "from 0 to 1"]),
        ("LightGBM", {}, ["'LightGBM' needs lightgbm; pip install lightgbm"]),
        ("XGBoost", {}, ["'XGBoost' needs xgboost"]),
        # trainer and loaders
        ("MIND", {"log_wandb": True}, ["log_wandb: True needs the library wandb"]),
        ("MIND", {"clip_grad_norm": {"max": 5}}, ["clip_grad_norm: {'max': 5}", "max_norm"]),
        ("MIND", {"weight_decay": -1}, ["weight_decay: -1", "at least 0"]),
        ("SASRec", {"worker": -1}, ["worker: -1"]),
        ("SASRec", {"transform": "flip"}, ["There is no transform named 'flip'"]),
        ("SASRec", {"MAX_ITEM_LIST_LENGTH": 2.5}, ["MAX_ITEM_LIST_LENGTH: 2.5"]),
        # columns
        ("MIND", {"USER_ID_FIELD": "sesion"}, ["USER_ID_FIELD: 'sesion' is no column", "shop.inter", "session"]),
        ("MIND", {"ITEM_ID_FIELD": "rating"}, ["ITEM_ID_FIELD: 'rating' is a float in"]),
        ("MIND", {"ITEM_ID_FIELD": "user_id"}, ["'user_id' is what ITEM_ID_FIELD names"]),
        ("MIND", {"load_col": {"inter": ["user_id"]}}, ["load_col: 'inter' lacks 'item_id', which ITEM_ID_FIELD"]),
        ("MIND", {"load_col": {"item": ["item_id"]}}, ["names no column of the .inter file"]),
        ("MIND", {"load_col": ["user_id"]}, ["load_col: ['user_id'] is not allowed"]),
        ("BPR", {"unload_col": {"inter": ["rating"]}}, ["unload_col: 'inter' is named by load_col too"]),
        ("BPR", {"numerical_features": 5}, ["numerical_features: 5 is not allowed"]),
        ("BPR", {"threshold": {"rating": "high"}}, ["threshold: {'rating': 'high'}"]),
        ("BPR", {"threshold": {"stars": 3}}, ["Field [stars] not in inter_feat"]),
        ("BPR", {"val_interval": {"stars": "[3,inf)"}}, ["Field [stars] not defined"]),
        ("BPR", {"normalize_field": ["stars"]}, ["Field [stars] does not exist"]),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, (str, dict)) else "",
)
def test_what_recbole_cannot_do_is_one_line(shop, model, more, words):
    with pytest.raises(InputError) as error:
        run.run(model, "shop", overrides=given(shop, **more))
    message = str(error.value)
    assert not PYTHON.search(message), message
    for word in words:
        assert word in message


def test_the_command_says_so_in_one_line_with_status_2(shop, capsys):
    arguments = ["--model=DGCF", "--dataset=shop", f"--data_path={shop}", "--n_factors=5"]
    assert main.run_recbole(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: model: 'DGCF' cannot be built on 'shop' with these settings: it requires ")


def test_an_evaluation_says_so_too(shop):
    checkpoint = run.run("BPR", "shop", overrides=given(shop)).checkpoint
    with pytest.raises(InputError, match="eval_args: mode 'labeled'"):
        run.evaluate(checkpoint, overrides={"eval_args": {"mode": "labeled"}})
    with pytest.raises(InputError, match=r"^metrics: AUC with .* need a label"):
        run.evaluate(checkpoint, overrides=AUC | {"eval_args": {"mode": "labeled"}})


def test_the_log_holds_the_traceback(shop):
    with pytest.raises(InputError):
        run.run("SASRec", "shop", overrides=given(shop, n_layers=0))
    (log,) = Path("log/SASRec").glob("*.log")
    assert "Traceback" in log.read_text()
    assert "IndexError" in log.read_text()


def test_our_own_faults_keep_their_traceback(shop, monkeypatch):
    monkeypatch.setattr(YouTubeDNN, "read", lambda self, *_: {}["ours"])
    with pytest.raises(KeyError, match="ours"):
        run.run("YouTubeDNN", "shop", overrides=given(shop))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("{}['price']", "it asks for 'price', which is not there"),
        ("[][1]", "something is asked for beyond the end: list index out of range"),
        ("None.shape", "something that it needs is not there: 'None"),
        ("len(3)", "a value is of another kind than it takes: object of type 'int' has no len()"),
        ("1 / 0", "it divides by zero: division by zero"),
        ("a, b = [1]", "2 values are expected, and 1 are there"),
        ("a, b = [1, 2, 3]", "2 values are expected, and more are there"),
        ("raise ValueError('bad\\nvalue')", "bad value"),
        ("raise ValueError", "it says no reason"),
        ("raise NotImplementedError", "it is not implemented"),
        ("raise RuntimeError('KeyError: ' + 'x' * 999)", "x" * 300 + " ..."),
        ("raise RuntimeError('CUDA out of memory. Tried')", "out of memory: CUDA out of memory. Tried"),
        ("raise AssertionError('two')", "two"),
        ("open('nowhere')", "'nowhere' cannot be opened: No such file or directory"),
        ("import nowhere", "the library 'nowhere' is not installed"),
    ],
)
def test_each_kind_of_error_is_put_into_words(code, said):
    theirs, ours = {"__name__": "recbole.model.x"}, {"__name__": "recbole_mind.x"}
    with pytest.raises(InputError) as error, library_errors.in_words("model: 'X'"):
        exec(code, theirs)
    assert str(error.value).startswith(f"model: 'X': {said}")
    assert str(error.value).endswith(" (RecBole's recbole.model.x, line 1)")
    assert not PYTHON.search(str(error.value))
    if "open" not in code:  # a file that cannot be opened is not a fault of ours
        kinds = (LookupError, AttributeError, TypeError, ArithmeticError, ValueError, RuntimeError, AssertionError)
        with pytest.raises((*kinds, ImportError)) as own, library_errors.in_words("model: 'X'"):
            exec(code, ours)
        assert not isinstance(own.value, InputError)


def test_a_field_that_a_model_of_recbole_asks_our_data_for_is_its_fault():
    ours: dict[str, object] = {"__name__": "recbole_mind.data.history_store"}
    exec("def field(name): return {}[name]", ours)
    theirs = {"__name__": "recbole.model.x", "field": ours["field"]}
    message = r"^it: it asks for 'price', which is not there \(RecBole's recbole.model.x, line 1\)$"
    with pytest.raises(InputError, match=message), library_errors.in_words("it"):
        exec("field('price')", theirs)


def test_the_defaults_of_every_model_of_recbole_are_accepted(shop):
    for model in sorted(keys.known_models() - {"LightGBM", "XGBoost"}):
        config = build.build_config(model, "shop", overrides={"data_path": str(shop)})
        assert config["model"] == model


def test_a_table_of_clicks_may_name_neither_user_nor_item(shop):
    more = given(shop, USER_ID_FIELD=None, ITEM_ID_FIELD=None, threshold={"rating": 3}, **AUC)
    assert build.build_config("FM", "shop", overrides=more)["USER_ID_FIELD"] is None
    with pytest.raises(InputError, match="USER_ID_FIELD: None is not allowed"):
        build.build_config("BPR", "shop", overrides=given(shop, USER_ID_FIELD=None, ITEM_ID_FIELD=None))


def test_models_are_known_as_recbole_spells_them():
    known = keys.known_models()
    assert {"LightGBM", "XGBoost", "Random", "KD_DAGFM", "xDeepFM", "FOSSIL", "MIND"} <= known
    assert not {"lightgbm", "random", "init", "GRU"} & known
    # their defaults stand in lightgbm.yaml and xgboost.yaml, which RecBole does not find by the class's name
    assert "lgb_params" in keys.known_keys("LightGBM")
    assert keys.model_defaults("XGBoost")["xgb_params"]
    with pytest.raises(InputError, match="'random' is unknown; did you mean 'Random'"):
        keys.check_model("random")


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


# -- columns ------------------------------------------------------------------------------------------------------


def test_ids_that_settings_name_are_read(shop):
    config = build.build_config("MIND", "shop", overrides=given(shop, USER_ID_FIELD="session"))
    dataset, *_ = build.build_data(config)
    assert dataset.user_num == 11
    assert "session" in config["load_col"]["inter"]
    plain = build.build_config("BPR", "shop", overrides=given(shop))
    assert plain["load_col"] == {"inter": ["user_id", "item_id"]}


@pytest.mark.parametrize(
    ("model", "more", "columns"),
    [
        ("BPR", {"threshold": {"rating": 3}}, {"inter": ["user_id", "item_id", "rating"]}),
        ("BPR", {"val_interval": {"rating": "[2,inf)"}}, {"inter": ["user_id", "item_id", "rating"]}),
        (
            "BPR",
            {"val_interval": {"price": "[1,inf)"}},
            {"inter": ["user_id", "item_id"], "item": ["item_id", "price"]},
        ),
        ("BPR", {"normalize_field": "rating"}, {"inter": ["user_id", "item_id", "rating"]}),
        ("BPR", {"RATING_FIELD": "rating"}, {"inter": ["user_id", "item_id", "rating"]}),
        ("BPR", {"TIME_FIELD": "timestamp"}, {"inter": ["user_id", "item_id", "timestamp"]}),
        (
            "MIND",
            AUC | {"LABEL_FIELD": "liked", "eval_args": LABELED},
            {"inter": ["user_id", "item_id", "timestamp", "liked"]},
        ),
        (
            "SASRecF",
            {"selected_features": ["class", "price"], "numerical_features": ["price"]},
            {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class", "price"]},
        ),
        ("DeepFM", AUC | {"threshold": {"rating": 3}}, {"inter": ["user_id", "item_id", "rating"]}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_columns_that_settings_name_are_read(shop, model, more, columns):
    overrides = given(shop, **more)
    config = build.build_config(model, "shop", overrides=overrides)
    assert {suffix: sorted(fields) for suffix, fields in config["load_col"].items()} == {
        suffix: sorted(fields) for suffix, fields in columns.items()
    }
    result = run.run(model, "shop", overrides=overrides)
    assert all(np.isfinite(value) for value in result.test.values())
