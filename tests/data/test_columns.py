"""Which columns are read."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_mind import InputError
from recbole_mind.training import build, run
from tests.support.rows import rows, targets, write_rows
from tests.support.shop import AUC, LABELED, given

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


def test_a_column_that_load_col_names_and_the_file_lacks_is_refused(tmp_path):
    write_rows(tmp_path, rows())
    with pytest.raises(InputError, match=r"load_col: 'item_idd' is no column of '.*a\.inter'; did you mean 'item_id'"):
        targets(tmp_path, load_col={"inter": ["user_id", "item_id", "item_idd", "timestamp"]})
