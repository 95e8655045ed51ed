"""The exported ranker: what RecBole's DIN says in torch, and what is made to harm is refused."""

import shutil

import numpy as np
import onnx
import pytest
import torch

from recbole_mind.errors import InputError
from recbole_mind.ranking.run import load_ranker
from recbole_mind.serving.bundle import ranker as ranker_module
from recbole_mind.serving.bundle import sealed_folder
from recbole_mind.serving.bundle.bundle import Bundle
from recbole_mind.serving.bundle.ranker import Ranker
from recbole_mind.serving.store import gate, self_check
from recbole_mind.util.arrays import save_array
from tests.support.bundles import exported, ranked, reseal, trained


@pytest.fixture(scope="module")
def recall(small, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("trained"), small, "MIND", K=3)


@pytest.fixture(scope="module")
def second(recall):
    return ranked(recall)


@pytest.fixture(scope="module")
def folder(recall, second, tmp_path_factory):
    return exported(recall, tmp_path_factory.mktemp("b") / "bundle", ranker=second)


def test_probabilities_are_those_of_the_model(recall, second, folder):
    """For histories shorter and longer than the ranker reads, from one candidate to all."""
    ranker, bundle = load_ranker(second, recall), Bundle.load(folder)
    lists = ranker.test_lists()
    seen = set()
    for row in range(40):
        for many in (1, 5, 12):
            ids, scores, origins = (part[row, :many] for part in (lists.ids, lists.scores, lists.origins))
            batch = ranker.batches(lists).interaction(torch.full((many,), row), ids, scores, origins)
            with torch.no_grad():
                wanted = ranker.model.predict(batch).numpy()
            length = int(lists.lengths[row])
            history = lists.histories[row, :length].numpy() - 1
            earlier = np.concatenate([[0, 1, 2], history]) if length == 5 else history  # what is not read is no matter
            found = bundle.ranker.probabilities(earlier, ids.numpy() - 1, scores.numpy(), origins.numpy())
            np.testing.assert_allclose(found, wanted, atol=1e-5)
            seen.add(length)
    assert len(seen) > 1  # histories of several lengths


def test_many_candidates_are_ranked_in_parts(folder, monkeypatch):
    bundle = Bundle.load(folder)
    rows, scores, origins = np.arange(50), np.linspace(0, 1, 50, dtype=np.float32), np.arange(50) % 3
    whole = bundle.ranker.probabilities(np.array([3, 4]), rows, scores, origins)
    monkeypatch.setattr(ranker_module, "_NUMBERS", 1)
    np.testing.assert_allclose(bundle.ranker.probabilities(np.array([3, 4]), rows, scores, origins), whole, rtol=1e-6)


def test_a_ranker_that_does_not_fit_or_gives_no_numbers_is_refused_when_it_is_opened(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "bundle")
    path = tmp_path / "bundle/manifest.json"
    path.write_text(path.read_text().replace('"history": 5', '"history": 6'))
    reseal(tmp_path / "bundle")
    with pytest.raises(InputError, match=r"'ranker.onnx' fails"):
        Bundle.load(tmp_path / "bundle")
    shutil.copytree(folder, tmp_path / "other")
    graph = onnx.load(tmp_path / "other/ranker.onnx")
    weight = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.raw_data = np.full(len(weight.raw_data) // 4, np.nan, np.float32).tobytes()
    onnx.save(graph, tmp_path / "other/ranker.onnx")
    reseal(tmp_path / "other")
    with pytest.raises(InputError, match="gives values that are not finite"):
        Bundle.load(tmp_path / "other")


def test_the_gate_tries_the_ranker(folder, monkeypatch):
    assert self_check.self_checks(folder, gate.limits()).faults == ()
    monkeypatch.setattr(Ranker, "probabilities", lambda self, *_: np.full(len(_[1]), np.nan))
    assert "a recommendation gives" in self_check.self_checks(folder, gate.limits()).faults[0]


def test_nothing_to_rank_is_no_graphs_affair(folder):
    none = np.zeros(0)
    assert len(Bundle.load(folder).ranker.probabilities(np.array([1]), none.astype(int), none, none.astype(int))) == 0


def test_the_manifest_says_what_the_ranker_is(folder, second):
    part = Bundle.load(folder).manifest.ranker
    assert part.history == 5
    assert part.settings["embedding_size"] == 4
    assert {"ndcg@10", "recall_ndcg@10", "auc", "pcoc", "loss"} <= set(part.metrics)
    assert part.checkpoint == sealed_folder.sha256(second)


def test_a_ranker_of_another_recall_is_refused(recall, second, small, tmp_path_factory, tmp_path):
    other = trained(tmp_path_factory.mktemp("other"), small, "MIND", K=3, seed=7)
    with pytest.raises(InputError, match="was trained on another recall"):
        exported(other, tmp_path / "bundle", ranker=second)
    assert not (tmp_path / "bundle").exists()
    with pytest.raises(InputError, match="is of no ranker"):
        exported(recall, tmp_path / "bundle", ranker=recall)


def test_parts_of_two_trainings_are_refused_in_a_folder_too(recall, folder, small, tmp_path_factory, tmp_path):
    other = trained(tmp_path_factory.mktemp("other"), small, "MIND", K=3, seed=7)
    mixed = exported(other, tmp_path / "bundle", ranker=ranked(other))
    shutil.copy(folder / "ranker.onnx", mixed / "ranker.onnx")
    reseal(mixed)
    with pytest.raises(InputError, match="ranker and recall are of two trainings"):
        Bundle.load(mixed)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("items.npy", lambda array: array[:-1], "holds float32"),
        ("items.npy", lambda array: array[:, :-1], "holds float32"),
        (
            "items.npy",
            lambda array: np.where(array == array[3, 1], np.nan, array).astype(np.float32),
            "NaN or infinite",
        ),
        ("popularity.npy", lambda array: array.astype(np.float64), "holds float64"),
        ("popularity.npy", lambda array: array / np.float32(0), "NaN or infinite"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_other_arrays_are_refused(folder, tmp_path, name, change, reason):
    shutil.copytree(folder, tmp_path / "bundle")
    path = tmp_path / "bundle/ranker" / name
    save_array(path, change(np.load(path)))
    reseal(tmp_path / "bundle")
    with pytest.raises(InputError, match=reason):
        Bundle.load(tmp_path / "bundle")


def test_another_graph_in_its_place_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "bundle")
    shutil.copy(folder / "encoder.onnx", tmp_path / "bundle/ranker.onnx")
    reseal(tmp_path / "bundle")
    with pytest.raises(InputError, match="it is not a ranker of ours"):
        Bundle.load(tmp_path / "bundle")


def test_a_bundle_without_one_says_how_to_get_it(recall, tmp_path):
    bundle = Bundle.load(exported(recall, tmp_path / "bundle"))
    assert not bundle.ranks
    with pytest.raises(InputError, match="has no ranker; recbole-mind export --ranker"):
        _ = bundle.ranker
