"""RecBole's case study, without its patch and with it."""

from __future__ import annotations

import pytest
import torch

from recbole_mind.plugin.patches.case_study import CASE_STUDY
from recbole_mind.training import build
from tests.support.data import LEAVE_ONE_OUT, sequences, small_settings


def case_study(model, folder, **more):
    """RecBole's case study of some users of the small data set: (loader, model, users, scores)."""
    from recbole.utils import case_study

    overrides = small_settings(folder, **more)
    for key in () if model == "MIND" else ("embedding_size", "relu_layers"):
        overrides.pop(key)
    config = build.build_config(model, "small", overrides=overrides)
    dataset, train, _, test = build.build_data(config)
    torch.manual_seed(0)
    network = build.build_model(config, train)
    users = dataset.token2id("user_id", ["u3", "u0", "u7"])
    scores = case_study.full_sort_scores(users, network, test)
    assert torch.equal(case_study.full_sort_topk(users, network, test, 5)[1], torch.topk(scores, 5)[1])
    return dataset, network, users, scores


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("model", ["MIND", "SASRec"])
@pytest.mark.parametrize("asked", [True, False, None])
def test_a_case_study_honours_mask_history(small, model, asked, lazy):
    """As the evaluation: all that the user did before, but not the target."""
    true = sequences(small)
    more = {"mask_history": asked, "lazy_sequences": lazy, "MAX_ITEM_LIST_LENGTH": 3}
    dataset, _, users, scores = case_study(model, small, **more)
    for user, row in zip(users, scores, strict=True):
        out = {dataset.id2token("item_id", int(item)) for item in (row == -torch.inf).nonzero()[1:]}
        assert out == (set(true[dataset.id2token("user_id", int(user))][:-1]) if asked else set())
        assert row[0] == -torch.inf


@pytest.mark.parametrize("asked", [True, False, None])
def test_a_case_study_of_a_model_without_a_sequence_honours_mask_history(small, asked):
    true = sequences(small)
    dataset, _, users, scores = case_study("BPR", small, mask_history=asked, eval_args=LEAVE_ONE_OUT)
    for user, row in zip(users, scores, strict=True):
        out = {dataset.id2token("item_id", int(item)) for item in (row == -torch.inf).nonzero()[1:]}
        assert out == (set() if asked is False else set(true[dataset.id2token("user_id", int(user))][:-1]))


def test_case_study(small):
    """Without the patch a masked model's history is recommended, whose scores are finite."""
    from recbole.utils import case_study as study  # noqa: F401 - after which the patch is applied

    kept_out = {}
    with CASE_STUDY.off():
        kept_out[False] = case_study("MIND", small, mask_history=True)[-1] == -torch.inf
    kept_out[True] = case_study("MIND", small, mask_history=True)[-1] == -torch.inf
    assert kept_out[False].sum(1).tolist() == [1, 1, 1]  # the padding item
    assert (kept_out[True].sum(1) > 4).all()
