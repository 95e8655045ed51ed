"""What RecBole's models cannot do with their settings is one line."""

from __future__ import annotations

import pytest

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.config import keys
from recbole_mind.training import build, run
from tests.support.shop import AUC, LABELED, ORDERED, PYTHON, given

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


def test_the_defaults_of_every_model_of_recbole_are_accepted(shop):
    for model in sorted(keys.known_models() - {"LightGBM", "XGBoost"}):
        config = build.build_config(model, "shop", overrides={"data_path": str(shop)})
        assert config["model"] == model


def test_a_table_of_clicks_may_name_neither_user_nor_item(shop):
    more = given(shop, USER_ID_FIELD=None, ITEM_ID_FIELD=None, threshold={"rating": 3}, **AUC)
    assert build.build_config("FM", "shop", overrides=more)["USER_ID_FIELD"] is None
    with pytest.raises(InputError, match="USER_ID_FIELD: None is not allowed"):
        build.build_config("BPR", "shop", overrides=given(shop, USER_ID_FIELD=None, ITEM_ID_FIELD=None))
