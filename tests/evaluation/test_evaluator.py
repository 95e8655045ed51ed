"""Evaluation by search against RecBole's own: the same figures, or a refusal."""

from __future__ import annotations

import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_mind import InputError
from recbole_mind.config.keys import known_keys
from recbole_mind.evaluation import breakdown
from recbole_mind.evaluation.evaluator import metrics_of
from recbole_mind.evaluation.outcome import Outcome
from recbole_mind.retrieval.index import MultiVectorIndex
from recbole_mind.retrieval.types import Exclusions
from recbole_mind.training import build, describe, run
from tests.support.data import LEAVE_ONE_OUT, small_settings

BEYOND_ACCURACY = ["ItemCoverage", "AveragePopularity", "ShannonEntropy", "GiniIndex", "TailPercentage"]
METRICS = ["Recall", "MRR", "NDCG", "Hit", "MAP", "Precision", *BEYOND_ACCURACY]
TOPK = [1, 5, 10]


def trainer_of(name, data, dataset="small", **more):
    """A trainer with an untrained model, and the validation and test loaders."""
    known = known_keys(name)
    given = {key: value for key, value in data.items() if key in known} | more
    given = {"valid_metric": f"{given['metrics'][0]}@{given['topk'][0]}"} | {
        key: value for key, value in given.items() if key != "valid_metric" or key in more
    }
    config = build.build_config(name, dataset, overrides=given)
    _, train, valid, test = build.build_data(config)
    torch.manual_seed(0)
    model = build.build_model(config, train)
    with torch.no_grad():
        for parameter in model.parameters():  # far from a start at which everything is nearly equal
            parameter.add_(0.3 * torch.randn(parameter.shape))
    trainer = build.build_trainer(config, model)
    trainer.eval_collector.data_collect(train)
    return trainer, valid, test


def evaluation(trainer, loader, search):
    trainer.config["eval_search"] = search
    np.random.seed(0)  # RecBole draws candidates from it
    return trainer.evaluated(loader, load_best_model=False)


def figures(trainer, loader, search):
    return evaluation(trainer, loader, search).figures


@pytest.fixture
def settings(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return small_settings(small, metrics=METRICS, topk=TOPK, checkpoint_dir=str(tmp_path))


# -- the same figures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize(
    "name", ["MIND", "ComiRecSA", "ComiRecDR", "YouTubeDNN", "GRU4Rec", "SASRec", "NARM", "SHAN", "Caser", "NextItNet"]
)
def test_exact_search_gives_every_metric_of_recboles_evaluator(name, mask, settings):
    trainer, valid, test = trainer_of(name, settings, mask_history=mask)
    for loader in (valid, test):
        dense, exact = (evaluation(trainer, loader, search) for search in ("dense", "exact"))
        assert exact.figures == dense.figures == trainer.evaluate(loader, load_best_model=False)
        assert torch.equal(exact.topk, dense.topk)
        assert dense.outcome is None
        assert exact.outcome.search == {"factory": "exact", "parameters": {}}
        assert len(dense.figures) == len(METRICS) * len(TOPK)


@pytest.mark.parametrize("name", ["BPR", "LightGCN"])
def test_several_targets_a_row_and_used_items_give_the_same(name, settings):
    split = {"split": {"RS": [0.5, 0.2, 0.3]}, "order": "RO", "group_by": "user", "mode": "full"}
    trainer, valid, test = trainer_of(name, settings, eval_args=split)
    for loader in (valid, test):
        exact = evaluation(trainer, loader, "exact")
        assert exact.figures == figures(trainer, loader, "dense")
    assert exact.outcome.numbers().max() > 1
    assert exact.outcome.sample[2].ids.size > 0


@pytest.mark.parametrize("rows", [1, 7, 4096])
def test_the_grouping_of_batches_does_not_matter(rows, settings, monkeypatch):
    trainer, _, test = trainer_of("MIND", settings, mask_history=True, eval_batch_size=3)
    dense = figures(trainer, test, "dense")
    monkeypatch.setattr("recbole_mind.evaluation.evaluator.ROWS", rows)
    assert figures(trainer, test, "exact") == dense


def test_with_too_few_items_left_nothing_fills_the_list(settings):
    trainer, _, test = trainer_of("MIND", settings, topk=[45], metrics=["Recall", "Precision"], mask_history=True)
    result = evaluation(trainer, test, "exact")
    outcome = result.outcome
    short = (outcome.ids < 0).any(1)
    assert short.any()
    assert not outcome.hits()[outcome.ids < 0].any()
    assert result.figures["recall@45"] == pytest.approx(outcome.hits().any(1).mean(), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("mask", [True, False])
def test_a_trained_mind_on_ml_100k_gives_the_same_by_both_paths(mask, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = {"epochs": 1, "metrics": METRICS, "topk": [10, 50, 100], "mask_history": mask, "show_progress": False}
    result = run.run("MIND", "ml-100k", overrides=more | {"checkpoint_dir": str(tmp_path)})
    dense = run.evaluate(result.checkpoint, overrides={"eval_search": "dense"})
    # dense float32 scores may swap neighbours at the cut, which tells in what counts items, not in what counts hits
    of_items = ("popularity", "entropy", "gini", "coverage", "tail")
    for ours, theirs in ((result.test, dense.test), (result.valid, dense.valid)):
        for name, value in ours.items():
            near = any(word in name for word in of_items)
            assert value == (pytest.approx(theirs[name], rel=1e-4) if near else theirs[name])
    assert (dense.report, result.protocol["search"]["factory"]) == ({}, "exact")


# -- approximate search -------------------------------------------------------------------------------------------


def test_an_approximate_search_carries_its_recall(settings):
    trainer, _, test = trainer_of("MIND", settings)
    exact = figures(trainer, test, "exact")
    trainer.config["search_parameters"] = "nprobe=8"
    assert figures(trainer, test, "IVF8,Flat") == exact | {"search_recall@10": 1.0}
    trainer.config["search_parameters"] = {"nprobe": 1}
    result, found, _ = vars(evaluation(trainer, test, "IVF8,Flat")).values()
    assert 0 < result["search_recall@10"] < 1
    assert found.search == {
        "factory": "IVF8,Flat",
        "parameters": {"nprobe": 1},
        "recall@10": result["search_recall@10"],
        "users": 40,
    }
    truth = MultiVectorIndex.build(trainer.model.item_vectors().detach()[1:]).search(*found.sample[:2], 10).ids + 1
    by_hand = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.ids.tolist(), truth.tolist(), strict=True)])
    assert result["search_recall@10"] == pytest.approx(by_hand, abs=1e-4)


def test_the_recall_is_measured_on_a_sample(settings, monkeypatch):
    monkeypatch.setattr("recbole_mind.evaluation.evaluator.SAMPLE", 7)
    trainer, _, test = trainer_of("MIND", settings, eval_batch_size=3)
    monkeypatch.setattr("recbole_mind.evaluation.evaluator.ROWS", 4)
    outcome = evaluation(trainer, test, "IVF8,Flat").outcome
    assert outcome.search["users"] == 7
    every_sixth = [batch[0] for batch in test]
    interests = torch.cat([trainer.model.interests(batch)[0] for batch in every_sixth])[::6]
    assert np.array_equal(outcome.sample[0], interests.numpy())


# -- what a search cannot serve -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("MIND", {"eval_args": LEAVE_ONE_OUT | {"mode": "uni20"}}, "eval_args mode"),
        ("MIND", {"metrics": ["Recall", "GAUC"], "valid_metric": "Recall@5"}, "metric 'gauc'"),
        ("CORE", {}, "model 'CORE'"),
        ("NeuMF", {}, "model 'NeuMF'"),
        ("MIND", {"eval_args": LEAVE_ONE_OUT | {"mode": {"valid": "full", "test": "uni20"}}}, "eval_args mode"),
    ],
)
def test_what_a_search_cannot_serve_is_left_to_recbole_or_refused(name, more, says, settings):
    trainer, _, test = trainer_of(name, settings | {"metrics": ["Recall"]} | more)
    auto = evaluation(trainer, test, "auto")
    assert auto.outcome is None
    assert auto.figures == figures(trainer, test, "dense")
    with pytest.raises(InputError, match=f"^eval_search: 'exact' cannot serve {says}.*allowed: dense$"):
        figures(trainer, test, "exact")


def test_auto_leaves_recboles_models_alone_and_searches_for_ours(settings):
    for name, searched in (("GRU4Rec", False), ("YouTubeDNN", True)):
        trainer, _, test = trainer_of(name, settings)
        assert (evaluation(trainer, test, "auto").outcome is not None) is searched


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"eval_search": "FOO"}, "eval_search: 'FOO' is no index that FAISS makes: could not parse"),
        ({"eval_search": 3}, "eval_search: 3 is not allowed"),
        ({"eval_search": False}, "eval_search: False is not allowed"),
        ({"eval_search": ""}, "eval_search: '' is not allowed"),
        ({"eval_search": "HNSW1"}, "eval_search: 'HNSW1' is no index that FAISS makes"),
        ({"eval_search": "PQ4"}, "eval_search: 'PQ4' cannot be built of 50 items"),
        ({"eval_search": "IDMap,Flat"}, "eval_search: 'IDMap,Flat' is not taken, since it could not"),
        ({"eval_search": "IVF8,Flat", "search_parameters": {8: 3}}, "search_parameters: {8: 3} is not understood"),
        ({"eval_search": "IVF8,Flat", "search_parameters": "nprobe=3,nprobe=4"}, "is not understood"),
        ({"eval_search": "exact", "eval_args": LEAVE_ONE_OUT | {"mode": {"valid": "uni20", "test": "full"}}}, "uni20"),
        ({"eval_search": "IVF4096,Flat"}, "eval_search: 'IVF4096,Flat' needs 4096 items or more, not 50"),
        ({"eval_search": "IVF8,Flat", "search_parameters": "nprob=3"}, "did you mean 'nprobe'"),
        ({"eval_search": "IVF8,Flat", "search_parameters": "nprobe"}, "search_parameters: 'nprobe' is not understood"),
        ({"eval_search": "exact", "search_parameters": "nprobe=3"}, "allowed: none"),
        ({"search_parameters": "nprobe=3"}, "eval_search 'auto' has none"),
        ({"eval_search": "exact", "metrics": ["GAUC"], "valid_metric": "GAUC"}, "cannot serve metric 'gauc'"),
    ],
)
def test_a_bad_search_is_refused_before_training(more, says, settings, monkeypatch):
    monkeypatch.setattr("recbole_mind.training.trainer.SafeTrainer.fit", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(InputError) as error:
        run.run("MIND", "small", overrides=settings | more)
    assert says in str(error.value)


# -- evaluating again ---------------------------------------------------------------------------------------------


def test_a_saved_model_is_evaluated_again(settings, tmp_path):
    record = tmp_path / "again.json"
    trained = run.run("MIND", "small", overrides=settings)
    again = run.evaluate(trained.checkpoint, record=record)
    assert (again.test, again.valid, again.report) == (trained.test, trained.valid, trained.report)
    protocol = {key: value for key, value in trained.protocol.items() if key != "resumed"}
    assert again.protocol == protocol | {"evaluated": trained.checkpoint}
    masked = run.evaluate(trained.checkpoint, overrides={"mask_history": True, "eval_search": "dense"})
    assert masked.protocol["mask_history"]
    assert masked.test != trained.test
    assert masked.test == run.evaluate(trained.checkpoint, overrides={"mask_history": True}).test
    assert record.exists()
    with pytest.raises(InputError, match="unknown key 'eval_serch' for MIND; did you mean 'eval_search'"):
        run.evaluate(trained.checkpoint, overrides={"eval_serch": "exact"})


def test_the_search_of_a_saved_model_can_be_changed(settings, tmp_path):
    more = {"eval_search": "IVF8,Flat", "search_parameters": "nprobe=8"}
    trained = run.run("MIND", "small", overrides=settings | more)
    assert run.evaluate(trained.checkpoint).protocol["search"]["parameters"] == {"nprobe": 8}
    exact = run.evaluate(trained.checkpoint, overrides={"eval_search": "exact"})
    assert run.evaluate(trained.checkpoint, overrides={"eval_search": "dense"}).test == exact.test
    graph = run.evaluate(trained.checkpoint, overrides={"eval_search": "HNSW16"})
    assert graph.protocol["search"]["parameters"] == {"efSearch": 128}
    wide = {"topk": [20], "metrics": ["ItemCoverage", "Recall"], "checkpoint_dir": str(tmp_path / "elsewhere")}
    assert set(run.evaluate(trained.checkpoint, overrides=wide | {"eval_search": "exact"}).test) == {
        "itemcoverage@20",
        "recall@20",
    }


@pytest.mark.parametrize("ending", ["", ".json"])
def test_a_record_does_not_overwrite_the_checkpoint(ending, settings):
    trained = run.run("MIND", "small", overrides=settings)
    before = [Path(trained.checkpoint + part).read_bytes() for part in ("", ".json")]
    with pytest.raises(InputError, match="would overwrite the checkpoint"):
        run.evaluate(trained.checkpoint, record=trained.checkpoint + ending)
    assert before == [Path(trained.checkpoint + part).read_bytes() for part in ("", ".json")]


def test_the_index_of_unchanged_vectors_is_used_again(settings):
    trainer, valid, test = trainer_of("MIND", settings)
    indexes = []
    for loader in (valid, test, test):
        if len(indexes) == 2:
            trainer.model.item_encoder.embedding.weight.data.mul_(-1)
        indexes.append(evaluation(trainer, loader, "IVF8,Flat").outcome.index)
    assert indexes[0] is indexes[1] is not indexes[2]


@pytest.mark.parametrize("name", ["MIND", "GRU4Rec"])
def test_a_diverged_model_is_called_so(name, settings):
    trainer, _, test = trainer_of(name, settings)
    trainer.model.get_parameter("item_embedding.weight" if name == "GRU4Rec" else "item_encoder.embedding.weight").data[
        7
    ] = torch.nan
    with pytest.raises(InputError, match=f"model: '{name}' holds NaN or infinite values"):
        figures(trainer, test, "exact")


# -- the report ---------------------------------------------------------------------------------------------------


@pytest.fixture
def by_hand(settings):
    """Three users, two interests, items 1 to 4 in the plane, top 2; every figure can be worked out on paper."""
    trainer, _, _ = trainer_of("MIND", settings, metrics=["Recall", "MRR"], topk=[2], valid_metric="MRR@2")
    items = np.array([[1, 0], [0, 1], [0.9, 0], [0, 0.9]], np.float32)
    index = MultiVectorIndex.build(items)
    interests = np.array([[[1, 0], [0, 1]], [[1, 0], [0, 0]], [[1, 0], [1, 0]]], np.float32)
    active = np.array([[True, True], [True, False], [True, True]])
    none = np.zeros(0, np.int64)
    found = index.search(interests, active, 2)
    assert found.ids.tolist() == [[0, 1], [0, 2], [0, 2]]
    outcome = Outcome(
        ids=(found.ids + 1).astype(np.int32),
        interests=found.interests.astype(np.int32),
        active=active.sum(1),
        lengths=np.array([3, 5, 60]),
        rows=np.array([0, 1, 1, 2]),
        targets=np.array([2, 1, 4, 4]),
        places=np.array([1, 0, -1, -1]),
        search={"factory": "exact"},
        sample=(interests, active, Exclusions(none, none)),
        index=index,
    )
    return trainer, outcome


def test_the_report_agrees_with_paper_and_pencil(by_hand):
    trainer, outcome = by_hand
    assert outcome.hits().tolist() == [[False, True], [True, False], [False, False]]
    assert outcome.numbers().tolist() == [1, 2, 1]
    report = breakdown.report(trainer, outcome, popularity=np.array([0, 500, 7, 0, 3]))
    assert report == {
        "by_active_interests": [
            {"group": "1", "users": 1, "recall@2": 0.5, "mrr@2": 1.0},
            {"group": "2", "users": 2, "recall@2": 0.5, "mrr@2": 0.25},
        ],
        "by_history_length": [
            {"group": "1-5", "users": 2, "recall@2": 0.75, "mrr@2": 0.75},
            {"group": "51+", "users": 1, "recall@2": 0.0, "mrr@2": 0.0},
        ],
        "by_target_popularity": [
            {"group": "0-5", "users": 2, "targets": 2, "recall@2": 0.0, "mrr@2": 0.0},
            {"group": "6-20", "users": 1, "targets": 1, "recall@2": 1.0, "mrr@2": 0.5},
            {"group": "101+", "users": 1, "targets": 1, "recall@2": 1.0, "mrr@2": 1.0},
        ],
        "hits_by_interest": {"0": 0.5, "1": 0.5},
        # user 0: {1, 3} and {2, 4}; user 2: {1, 3} twice
        "lists": {"users": 2, "jaccard": 0.5, "distinct": 0.75},
    }


def test_exclusions_reach_the_lists_of_every_interest(by_hand):
    _, outcome = by_hand
    interests, active, _ = outcome.sample
    outcome = replace(outcome, sample=(interests, active, Exclusions(np.array([0, 0]), np.array([0, 3]))))
    # user 0 without 0 and 3: the lists are {2, 1} and {1, 2}; user 2 as before
    assert breakdown.list_overlap(outcome) == {"users": 2, "jaccard": 1.0, "distinct": 0.5}


def test_group_metrics_are_recboles(by_hand):
    trainer, outcome = by_hand
    assert metrics_of(trainer, outcome.hits(), outcome.numbers()) == {"recall@2": 0.5, "mrr@2": 0.5}


def test_a_model_with_one_vector_has_no_interests_to_report(settings):
    trainer, _, test = trainer_of("YouTubeDNN", settings, metrics=["Recall"])
    outcome = evaluation(trainer, test, "exact").outcome
    popularity = np.ones(51, int)
    assert set(breakdown.report(trainer, outcome, popularity)) == {
        "by_history_length",
        "by_target_popularity",
    }


def test_popularity_counts_every_training_interaction(settings, small):
    lines = (small / "small" / "small.inter").read_text().splitlines()[1:]
    trainer, _, _ = trainer_of("MIND", settings)
    config = trainer.config
    dataset, train, _, _ = build.build_data(config)
    counts = describe.popularity(train)
    by_user: dict[str, list[tuple[int, str]]] = {}
    for user, item, time in (line.split("\t") for line in lines):
        by_user.setdefault(user, []).append((int(time), item))
    kept = [item for rows in by_user.values() for _, item in sorted(rows)[:-2]]  # without validation and test
    assert counts.sum() == len(kept)
    for item in set(kept):
        assert counts[dataset.token2id(dataset.iid_field, item)] == kept.count(item)


def test_a_model_whose_products_are_not_its_scores_has_no_vectors():
    from recbole_mind.evaluation.vectors import SingleVector

    class Squared(types.SimpleNamespace):
        def forward(self, sequence, lengths):
            return torch.ones(len(sequence), 2)

        def full_sort_predict(self, interaction):
            return (torch.ones(3, 2) @ self.item_embedding.weight.T) ** 2

        def eval(self):
            return self

    model = Squared(
        ITEM_SEQ="seq",
        ITEM_SEQ_LEN="len",
        n_items=4,
        item_embedding=types.SimpleNamespace(weight=torch.full((4, 2), 3.0)),
    )

    class Batch(dict):
        def __len__(self):
            return 3

    assert not SingleVector(model).agrees(Batch(seq=torch.ones(3, 2), len=torch.ones(3)))
