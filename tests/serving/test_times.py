"""Times of a request: what is checked, what becomes of them, and that recall reads them as training did."""

import json
import math
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving import batch, times
from recbole_mind.serving.bundle.bundle import Bundle
from recbole_mind.serving.recaller import Recaller
from recbole_mind.training import load
from tests.support.bundles import exported, reseal, trained
from tests.support.data import sequences
from tests.support.serving import running


def clocks(small):
    """Each user's items and their times in the file, oldest first."""
    rows = [line.split("\t") for line in (small / "small/small.inter").read_text().splitlines()[1:]]
    when = {(user, item): float(time) for user, item, time in rows}
    return {user: (items, [when[user, item] for item in items]) for user, items in sequences(small).items()}


@pytest.fixture(scope="module")
def uneven(small, tmp_path_factory):
    """The small data set with gaps that grow and differ between users."""
    folder = tmp_path_factory.mktemp("uneven")
    shutil.copytree(small / "small", folder / "small")
    path = folder / "small/small.inter"
    heading, *rows = [line.split("\t") for line in path.read_text().splitlines()]
    moved = [(user, item, int(time) + (int(time) % 100) ** (2 + int(time) // 100 % 3)) for user, item, time in rows]
    path.write_text("\n".join("\t".join(map(str, row)) for row in [heading, *moved]) + "\n")
    return folder


@pytest.fixture(scope="module")
def checkpoint(uneven, tmp_path_factory):
    settings = {"K": 3, "recency_gaps": True, "epochs": 4, "train_batch_size": 16, "user_features": []}
    return trained(tmp_path_factory.mktemp("trained"), uneven, "MIND", **settings)


@pytest.fixture(scope="module")
def folder(checkpoint, tmp_path_factory):
    return exported(checkpoint, tmp_path_factory.mktemp("b") / "bundle")


@pytest.fixture(scope="module")
def recaller(folder):
    return Recaller.load(folder, threads=1)


@pytest.fixture(scope="module")
def without(small, tmp_path_factory):
    found = trained(tmp_path_factory.mktemp("trained"), small, "MIND", K=3, user_features=[])
    return Recaller.load(exported(found, tmp_path_factory.mktemp("b") / "bundle"), threads=1)


def test_gaps_are_those_of_the_known_items_that_are_read():
    known = np.array([True, False, True, True, True])
    found = times.gaps(np.array([0.0, 3.0, 5.0, 6.0, 10.0]), known, 3, 20.0)
    np.testing.assert_array_equal(found, np.float32([[0.25, 0.2, 0]]))
    huge = times.gaps(np.array([-1e308, 0.0, 5.0, 6.0, 1e308]), known, 9, 20.0)
    assert huge.tolist() == [[1, 1, 1, 0]]
    assert times.gaps(None, known, 3, 20.0).tolist() == [[-1, -1, -1]]
    assert times.gaps(np.zeros(5), known, 3, None) is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([1, 2], "times: 2 for a history of 3"),
        ([1, 2, 3, 4], "times: 4 for a history of 3"),
        ("123", "times: str is not allowed"),
        (5, "times: int is not allowed"),
        ([1, None, 2], "times: None is not allowed"),
        ([1, True, 2], "times: True is not allowed"),
        ([1, "2", 3], "times: '2' is not allowed"),
        ([1, math.nan, 3], "times: nan is not allowed"),
        ([1, 2, math.inf], "times: inf is not allowed"),
        ([1, 2, 10**400], "times: a number is too large"),
        ([1, 3, 2], "times: place 3 lies before place 2"),
    ],
)
def test_what_is_no_time_is_refused(recaller, without, given, reason):
    for each in (recaller, without):
        with pytest.raises(InputError, match=reason):
            each.recall(["i1", "i3", "i5"], n=5, times=given)


def test_times_go_with_histories(recaller):
    with pytest.raises(InputError, match="times: 1 for 2 histories"):
        recaller.recall_batch([["i1"], ["i3"]], n=5, times=[[1.0]])


def test_what_is_recalled_is_what_the_model_says_of_the_same_times(checkpoint, recaller, uneven, monkeypatch):
    monkeypatch.chdir(uneven)
    loaded = load.load(checkpoint)
    model, dataset = loaded.model, loaded.dataset
    known, differ = clocks(uneven), 0
    users, items = dataset.field2id_token["user_id"], dataset.field2id_token["item_id"]
    assert float(model.time_gaps.span) == pytest.approx(
        max(when[-1] for _, when in known.values()) - min(when[0] for _, when in known.values()), rel=1e-12
    )
    for rows in loaded.test_data:
        vectors, active = model.interests(rows[0])
        for place, user in enumerate(rows[0]["user_id"].tolist()):
            length = int(rows[0]["item_length"][place])
            history = [str(items[item]) for item in rows[0]["item_id_list"][place, :length].tolist()]
            tokens, when = known[str(users[user])]
            when = [when[tokens.index(token)] for token in history]
            found = recaller.interests(["never seen", *history], times=[0.0, *when]).vectors
            expected = vectors[place][active[place]].numpy()
            np.testing.assert_allclose(found, expected, atol=2e-5)
            usual = recaller.interests(history).vectors
            differ += not np.allclose(usual, expected, atol=2e-5)
            assert (
                recaller.recall(history, n=5, times=when).items
                == recaller.recall(
                    history,
                    n=5,
                    times=[time + 1000 for time in when],  # no gap is another
                ).items
            )
    assert differ > 20  # that the usual times stand for all of them would be no test


def test_a_model_that_reads_no_times_says_the_same_with_them(without):
    history, when = ["i1", "i3", "i5"], [1.0, 2.0, 50.0]
    assert without.recall(history, n=9, times=when) == without.recall(history, n=9)


def test_a_file_of_histories_may_hold_times(recaller, folder, uneven, tmp_path):
    known = [(items, when if place % 3 else None) for place, (items, when) in enumerate(clocks(uneven).values())]
    table = {
        "user": [f"v{place}" for place in range(len(known))],
        "history": [items for items, _ in known],
        "times": [when for _, when in known],
    }
    pq.write_table(pa.table(table), tmp_path / "histories.parquet")
    batch.recall(folder, tmp_path / "histories.parquet", tmp_path / "lists.parquet", n=7, threads=1)
    found = [row["items"] for row in pq.read_table(tmp_path / "lists.parquet").to_pylist()]
    assert found == [recaller.recall(items, n=7, times=when).items for items, when in known]
    table["times"][4] = table["times"][4][:-1]
    pq.write_table(pa.table(table), tmp_path / "histories.parquet")
    with pytest.raises(InputError, match=r"row 5: times: \d+ for a history of"):
        batch.recall(folder, tmp_path / "histories.parquet", tmp_path / "other.parquet", n=7, threads=1)
    pq.write_table(pa.table(table | {"times": ["late"] * len(known)}), tmp_path / "histories.parquet")
    with pytest.raises(InputError, match="column 'times' is string; allowed: a list of numbers"):
        batch.recall(folder, tmp_path / "histories.parquet", tmp_path / "other.parquet", n=7, threads=1)


def test_the_service_takes_times_and_says_whether_it_reads_them(recaller, folder, uneven):
    items, when = next(iter(clocks(uneven).values()))
    with running(folder, {"max_history": 60}) as served:
        assert served.get("/version").json["times"] is True
        body = {"history": items, "times": when, "n": 9}
        assert served.post("/recall", body).json["items"] == recaller.recall(items, n=9, times=when).items
        vectors = served.post("/interests", {"history": items, "times": when}).json["vectors"]
        np.testing.assert_allclose(vectors, recaller.interests(items, times=when).vectors, atol=1e-6)
        long = {"history": ["i1"] * 60, "times": [1234567890.123456 + place for place in range(60)], "n": 3}
        assert served.post("/recall", long).status == 200
        for wrong, word in (([1.0], "for a history of"), (when[::-1], "lies before")):
            answer = served.post("/recall", body | {"times": wrong})
            assert (answer.status, answer.json["error"]["field"]) == (422, "times")
            assert word in answer.json["error"]["message"]
        for wrong in ([None] * len(items), ["1"] * len(items), 3, [True] * len(items)):
            assert served.post("/recall", body | {"times": wrong}).status == 422


@pytest.mark.parametrize("span", [None, 0, -1.0])
def test_a_bundle_without_the_span_of_its_times_is_refused(folder, tmp_path, span):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    content = json.loads((copy / "manifest.json").read_text())["preprocessing"]
    assert content["time_span"] > 0
    reseal(copy, preprocessing=content | {"time_span": span})
    with pytest.raises(InputError, match="time_span"):
        Bundle.load(copy)
