"""Recall by lists of similar items: scores as loops have them, and all that stands around a recall."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_mind.cli.main import main
from recbole_mind.errors import InputError
from recbole_mind.retrieval.index import MultiVectorIndex
from recbole_mind.serving import milvus
from recbole_mind.serving.bundle.bundle import Bundle
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.store import gate, self_check
from recbole_mind.serving.store.store import Store
from recbole_mind.util.arrays import save_array
from tests.support.bundles import exported, reseal, trained_classic
from tests.support.serving import running


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    return exported(trained_classic(folder, small, "ItemKNN", k=8), folder / "bundle")


@pytest.fixture(scope="module")
def recaller(folder):
    return Recaller.load(folder)


@pytest.fixture(scope="module")
def items(recaller):
    return recaller.bundle.item_tokens.tokens(np.arange(len(recaller.bundle.item_tokens)))


def by_loops(bundle, history):
    """The score of each item for a history of rows."""
    starts, items, weights = bundle.lists
    scores = np.zeros(len(bundle.item_tokens))
    for row in history:
        for place in range(starts[row], starts[row + 1]):
            scores[items[place]] += weights[place]
    return scores


@pytest.mark.parametrize("seed", range(8))
def test_scores_are_those_of_loops(recaller, items, seed):
    random, bundle = np.random.default_rng(seed), recaller.bundle
    history = random.integers(0, len(items), int(random.integers(1, 12)))  # with repeats, which count
    allowed = random.choice(len(items), (5, 30)[seed % 2], replace=False)
    denied = random.choice(len(items), 4, replace=False)
    for pool, out, seen in [(None, [], False), (None, denied, True), (allowed, denied, True), (allowed, [], False)]:
        scores = by_loops(bundle, history)
        may = np.zeros(len(items), bool)
        may[np.arange(len(items)) if pool is None else pool] = True
        may[list(out) + (list(history) if seen else [])] = False
        found = recaller.recall(
            [items[row] for row in history],
            n=12,
            exclude_seen=seen,
            allowed=None if pool is None else [items[row] for row in pool],
            denied=[items[row] for row in out],
        )
        order = sorted(np.flatnonzero(may), key=lambda row: (-np.float32(scores[row]), -bundle.counts[row], row))[:12]
        rows = bundle.item_tokens.ids(found.items)
        np.testing.assert_allclose(found.scores, scores[rows], rtol=1e-6)
        np.testing.assert_allclose(found.scores, scores[order], rtol=1e-6)
        zero = scores[rows] == 0
        assert rows[zero].tolist() == [row for row in order if scores[row] == 0]  # the popular ones first
        assert found.interests == np.where(zero, -1, 0).tolist()
        assert found.fallback is None


def test_equal_scores_go_by_the_lower_row(recaller, items):
    history = [items[0]]
    found = recaller.recall(history, n=len(items))
    rows, scores = recaller.bundle.item_tokens.ids(found.items), np.array(found.scores)
    pairs = [(left, right) for left, right, a, b in zip(rows, rows[1:], scores, scores[1:]) if a == b > 0]  # noqa: B905
    assert pairs
    assert all(left < right for left, right in pairs)
    for n in range(1, 12):
        assert recaller.recall(history, n=n).items == found.items[:n]


def test_a_batch_has_the_answers_of_its_requests(recaller, items):
    histories = [[items[1], items[2]], [], [items[5]], ["nobody knows it"], items[:20]]
    alone = [recaller.recall(history, n=9) for history in histories]
    assert recaller.recall_batch(histories, n=9) == alone
    assert [found.fallback for found in alone] == [None, "empty history", None, "unknown items", None]
    assert alone[1].scores == sorted(recaller.bundle.counts.tolist(), reverse=True)[:9]


def test_a_standing_pool_holds_and_the_funnel_counts(folder, items):
    recaller, funnel = Recaller.load(folder), []
    recaller.set_pool(items[:30], items[3:6])
    found = recaller.recall([items[1], items[40]], n=5, denied=[items[2]], funnel=funnel)
    assert len(found.items) == 5
    assert set(found.items) <= {*items[:3], *items[6:30]} - {items[1], items[2]}
    assert funnel == [(50, 27, 26, 25, 5)]
    with pytest.raises(InputError, match="this pool is of another bundle"):
        Recaller.load(folder).recall([items[1]], allowed=recaller.standing)


def test_what_makes_no_sense_is_one_line(recaller, folder):
    with pytest.raises(InputError, match="per_interest: this bundle is of ItemKNN, which has no interests"):
        recaller.recall(["1"], per_interest=True)
    with pytest.raises(InputError, match="history: this bundle is of ItemKNN, which has no interests"):
        recaller.interests(["1"])
    for ask in (
        lambda: recaller.index,
        lambda: milvus.load(recaller.bundle, "http://localhost:1"),
        lambda: Recaller(recaller.bundle, MultiVectorIndex.build(np.eye(4, dtype=np.float32), device="cpu")),
    ):
        with pytest.raises(InputError, match=r"bundle '.*' is of ItemKNN, which has no item vectors"):
            ask()
    with pytest.raises(InputError, match="has no encoder"):
        _ = recaller.bundle.encoder


def test_recall_for_everybody_is_that_of_a_request(recaller, folder, items, tmp_path, capsys):
    histories = {"user": ["a", "b", "c"], "history": [items[:3], [], items[7:8]]}
    pq.write_table(pa.table(histories), tmp_path / "users.parquet")
    assert main(["recall", str(folder), "--histories=users.parquet", "-o", "u2i.parquet", "--n=7"]) == 0
    assert "3 users" in capsys.readouterr().out
    for row, history in zip(pq.read_table("u2i.parquet").to_pylist(), histories["history"], strict=True):
        one = recaller.recall(history, n=7)
        assert (row["items"], row["interests"], row["fallback"]) == (one.items, one.interests, one.fallback)
        np.testing.assert_allclose(row["scores"], one.scores, rtol=1e-7)


def test_the_gate_tries_it_and_a_store_keeps_it(folder, tmp_path, capsys):
    assert main(["publish", str(folder), "store"]) == 0
    capsys.readouterr()
    current = Store("store").current()
    assert Bundle.load(current).manifest.kind == "item-to-item"
    assert self_check.tried(folder, gate.limits()) == gate.Checked((), (), {"index_recall": 1.0})


@pytest.mark.parametrize("name", ["lists/weights.npy", "lists/items.npy", "lists/starts.npy"])
def test_the_gate_blocks_lists_that_are_none(folder, tmp_path, capsys, name):
    shutil.copytree(folder, tmp_path / "bundle")
    array = np.load(tmp_path / "bundle" / name)
    save_array(tmp_path / "bundle" / name, (array[::-1] * np.float32(-1)).astype(array.dtype))
    reseal(tmp_path / "bundle")
    assert main(["publish", "bundle", "store"]) == 1
    said = capsys.readouterr()
    assert f"'{name}'" in said.out + said.err


def test_a_service_recalls_and_refuses_interests(folder, recaller, items):
    with running(folder) as served:
        question = {"history": items[:4], "n": 6}
        said, wanted = served.post("/recall", question), recaller.recall(items[:4], n=6)
        assert said.status == 200
        assert (said.json["items"], said.json["scores"]) == (wanted.items, wanted.scores)
        version = served.get("/version").json
        assert (version["model"], version["interests"], version["max_history"]) == ("ItemKNN", 0, None)
        refused = served.post("/interests", {"history": items[:4]})
        assert refused.error == (422, "invalid", "history")
        assert "has no interests" in json.loads(refused.body)["error"]["message"]
        assert served.post("/recall", question | {"per_interest": True}).error == (422, "invalid", "per_interest")
        assert served.post("/recall", {"history": []}).json["fallback"] == "empty history"
