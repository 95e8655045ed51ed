"""The lazy data set against RecBole's own, field for field."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_mind import InputError
from recbole_mind.training import build, run
from tests.support.data import LEAVE_ONE_OUT
from tests.support.odd import PLAIN, SOME, compare, prepare, protocol, write

PAIRS = {"loss_type": "BPR", "train_neg_sample_args": {"distribution": "uniform", "sample_num": 2, "alpha": 1.0}}
CASES = {
    "valid_and_test": protocol({"LS": "valid_and_test"}),
    "valid_only": protocol({"LS": "valid_only"}),
    "test_only": protocol({"LS": "test_only"}),
    "ratio": protocol({"RS": [0.8, 0.1, 0.1]}),
    "odd ratio": protocol({"RS": [2, 1, 1]}),
    "ratio of all": protocol({"RS": [0.8, 0.1, 0.1]}, group_by="none"),
    "time": protocol({"TS": [0.8, 0.1, 0.1]}),
    "time, more": protocol({"TS": [0.4, 0.3, 0.3]}),
    "uniform candidates": protocol({"LS": "valid_and_test"}, "uni7"),
    "uniform candidates of a ratio": protocol({"RS": [0.5, 0.3, 0.2]}, "uni3"),
    "popular candidates": protocol({"LS": "valid_and_test"}, "pop7"),
    "labels": protocol({"LS": "valid_and_test"}, "labeled") | {"threshold": {"rating": 3}},
    "pairs": PAIRS,
    "popular pairs": PAIRS | {"train_neg_sample_args": {"distribution": "popularity", "sample_num": 1, "alpha": 0.7}},
    "RecBole's time": {"timestamp_order": "recbole"},
    "masked history": {"mask_history": True},
    "masked history of a ratio": {"mask_history": True} | protocol({"RS": [0.6, 0.2, 0.2]}),
    "in order": {"shuffle": False},
    "all columns": {"load_col": None},
    "all columns, cut": {"load_col": None, "seq_len": {"tags": 2, "forms": 1}},
    "numbers": {"numerical_features": ["rating", "price"]},
    "numbers of sequences": {"load_col": None, "numerical_features": ["rating", "weights"]},
    "time is a number": {"numerical_features": ["timestamp"], "timestamp_order": "recbole"},
    "buckets": {"numerical_features": ["rating"], "discretization": {"rating": {"method": "ED", "bucket": 4}}},
    "normal": {"normalize_all": True},
    "unused": {"unused_col": {"inter": ["timestamp", "rating"], "item": ["price"]}},
    "values": {"val_interval": {"rating": "[2,5)", "kind": ["k0", "k1"]}},
    "frequent": {"user_inter_num_interval": "[4,inf)", "item_inter_num_interval": "[5,inf)"},
    "frequent and rare": {"user_inter_num_interval": "[2,3];[5,9]", "item_inter_num_interval": "(1,40]"},
    "once each": {"rm_dup_inter": "first"},
    "last each": {"rm_dup_inter": "last", "load_col": {"inter": PLAIN}},
    "known only": {"filter_inter_by_user_or_item": True},
    "an alias": {"alias_of_item_id": ["kind"]},
    "no features": {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}},
    "long histories": {"MAX_ITEM_LIST_LENGTH": 50},
    "short histories": {"MAX_ITEM_LIST_LENGTH": 1},
    "backwards": {"transform": "inverse_itemseq"},
    "cropped": {"transform": "crop_itemseq", "eta": 0.6},
    "reordered": {"transform": "reorder_itemseq", "beta": 0.6},
    "a mask": {"transform": "mask_itemseq", "mask_ratio": 0.4},
}


@pytest.mark.parametrize("name", CASES)
def test_batches_are_recboles_field_for_field(odd, name):
    more = CASES[name]
    if "loss_type" not in more:
        more = {"train_neg_sample_args": None} | more
    if name == "labels":
        more = more | {"metrics": ["AUC"], "valid_metric": "AUC"}
    compare(odd, **more)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 9),
    st.sampled_from([{"LS": "valid_and_test"}, {"LS": "test_only"}, {"RS": [0.7, 0.2, 0.1]}, {"TS": [0.5, 0.2, 0.3]}]),
    st.sampled_from(["user", "none"]),
    st.sampled_from(["data", "recbole"]),
)
def test_batches_are_recboles_for_any_data(tmp_path_factory, seed, width, split, group_by, order):
    folder = write(tmp_path_factory.mktemp("any"), seed, users=3 + seed % 9, longest=2 + seed % 17)
    more = protocol(split, group_by=group_by) | {"timestamp_order": order, "MAX_ITEM_LIST_LENGTH": width}
    reasons = []  # RecBole's, such as nothing to train on
    for lazy in (False, True):
        try:
            prepare(folder, lazy, train_neg_sample_args=None, **more)
        except (ValueError, IndexError) as error:
            reasons.append(repr(error))
    assert not reasons or reasons == [reasons[0]] * 2
    if not reasons:
        compare(folder, train_neg_sample_args=None, **more)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("\ti1\t", '\t"i1"\t'),
        lambda text: text.replace("\ti1\t", '\t"i1\t'),
        lambda text: text.replace("\ti1\t", f"\t{'i' * 90}\t"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text + "\n\n",
        lambda text: text.replace("\n", "\n\n", 3).replace("\n\n", "\n", 1),
        lambda text: text.replace("\t4.0\t", "\t1_0\t"),  # Python's spelling of ten
        lambda text: text.replace("\ti1\t", "\tNA\t").replace("u2\t", "\t"),
        lambda text: text.replace("\ti1\t", "\t中\t"),
        lambda text: "\ufeff" + text,
    ],
)
def test_an_unusual_file_gives_the_same_batches_either_way(tmp_path, spoil):
    path = write(tmp_path) / "odd/odd.inter"
    rows = [line.split("\t")[:5] for line in path.read_text().splitlines()]
    path.write_bytes(spoil("\n".join("\t".join(row) for row in rows) + "\n").encode())
    compare(tmp_path, train_neg_sample_args=None)


# -- which data set -----------------------------------------------------------------------------------------------


def test_who_is_lazy(odd):
    from recbole.config import Config
    from recbole.data import create_dataset

    def kind(model, **more):
        given = {"data_path": str(odd), "load_col": SOME, "eval_args": LEAVE_ONE_OUT, "valid_metric": "MRR@10"}
        config = Config(model=model, dataset="odd", config_dict=given | {"train_neg_sample_args": None} | more)
        return type(create_dataset(config)).__module__.split(".")[0]

    assert kind("MIND") == kind("YouTubeDNN") == kind("SASRec", lazy_sequences=True) == "recbole_mind"
    assert kind("MIND", lazy_sequences=False) == kind("SASRec") == kind("FEARec", lazy_sequences=True) == "recbole"
    pointwise = {"eval_args": LEAVE_ONE_OUT | {"mode": "uni5"}, "valid_metric": "AUC", "loss_type": None}
    assert kind("DIEN", lazy_sequences=True, **pointwise) == "recbole"  # it has a data set of its own
    config = build.build_config("SASRec", "odd", overrides={"data_path": str(odd), "load_col": SOME})
    assert config["lazy_sequences"] is True
    with pytest.raises(InputError, match="lazy_sequences: 'maybe' is not allowed; allowed: True, False"):
        build.build_config("MIND", "odd", overrides={"data_path": str(odd), "lazy_sequences": "maybe"})


def test_a_time_that_is_not_loaded_is_named(odd):
    with pytest.raises(ValueError, match=r"\[timestamp\] is not exist"):
        prepare(odd, True, load_col={"inter": ["user_id", "item_id"]}, train_neg_sample_args=None)


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("MIND", {}),
        ("YouTubeDNN", {"loss_type": "BPR"}),
        ("GRU4Rec", {}),
        ("SASRec", {"loss_type": "BPR"}),
        ("BERT4Rec", {}),
        ("SASRecF", {"selected_features": ["genre", "forms"]}),
        ("NARM", {}),
        ("Caser", {}),
        ("DIN", {"eval_args": LEAVE_ONE_OUT | {"mode": "uni5"}, "valid_metric": "AUC"}),
        ("CORE", {}),
    ],
)
def test_models_learn_the_same_from_both(odd, model, more):
    results = []
    for lazy in (True, False):
        given = {"data_path": str(odd), "load_col": SOME, "eval_args": LEAVE_ONE_OUT, "MAX_ITEM_LIST_LENGTH": 5}
        given |= {"epochs": 2, "train_batch_size": 32, "show_progress": False, "topk": [3], "valid_metric": "MRR@3"}
        result = run.run(model, "odd", overrides=given | {"lazy_sequences": lazy} | more)
        results.append((result.valid, result.test, result.report))
    assert results[0] == results[1]
