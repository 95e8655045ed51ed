"""A new bundle costs no request, and one that fails is not served."""

import json
import logging
import shutil
import threading
import time

import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving.http.hot_swap import Bundles
from recbole_mind.serving.http.metrics import ChannelMetrics
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.store.store import Store
from tests.support.questions import HISTORY, as_answer
from tests.support.serving import running
from tests.support.waiting import until


def test_twenty_swaps_cost_no_request(two_bundles, published):
    store, ids = published
    wanted = {}
    for name in ids:
        found = Recaller.load(store.version(name), threads=1)
        wanted[name] = as_answer(found.recall(HISTORY, n=20), name)
    assert wanted[ids[0]]["items"] != wanted[ids[1]]["items"]
    with running(store.folder, {"poll_seconds": 0.02}) as served:
        wrong, seen, stop = [], [], threading.Event()

        def ask():
            while not stop.is_set():
                answer = served.post("/recall", {"history": HISTORY, "n": 20})
                if answer.status != 200 or answer.json != wanted[answer.json["bundle"]]:
                    wrong.append((answer.status, answer.body))
                    return
                seen.append(answer.json["bundle"])

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for turn in range(20):
            store.rollback(ids[turn % 2])
            until(lambda turn=turn: served.get("/ready").json["bundle"] == ids[turn % 2])
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert set(seen) == set(ids)
        assert served.resent == 0
        assert served.figure('recbole_mind_swaps_total{result="done"}') == 20
        assert served.figure('recbole_mind_swaps_total{result="failed"}') == 0


def test_an_empty_store_is_waited_for(two_bundles, tmp_path):
    store = Store(tmp_path / "store")
    with pytest.raises(InputError, match="neither a bundle nor a store"):
        Bundles(tmp_path / "nowhere", ChannelMetrics())
    store.folder.mkdir()
    (store.folder / "manifest.json").write_text(json.dumps({"format": "recbole-mind store", "version": 1}))
    with running(store.folder) as served:
        assert served.get("/health").status == 200
        assert served.get("/ready").error == (503, "not_ready", None)
        assert served.post("/recall", {"history": []}).error == (503, "not_ready", None)
        assert served.get("/items").error == (503, "not_ready", None)
        assert served.get("/version").json["bundle"] is None
        store.publish(two_bundles[0], force="for a test")
        until(lambda: served.get("/ready").status == 200)
        assert served.post("/recall", {"history": []}).status == 200


def test_a_bundle_that_fails_leaves_the_old_one(published, caplog):
    store, ids = published
    caplog.set_level(logging.INFO, "recbole_mind")
    with running(store.folder) as served:
        path = store.version(ids[0]) / "counts.npy"
        whole = path.read_bytes()
        store.rollback(ids[0])
        until(lambda: served.get("/ready").json["bundle"] == ids[0])
        store.rollback(ids[1])
        until(lambda: served.get("/ready").json["bundle"] == ids[1])
        pointer = (store.folder / "current").read_text()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        (store.folder / "current").write_text(json.dumps({"id": ids[0], "event": 3}))
        until(lambda: served.figure('recbole_mind_swaps_total{result="failed"}') == 1)
        time.sleep(0.3)  # several looks
        assert served.figure('recbole_mind_swaps_total{result="failed"}') == 1
        assert served.get("/ready").json["bundle"] == ids[1]
        assert caplog.text.count("'counts.npy' was changed") == 1
        service = served.service.channels.bundles["default"]
        path.write_bytes(whole)
        service._again = 0.0  # a minute later it is tried again, whole
        until(lambda: served.get("/ready").json["bundle"] == ids[0])
        (store.folder / "current").write_text(pointer)
        until(lambda: served.get("/ready").json["bundle"] == ids[1])
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        (store.folder / "current").write_text("{")  # a damaged store
        until(lambda: "does not name a version" in caplog.text)
        assert served.post("/recall", {"history": HISTORY}).json["bundle"] == ids[1]
        path.write_bytes(whole)
        (store.folder / "current").write_text(json.dumps({"id": ids[0], "event": 5}))
        until(lambda: served.get("/ready").json["bundle"] == ids[0])
        (store.folder / "current").write_text(pointer)
        until(lambda: served.get("/ready").json["bundle"] == ids[1])


@pytest.mark.parametrize("fault", ["nothing", "nan"])
def test_a_bundle_that_does_not_recall_is_not_served(two_bundles, monkeypatch, fault):
    real = Recaller.recall

    def bad(self, *arguments, **options):
        found = real(self, *arguments, **options)
        return found._replace(items=[]) if fault == "nothing" else found._replace(scores=[float("nan")])

    monkeypatch.setattr(Recaller, "recall", bad)
    with pytest.raises(InputError, match="does not recall"):
        Bundles(two_bundles[0], ChannelMetrics())


def test_a_bundle_that_was_replaced_is_opened_when_told(two_bundles, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(two_bundles[0], folder)
    with running(folder) as served:
        first = served.get("/ready").json["bundle"]
        folder.rename(tmp_path / "old")
        shutil.copytree(two_bundles[1], folder)
        time.sleep(0.2)
        assert served.get("/ready").json["bundle"] == first
        served.service.channels.bundles["default"].reload()
        until(lambda: served.get("/ready").json["bundle"] != first)
        shutil.rmtree(folder)
        served.service.channels.bundles["default"].reload()
        until(lambda: served.figure('recbole_mind_swaps_total{result="failed"}') == 1)
        assert served.post("/recall", {"history": HISTORY}).status == 200
