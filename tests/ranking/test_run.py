"""A ranker trained, stopped and gone on with, opened again, and refused where it does not belong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from recbole_mind.errors import InputError, InterruptedRun
from recbole_mind.ranking.run import load_ranker, rank
from tests.support.bundles import trained
from tests.support.data import write_small

GIVEN = {
    "history": 5, "embedding_size": 4, "mlp_hidden_size": [8, 4], "candidates": 12, "num_negatives": 4, "epochs": 3,
    "stopping_step": 9, "train_batch_size": 16, "learning_rate": 0.01, "checkpoint_dir": "saved",
}  # fmt: skip


def test_a_ranker_learns_and_is_the_same_for_a_seed(recall):
    result, ranker = rank(recall, GIVEN, record="record.json")
    again, _ = rank(recall, GIVEN)
    assert result.valid == again.valid
    assert result.test == again.test
    assert rank(recall, GIVEN, seed=5)[0].valid != result.valid
    assert json.loads(Path("record.json").read_text())["test"] == result.test
    opened = load_ranker(result.checkpoint, recall)
    assert opened.valid == result.valid
    assert opened.judged(opened.test_lists()).figures() == result.test
    assert ranker.model.weight.item() != 1  # it was trained


@pytest.mark.parametrize(
    "change", [{"learn_from": "training", "lists": 60}, {"negatives": "uniform"}, {"start_from_recall": False}]
)
def test_each_choice_makes_a_difference(recall, change):
    assert rank(recall, GIVEN | change)[0].valid != rank(recall, GIVEN)[0].valid


def test_a_stopped_training_goes_on_to_the_same_numbers(recall, monkeypatch):
    whole, _ = rank(recall, GIVEN)
    calculate, calls = torch.nn.BCEWithLogitsLoss.forward, []

    def stops(self, *args):
        calls.append(None)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return calculate(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(torch.nn.BCEWithLogitsLoss, "forward", stops)
        with pytest.raises(InterruptedRun, match=r"--resume=.* goes on") as stopped:
            rank(recall, GIVEN)
    path = str(stopped.value).split("--resume=")[-1].split(" ")[0]
    resumed, _ = rank(recall, GIVEN, resume=path)
    assert resumed.test == whole.test
    with pytest.raises(InputError, match="learning_rate"):
        rank(recall, GIVEN | {"learning_rate": 0.5}, resume=path)


def test_what_does_not_belong_is_refused(recall, tmp_path_factory, small):
    result, _ = rank(recall, GIVEN | {"epochs": 1})
    other = trained(tmp_path_factory.mktemp("other"), small, "MIND", K=2)
    with pytest.raises(InputError, match="was trained on another recall"):
        load_ranker(result.checkpoint, other)
    with pytest.raises(InputError, match="is of no ranker"):
        load_ranker(recall, recall)
    with pytest.raises(InputError, match="history: 500 is not allowed; allowed: at most"):
        rank(recall, GIVEN | {"history": 500})
    with pytest.raises(InputError, match="embedding_size: 999"):
        rank(recall, GIVEN | {"embedding_size": 999})
    with pytest.raises(InputError, match="too few to learn from"):
        rank(recall, GIVEN | {"candidates": 2, "lists": 2, "held_out": 0.5, "learn_from": "training"})
    with pytest.raises(InputError, match="GRU4Rec"):
        rank(trained(tmp_path_factory.mktemp("gru"), small, "GRU4Rec", item_features=None, user_features=None), GIVEN)


def test_fewer_candidates_than_the_lists_are_judged_by_will_do(recall):
    result, _ = rank(recall, GIVEN | {"candidates": 5, "epochs": 1})
    assert 0 < result.test["ndcg@10"] < 1
    assert result.test["recall@10"] == result.test["recall@50"]


def test_a_batch_of_one_click_without_a_negative_is_trained_on(recall):
    given = {"candidates": 3, "num_negatives": 1, "train_batch_size": 1, "epochs": 1, "learn_from": "training"}
    assert rank(recall, GIVEN | given)[0].positives > 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}, "load_col: it is no setting of a ranker"),
        ({"topk": [5]}, "topk: it is no setting of a ranker"),
        ({"epochz": 5}, "did you mean 'epochs'"),
        ({"learning_rate": 1e9}, "from 0 to 10"),
    ],
)
def test_what_would_be_ignored_is_refused(recall, given, words):
    with pytest.raises(InputError, match=words):
        rank(recall, GIVEN | given)


def test_a_recall_that_is_judged_by_samples_is_refused(tmp_path_factory, small):
    split = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "uni20"}
    sampled = trained(tmp_path_factory.mktemp("sampled"), small, "YouTubeDNN", eval_args=split)
    with pytest.raises(InputError, match=r"eval_args: recall .* is judged by sampled candidates"):
        rank(sampled, GIVEN)


def test_a_ranker_goes_on_with_the_lists_that_it_began_with(recall):
    result, _ = rank(recall, GIVEN | {"epochs": 1})
    with pytest.raises(InputError, match=r"mask_history: ranker .* was trained with False, not True"):
        rank(recall, GIVEN | {"epochs": 1, "mask_history": True}, resume=result.checkpoint)
    with pytest.raises(InputError, match="does not exist"):
        load_ranker(result.checkpoint, "gone.pth")


def test_values_in_another_order_are_refused(tmp_path_factory):
    """DIN reads features that recall does not; their numbers are rows of its tables."""
    data = write_small(tmp_path_factory.mktemp("data"))
    path = trained(tmp_path_factory.mktemp("plain"), data, "MIND", item_features=[])
    result, _ = rank(path, GIVEN | {"epochs": 1})
    file = data / "small/small.item"
    head, *lines = file.read_text().splitlines()
    file.write_text("\n".join([head, *reversed(lines)]) + "\n")
    with pytest.raises(InputError, match="has other values or another order now"):
        load_ranker(result.checkpoint, path)
