"""RecBole's data sets on pandas 3, without each patch and with it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config  # noqa: F401 - after which the patches are applied
from recbole.data.dataset import Dataset, KnowledgeBasedDataset, SequentialDataset
from recbole.utils import FeatureType

from recbole_mind.plugin.patches.frames import MISSING_VALUES, SEQUENCE_LENGTHS, WRITABLE_VALUES

USERS = ("user_id:token\tcity:token\tage:float\ttags:token_seq\tscores:float_seq",
         "u0\tx\t20\ta b\t1 2", "u1\t\t\t\t", "u2\ty\t40\tb\t4", "u3\tx\t30\ta b c\t2")  # fmt: skip
RANDOM = {"split": {"RS": [8, 1, 1]}, "order": "RO", "mode": "full"}
COLUMNS = {"inter": ["user_id", "item_id"], "user": ["user_id", "city", "age", "tags", "scores"]}


@pytest.fixture
def people(made):
    """RecBole's data set of users u0 to u3, of whom u1 has no features: ``people(**settings)``."""

    def make(**more):
        folder = Path("hand/small")
        folder.mkdir(parents=True, exist_ok=True)
        rows = [f"u{user}\ti{item}" for user in range(4) for item in range(3)]
        (folder / "small.inter").write_text("\n".join(["user_id:token\titem_id:token", *rows]) + "\n")
        (folder / "small.user").write_text("\n".join(USERS) + "\n")
        dataset = Dataset(made("BPR", "hand", load_col=COLUMNS, eval_args=RANDOM, **more))
        dataset._change_feat_format()
        return dataset

    return make


def column(dataset, field):
    return dataset.user_feat[field].tolist()


# -- sequences -----------------------------------------------------------------------------------------------------

REMAPPED = [[0, 0, 0], [1, 2, 0], [0, 0, 0], [2, 0, 0], [1, 2, 3]]
SCORES = torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0], [4.0, 0.0], [2.0, 0.0]])  # padded with 0
SHARES = torch.tensor([[0, 0], [0, 1 / 3], [0, 0], [1, 0], [1 / 3, 0]])  # of the way from 1 to 4
IN_TWO = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0], [2.0, 0.0], [1.0, 0.0]])  # two buckets: below 2.5, above
NUMERICAL = {"numerical_features": ["scores"]}
BUCKETS = NUMERICAL | {"discretization": {"scores": {"method": "ED", "bucket": 2}}}


@pytest.mark.parametrize(
    ("more", "field", "expected"),
    [
        ({}, "tags", REMAPPED),
        ({"normalize_all": True}, "scores", SHARES.tolist()),
        (NUMERICAL, "scores", torch.stack([SCORES, SCORES.sign()], dim=-1).tolist()),
        (BUCKETS, "scores", torch.stack([IN_TWO.sign(), IN_TWO], dim=-1).tolist()),
    ],
)
def test_sequence_lengths(people, more, field, expected):
    if SEQUENCE_LENGTHS.needed():
        with SEQUENCE_LENGTHS.off(), pytest.raises(ValueError, match="Length of values"):
            people(**more)
    assert column(people(**more), field) == expected


def test_sequence_lengths_of_histories_and_of_entities():
    lists = [np.array([1, 2]), np.array([3]), np.array([1, 2, 3])]

    def made():
        """The lengths of the histories of a file, and the ids of a history of entities after items are put first."""
        split = SimpleNamespace(inter_feat=pd.DataFrame({"item_id_list": lists}), config={"LIST_SUFFIX": "_list"},
                                item_id_list_field="item_id_list", item_list_length_field="item_length",
                                set_field_property=lambda *values: None)  # fmt: skip
        SequentialDataset._benchmark_presets(split)
        graph = SimpleNamespace(field2type={"heads": FeatureType.TOKEN_SEQ}, field2id_token={}, field2token_id={})
        graph.field2feats = lambda field: [frame]
        frame = pd.DataFrame({"heads": lists})
        KnowledgeBasedDataset._reset_ent_remapID(graph, "heads", np.array([0, 3, 2, 1]), [], {})
        return split.inter_feat["item_length"].tolist(), [part.tolist() for part in frame["heads"]]

    if SEQUENCE_LENGTHS.needed():
        with SEQUENCE_LENGTHS.off(), pytest.raises(ValueError, match="Length of values"):
            made()
    assert made() == ([2, 1, 3], [[3, 2], [1], [3, 2, 1]])


# -- missing values ------------------------------------------------------------------------------------------------

FILLED = {
    "city": [0, 1, 0, 2, 1],
    "age": [30.0, 20.0, 30.0, 40.0, 30.0],  # the mean of 20, 40 and 30
    "tags": REMAPPED,
    "scores": SCORES.tolist(),
}


def test_missing_values(people):
    if MISSING_VALUES.needed():
        with MISSING_VALUES.off(), pytest.warns(Warning, match="chained assignment"):
            bare = people()
        assert np.isnan(column(bare, "age")).tolist() == [True, False, True, False, False]
    dataset = people()
    assert {field: column(dataset, field) for field in FILLED} == FILLED


@pytest.mark.parametrize(
    ("kind", "values", "filled"),
    [
        (FeatureType.TOKEN, [2.0, np.nan, 1.0], [2, 0, 1]),
        (FeatureType.FLOAT, [2.0, np.nan, 1.0], [2.0, 1.5, 1.0]),
        (FeatureType.TOKEN_SEQ, [np.array([2]), np.nan, np.array([1, 2])], [[2], [], [1, 2]]),
        (FeatureType.FLOAT_SEQ, [np.array([0.5]), np.nan, np.array([])], [[0.5], [], []]),
    ],
)
@pytest.mark.filterwarnings("ignore:.*chained assignment")
def test_missing_values_of_each_type(kind, values, filled):
    frame = pd.DataFrame({"field": pd.Series(values)})
    dataset = SimpleNamespace(feat_name_list=["user_feat"], user_feat=frame, field2type={"field": kind},
                              logger=SimpleNamespace(debug=print))  # fmt: skip
    with MISSING_VALUES.off():
        Dataset._fill_nan(dataset)
    single = kind in (FeatureType.TOKEN, FeatureType.FLOAT)
    assert frame["field"].isna().any() == (single and MISSING_VALUES.needed())
    Dataset._fill_nan(dataset)
    assert [np.asarray(value).tolist() for value in frame["field"]] == filled
    if not single:
        assert frame["field"][1].dtype == (np.int64 if kind == FeatureType.TOKEN_SEQ else np.float64)


def test_writable_values(people):
    dataset, frame = people(), pd.DataFrame({"user_id": [1, 2]})

    def share_memory():
        users = dataset._dataframe_to_interaction(frame)["user_id"]
        assert users.tolist() == [1, 2]
        return np.shares_memory(users.numpy(), frame["user_id"].to_numpy())

    with WRITABLE_VALUES.off():
        assert share_memory()
    if WRITABLE_VALUES.needed():
        assert not share_memory()
