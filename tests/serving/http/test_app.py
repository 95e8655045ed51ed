"""The service: what it answers, what it refuses, and that a new bundle costs no request."""

import importlib.resources
import itertools
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from recbole_mind.cli import serve
from recbole_mind.config import loading
from recbole_mind.errors import InputError
from recbole_mind.serving.bundle.token_index import Tokens
from recbole_mind.serving.http.app import OPEN
from recbole_mind.serving.http.hot_swap import Bundles
from recbole_mind.serving.http.metrics import Metrics
from recbole_mind.serving.http.schema import InterestsAnswer, Limits, RecallAnswer, limits
from recbole_mind.serving.http.server import open_door
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.store.store import Store
from tests.support.bundles import reseal
from tests.support.pages import Page
from tests.support.serving import JSON, running, until

HISTORY = ["i1", "i3", "i5", "i8", "i9", "i11", "i14", "i15"]
KEY = "a-key-of-our-own"


@pytest.fixture(scope="module")
def served(two_bundles, tmp_path_factory):
    names = tmp_path_factory.mktemp("names") / "names.tsv"
    names.write_text("i1\tThe first one\ni2\tAnother One\tmore\r\n\ni40\t\n")
    given = {"max_history": 60, "max_n": 50, "max_tokens": 40, "max_token": 20, "max_body": 4000, "body_seconds": 2}
    with running(two_bundles[0], given, names=names) as service:
        yield service


@pytest.fixture(scope="module")
def recaller(two_bundles):
    return Recaller.load(two_bundles[0], threads=1)


def as_answer(found, bundle, names=None):
    lists = [{"items": each.items, "scores": each.scores, "names": None} for each in found.by_interest]
    return found._asdict() | {
        "unknown_profile": list(found.unknown_profile),
        "by_interest": lists or None,
        "names": names,
        "bundle": bundle,
    }


# -- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "question",
    [
        {"history": HISTORY, "n": 20},
        {"history": [*HISTORY, "x"], "n": 7, "exclude_seen": False, "profile": {"job": "j1", "age": "7"}},
        {"history": HISTORY, "n": 50, "allowed": ["i2", "i3", "i4", "y"], "denied": ["i4"], "per_interest": True},
        {"history": HISTORY, "n": 10, "diversity": 0.5, "category": "tags", "profile": {"user_id": "u3", "job": None}},
        {"history": [], "n": 5},
        {"history": ["x", "y"], "n": 5, "denied": ["i1"]},
        {"history": HISTORY, "n": 5, "allowed": []},
    ],
)
def test_recall_is_the_recallers(served, recaller, question):
    answer = served.post("/recall", question)
    assert answer.status == 200
    assert answer.json == as_answer(recaller.recall(**question), recaller.bundle_id)
    RecallAnswer.model_validate(answer.json)


def test_as_many_are_recalled_as_the_service_says(served):
    body = served.get("/openapi.json").json["paths"]["/recall"]["post"]["requestBody"]
    fields = body["content"]["application/json"]["schema"]["properties"]
    assert fields["n"]["maximum"] == fields["n"]["default"] == 50
    assert fields["history"]["maxItems"] == 60
    assert len(served.post("/recall", {"history": HISTORY}).json["items"]) == 50 - len(HISTORY)


def test_interests_are_the_recallers(served, recaller):
    answer = served.post("/interests", {"history": ["x", *HISTORY], "profile": {"job": "j1", "b": "c"}, "names": True})
    found = recaller.interests(["x", *HISTORY], {"job": "j1", "b": "c"})
    assert answer.json == {
        "vectors": found.vectors.tolist(),
        "behaviors": HISTORY,
        "weights": found.weights.tolist(),
        "unknown": 1,
        "unknown_profile": ["b"],
        "names": ["The first one", *[None] * 7],
        "bundle": recaller.bundle_id,
    }
    InterestsAnswer.model_validate(answer.json)
    assert served.post("/interests", {"history": []}).json["vectors"] == []


def test_names_come_beside_the_items(served):
    answer = served.post("/recall", {"history": ["i3"], "n": 50, "names": True, "per_interest": True}).json
    named = dict(zip(answer["items"], answer["names"], strict=True))
    assert named["i1"] == "The first one"
    assert named["i2"] == "Another One"
    assert named["i7"] is None
    for each in answer["by_interest"]:
        assert each["names"] == [named[token] for token in each["items"]]


def test_items_are_found_by_token_and_name(served, recaller):
    def found(query):
        return [item["token"] for item in served.get(f"/items?{query}").json["items"]]

    popular = recaller.bundle.item_tokens.tokens(recaller.bundle.popularity)
    counts = recaller.bundle.counts[recaller.bundle.popularity].tolist()
    assert found("limit=50") == popular
    assert [item["count"] for item in served.get("/items?limit=50").json["items"]] == counts
    assert found("q=i4")[0] == "i4"  # the very token, then the popular ones that begin so
    assert found("q=i4")[1:] == [token for token in popular if token.startswith("i4") and token != "i4"]
    assert set(found("q=ONE")) == {"i1", "i2"}
    assert found("q=irst%20o") == ["i1"]
    assert found("q=5%0Ai") == found("q=nothing") == []
    assert found("q=i&limit=3") == popular[:3]
    assert served.get("/items?limit=101").error == (422, "invalid", "limit")
    assert served.get("/items?q=" + "x" * 21).error == (422, "invalid", "q")
    asked = served.get("/openapi.json").json["paths"]["/items"]["get"]["parameters"]
    assert {each["name"]: each["schema"].get("maxLength") for each in asked} == {"q": 20, "limit": None}
    assert served.get("/items?p=1").error == (422, "invalid", "p")


def test_the_service_says_how_it_is(served, recaller):
    assert served.get("/health").json["status"] == "ok"
    assert served.get("/ready").json == {"status": "ready", "bundle": recaller.bundle_id}
    found = served.get("/version").json
    assert found["bundle"] == recaller.bundle_id
    assert (found["model"], found["dataset"], found["items"], found["max_history"]) == ("MIND", "small", 50, 10)


def test_what_happens_is_counted(two_bundles):
    with running(two_bundles[0]) as served:
        for history in (HISTORY, [*HISTORY, "x"], [], ["x", "y"]):
            served.post("/recall", {"history": history, "n": 5})
        served.post("/recall", {"history": HISTORY, "allowed": ["i1", "x", "y"], "denied": ["i1", "z"]})
        served.post("/recall", {"history": 3})
        served.get("/a/b")
        wanted = {
            'requests_total{path="/recall",status="200"}': 5,
            'requests_total{path="/recall",status="422"}': 1,
            'requests_total{path="other",status="404"}': 1,
            'request_seconds_count{path="/recall"}': 6,
            "recalls_total": 5,
            "empty_recalls_total": 1,
            'fallbacks_total{reason="empty history"}': 1,
            'fallbacks_total{reason="unknown items"}': 1,
            'candidates_bucket{le="0.0"}': 1,
            "candidates_sum": 20,
            "history_items_total": 8 + 9 + 2 + 8,
            "unknown_items_total": 3,
            'unknown_listed_items_total{list="allowed"}': 2,
            'unknown_listed_items_total{list="denied"}': 1,
            "catalogue_items": 50,
            "pool_items": 50,
            "running": 0,
            'swaps_total{result="done"}': 0,
        }
        assert {name: served.figure(f"recbole_mind_{name}") for name in wanted} == wanted
        steps = ("proposed", "after_pool", "after_seen", "after_denied", "returned")
        left = [served.figure(f'recbole_mind_funnel_items_total{{stage="{step}"}}') for step in steps]
        assert left == [5 * 50, 4 * 50 + 1, 2 * (50 - 8) + 2 * 50, 2 * (50 - 8) + 2 * 50, 20]
        text = served.get("/metrics").body.decode()
        assert re.search(r'recbole_mind_bundle_info\{.*id="[0-9a-f]{64}".*model="MIND".*\} 1\.0', text)


# -- refusals --------------------------------------------------------------------------------------------------------

LONG = "y" * 21
NOT_JSON = [
    b"",
    b"{",
    b'{"history": [NaN]}',
    b'{"history": ["i1"], "diversity": Infinity}',
    b'{"history": ["i1"], "diversity": -Infinity}',
    b'{"history": ["\xff"]}',
    b'{"history": ["\\ud800"]}',
    b'{"\\uDFFF": []}',
    b'\xef\xbb\xbf{"history": []}',
    '{"history": []}'.encode("utf-16"),
    b'{"history": [], "history": ["i1"]}',
    b'{"history": [], "profile": {"job": "j1", "job": "j2"}}',
    b"[" * 3000,
    b"[" * 1500 + b"]" * 1500,
    b'{"a":' * 500,
    b'{"history": [], "n": ' + b"9" * 3900 + b".5e5}",
    b"{'history': []}",
    b'{"history": [],}',
]
NOT_ALLOWED = [
    ({}, "history"),
    ([], None),
    (None, None),
    ("history", None),
    (7, None),
    ({"history": None}, "history"),
    ({"history": "i1"}, "history"),
    ({"history": {"i1": 1}}, "history"),
    ({"history": ["i1", 2]}, "history.1"),
    ({"history": ["i1", ["i2"]]}, "history.1"),
    ({"history": ["i1"] * 61}, "history"),
    ({"history": ["i1", LONG]}, "history.1"),
    ({"history": [], "n": 0}, "n"),
    ({"history": [], "n": -1}, "n"),
    ({"history": [], "n": 51}, "n"),
    ({"history": [], "n": 10**30}, "n"),
    ({"history": [], "n": 2.5}, "n"),
    ({"history": [], "n": "5"}, "n"),
    ({"history": [], "n": True}, "n"),
    ({"history": [], "n": None}, "n"),
    ({"history": [], "exclude_seen": 1}, "exclude_seen"),
    ({"history": [], "per_interest": "yes"}, "per_interest"),
    ({"history": [], "allowed": ["i1"] * 41}, "allowed"),
    ({"history": [], "allowed": "i1"}, "allowed"),
    ({"history": [], "denied": [LONG]}, "denied.0"),
    ({"history": [], "denied": [None]}, "denied.0"),
    ({"history": [], "profile": ["j1"]}, "profile"),
    ({"history": [], "profile": {"job": 1}}, "profile.job"),
    ({"history": [], "profile": {"job": {"a": "b"}}}, "profile.job"),
    ({"history": [], "profile": {"job": ["j1", "j2"]}}, "profile"),
    ({"history": [], "profile": {LONG: "j1"}}, f"profile.{LONG}"),
    ({"history": [], "profile": {str(i): "a" for i in range(101)}}, "profile"),
    ({"history": [], "diversity": -0.1}, "diversity"),
    ({"history": [], "diversity": 1e300}, "diversity"),
    ({"history": [], "category": "colour"}, "category"),
    ({"history": [], "more": 1}, "more"),
    ({"history": [], "é" * 300: 1}, ("\\xe9" * 300)[:100]),
]


@pytest.mark.parametrize("body", NOT_JSON, ids=range(len(NOT_JSON)))
@pytest.mark.parametrize("path", ["/recall", "/interests"])
def test_what_is_not_json_is_refused(served, path, body):
    status, kind, _ = served.post(path, body, **JSON).error
    assert (status, kind) in ((400, "json"), (422, "invalid"))
    assert kind == "json" or b"9.5e5" in body  # a number, and far too large a one


@pytest.mark.parametrize(("question", "field"), NOT_ALLOWED, ids=range(len(NOT_ALLOWED)))
def test_what_is_not_allowed_is_refused_by_its_name(served, question, field):
    assert served.post("/recall", json.dumps(question).encode(), **JSON).error == (422, "invalid", field)


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/json5"])
def test_a_body_of_another_kind_is_refused(served, kind):
    headers = {} if kind is None else {"Content-Type": kind}
    assert served.ask("POST", "/recall", b'{"history": []}', headers).error == (415, "content_type", "Content-Type")


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
def test_a_body_of_json_is_read(served, kind):
    assert served.ask("POST", "/recall", b'{"history": []}', {"Content-Type": kind}).status == 200


def raw(served, content):
    """What comes back on a connection of one's own."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(content)
        return rest_of(connection)


def rest_of(connection):
    """What comes until the other side is done."""
    parts = []
    while part := connection.recv(2**16):
        parts.append(part)
    return b"".join(parts)


HEAD = b"POST /recall HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"


def test_a_body_too_large_is_refused_however_it_comes(served):
    assert served.post("/recall", b" " * 4001, **JSON).error == (413, "too_large", None)
    assert served.post("/recall", b'{"history": []}' + b" " * 3985, **JSON).status == 200
    chunk = b"fff\r\n" + b" " * 0xFFF + b"\r\n"
    said = raw(served, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 20 + b"0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 413")
    assert b'"too_large"' in said
    said = raw(served, HEAD + b"Content-Length: 999999999\r\nExpect: 100-continue\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 413")  # before anything was sent


def test_a_body_that_does_not_come_is_not_waited_for(served):
    said = raw(served, HEAD + b'Content-Length: 20\r\n\r\n{"history":')
    assert said.startswith(b"HTTP/1.1 408")
    assert b'"timeout"' in said


def test_a_client_that_leaves_does_no_harm(served):
    before = served.figure('recbole_mind_requests_total{path="/recall",status="499"}')
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(HEAD + b"Content-Length: 20\r\n\r\n{")
    until(lambda: served.figure('recbole_mind_requests_total{path="/recall",status="499"}') == before + 1)
    assert served.get("/health").status == 200


def test_other_paths_and_methods_are_refused(served):
    for path in ("/nothing", "/recall/", "//recall", "/../etc/passwd", "/%2e%2e/x", "/recall%00", "/static/x"):
        assert served.get(path).error == (404, "not_found", None)
    for method, path in itertools.product(("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"), ("/recall",)):
        answer = served.ask(method, path)
        assert answer.error == (405, "method", None)
        assert answer.headers["allow"] == "POST"
    assert served.post("/health", {}).headers["allow"] == "GET"
    whole, head = served.get("/health"), served.ask("HEAD", "/health")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]
    assert served.ask("HEAD", "/nothing").status == 404


def test_a_fault_of_ours_tells_nothing(served, monkeypatch, caplog):
    def fails(*_, **__):
        raise RuntimeError("secret of /home/user i17")

    monkeypatch.setattr(Recaller, "recall", fails)
    answer = served.post("/recall", {"history": ["i17"]})
    assert answer.error == (500, "internal", None)
    assert b"secret" not in answer.body
    assert b"/home" not in answer.body
    assert "secret" not in caplog.text
    assert "i17" not in caplog.text
    assert "RuntimeError" in caplog.text
    monkeypatch.setattr(Recaller, "recall", lambda *_, **__: (_ for _ in ()).throw(InputError("'encoder.onnx' fails")))
    assert served.post("/recall", {"history": ["i17"]}).error == (500, "internal", None)


def test_too_many_requests_are_told_to_come_back(two_bundles, monkeypatch):
    held, release = threading.Semaphore(0), threading.Event()
    real = Recaller.recall

    def slow(*arguments, **options):
        held.release()
        release.wait(20)
        return real(*arguments, **options)

    with running(two_bundles[0], {"workers": 1, "queue": 1}) as served:
        monkeypatch.setattr(Recaller, "recall", slow)
        found = []
        ask = lambda: found.append(served.post("/recall", {"history": HISTORY}).status)  # noqa: E731
        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        held.acquire()
        until(lambda: served.figure("recbole_mind_running") == 2)
        answer = served.post("/recall", {"history": HISTORY})
        assert answer.error == (503, "overloaded", None)
        assert answer.headers["retry-after"] == "1"
        assert served.get("/ready").status == 200
        release.set()
        for thread in threads:
            thread.join()
        assert found == [200, 200]
        assert served.post("/recall", {"history": HISTORY}).status == 200


# -- keys, pages -----------------------------------------------------------------------------------------------------


def test_a_key_is_asked_for(two_bundles):
    with running(two_bundles[0], api_key=KEY) as served:
        for path in ("/recall", "/interests"):
            assert served.post(path, {"history": []}).error == (401, "unauthorized", None)
        for path in ("/items", "/version", "/metrics", "/nothing"):
            for headers in ({}, {"X-API-Key": "a-key"}, {"X-API-Key": ""}, {"Authorization": f"Basic {KEY}"}):
                answer = served.get(path, **headers)
                assert answer.error == (401, "unauthorized", None)
                assert answer.headers["www-authenticate"] == "Bearer"
                assert KEY.encode() not in answer.body
        for headers in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"Authorization": f"bearer {KEY}"}):
            assert served.post("/recall", {"history": []}, **headers).status == 200
        for path in OPEN:
            assert served.get(path).status == 200
        document = served.get("/openapi.json").json
        assert "401" in document["paths"]["/items"]["get"]["responses"]
        assert "security" not in document["paths"]["/health"]["get"]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_load_nothing_from_elsewhere(served, path):
    answer = served.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy
    text = answer.body.decode()
    void = re.sub(r"<(input|option)[^>]*>", "", text)  # elements that need no end
    assert [link for link in Page(void).links if link not in ("docs", "./", "openapi.json")] == []
    assert "://" not in text.replace("http://HOST:PORT", "")


def test_the_documentation_names_every_field(served):
    text = served.get("/docs").body.decode()
    document = served.get("/openapi.json").json
    for path in document["paths"]:
        assert f"<code>{'POST' if path in ('/recall', '/interests') else 'GET'} {path}</code>" in text
    for name in (*RecallAnswer.model_fields, "exclude_seen", "diversity", "limit"):
        assert f"<code>{name}</code>" in text


# -- bundles ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def published(two_bundles, tmp_path):
    """A store of two versions of which the second is current, and their ids."""
    store = Store(tmp_path / "store")
    return store, [store.publish(bundle, force="for a test").id for bundle in two_bundles]


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
        Bundles(tmp_path / "nowhere", Metrics())
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
        service = served.service.bundles
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
        Bundles(two_bundles[0], Metrics())


def test_a_bundle_that_was_replaced_is_opened_when_told(two_bundles, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(two_bundles[0], folder)
    with running(folder) as served:
        first = served.get("/ready").json["bundle"]
        folder.rename(tmp_path / "old")
        shutil.copytree(two_bundles[1], folder)
        time.sleep(0.2)
        assert served.get("/ready").json["bundle"] == first
        served.service.bundles.reload()
        until(lambda: served.get("/ready").json["bundle"] != first)
        shutil.rmtree(folder)
        served.service.bundles.reload()
        until(lambda: served.figure('recbole_mind_swaps_total{result="failed"}') == 1)
        assert served.post("/recall", {"history": HISTORY}).status == 200


# -- the pool --------------------------------------------------------------------------------------------------------


def test_the_pool_is_followed(published, tmp_path, caplog):
    store, ids = published
    pool = tmp_path / "pool.txt"
    pool.write_bytes(b"i1\ni2\r\nnone\n\ni30\n")
    question = {"history": HISTORY, "exclude_seen": False}

    def items():
        return set(served.post("/recall", question).json["items"])

    with running(store.folder, pool=pool) as served:
        assert items() == {"i1", "i2", "i30"}
        assert served.figure("recbole_mind_pool_unknown_items") == 1
        pool.write_text("i4\ni5\n")
        until(lambda: items() == {"i4", "i5"})
        assert served.figure('recbole_mind_pool_loads_total{result="done"}') == 1
        for failed, bad in enumerate((b"", b"\n\n", b"\xff\n", b"none\nnobody\n"), 1):
            pool.write_bytes(bad)
            until(lambda failed=failed: served.figure('recbole_mind_pool_loads_total{result="failed"}') == failed)
            assert items() == {"i4", "i5"}
        pool.unlink()
        until(lambda: "cannot be read" in caplog.text)
        store.rollback(ids[0])  # a new bundle has the last good pool
        until(lambda: served.get("/ready").json["bundle"] == ids[0])
        assert items() == {"i4", "i5"}
        pool.write_text("i6\n")
        until(lambda: items() == {"i6"})
        assert set(served.post("/recall", question | {"allowed": ["i5", "i6"]}).json["items"]) == {"i6"}


def test_what_is_denied_is_followed_within_the_pool(published, tmp_path):
    store, _ = published
    pool, deny = tmp_path / "pool.txt", tmp_path / "deny.txt"
    pool.write_text("i1\ni2\ni30\n")
    deny.write_text("")
    question = {"history": HISTORY, "exclude_seen": False}

    def items():
        return set(served.post("/recall", question).json["items"])

    with running(store.folder, pool=pool, deny=deny) as served:
        assert items() == {"i1", "i2", "i30"}
        deny.write_text("i2\nnone\ni7\n")
        until(lambda: items() == {"i1", "i30"})
        assert served.figure("recbole_mind_pool_items") == 2
        assert served.figure("recbole_mind_pool_unknown_items") == 1
        deny.write_text("i1\ni2\ni30\n")  # would leave nothing
        until(lambda: served.figure('recbole_mind_pool_loads_total{result="failed"}') == 1)
        assert items() == {"i1", "i30"}
        pool.write_text("i1\ni4\n")
        until(lambda: items() == {"i4"})
        assert "i1" not in served.post("/recall", {"history": []}).json["items"]


def test_what_is_denied_needs_no_pool(two_bundles, tmp_path):
    deny = tmp_path / "deny.txt"
    deny.write_text("i1\ni2\n")
    bundles = Bundles(two_bundles[0], Metrics(), deny=deny)
    recaller = bundles.serving.recaller
    known = set(recaller.bundle.item_tokens.tokens(range(50)))
    assert set(recaller.recall([], n=100).items) == known - {"i1", "i2"}
    deny.write_text("\n".join(known))
    with pytest.raises(InputError, match=r"deny '.*': it leaves no item to recall"):
        Bundles(two_bundles[0], Metrics(), deny=deny)
    deny.unlink()
    with pytest.raises(InputError, match=r"deny '.*' cannot be read"):
        Bundles(two_bundles[0], Metrics(), deny=deny)


def test_a_pool_of_new_items_waits_for_the_bundle_that_knows_them(two_bundles, tmp_path):
    folder, pool, new = tmp_path / "bundle", tmp_path / "pool.txt", tmp_path / "new"
    shutil.copytree(two_bundles[0], folder)
    shutil.copytree(two_bundles[0], new)
    known = Recaller.load(folder).bundle.item_tokens.tokens(range(50))
    Tokens.of([*known[:40], *(f"n{row}" for row in range(40, 50))]).save(new / "tokens", "items")
    reseal(new)
    pool.write_text("\n".join(known[:2]))
    bundles = Bundles(folder, Metrics(), pool)
    pool.write_text("n40\nn41\n")
    for _ in range(3):
        bundles.look()
    assert set(bundles.serving.recaller.recall([]).items) == set(known[:2])
    shutil.rmtree(folder)
    new.rename(folder)
    bundles.reload()
    for _ in range(2):
        bundles.look()
    assert set(bundles.serving.recaller.recall([]).items) == {"n40", "n41"}


def test_a_pool_and_a_catalogue_that_change_together_come_into_service_together(two_bundles, tmp_path):
    store, pool, new = Store(tmp_path / "store"), tmp_path / "pool.txt", tmp_path / "new"
    ids = [store.publish(two_bundles[0], force="a test").id]
    shutil.copytree(two_bundles[0], new)
    Tokens.of([f"n{row}" for row in range(50)]).save(new / "tokens", "items")
    reseal(new)
    pool.write_text("i1\ni2\n")
    bundles = Bundles(store.folder, Metrics(), pool)
    pool.write_text("n40\nn41\n")  # nothing of it is in the old catalogue, nothing of the old one in the new catalogue
    for _ in range(3):
        bundles.look()
    assert set(bundles.serving.recaller.recall([]).items) == {"i1", "i2"}
    ids.append(store.publish(new, force="a test").id)
    bundles.look()
    assert bundles.serving.recaller.bundle_id == ids[1]
    assert set(bundles.serving.recaller.recall([]).items) == {"n40", "n41"}
    store.rollback(ids[0])  # which neither list fits: the new one stays until there is one that does
    bundles.look()
    assert bundles.serving.recaller.bundle_id == ids[1]
    pool.write_text("i3\n")
    for _ in range(2):
        bundles.look()
    assert bundles.serving.recaller.bundle_id == ids[0]
    assert bundles.serving.recaller.recall([]).items == ["i3"]


def test_a_pool_that_cannot_be_read_does_not_stop_what_is_denied(two_bundles, tmp_path, caplog):
    pool, deny = tmp_path / "pool.txt", tmp_path / "deny.txt"
    pool.write_text("i1\ni2\ni3\n")
    deny.write_text("")
    bundles = Bundles(two_bundles[0], Metrics(), pool, deny)
    pool.unlink()
    deny.write_text("i1\n")
    for _ in range(2):
        bundles.look()
    assert set(bundles.serving.recaller.recall([]).items) == {"i2", "i3"}
    assert "pool.txt' cannot be read" in caplog.text


def test_a_file_that_is_being_written_is_not_read(two_bundles, tmp_path):
    deny = tmp_path / "deny.txt"
    deny.write_text("i1\ni2\n")
    bundles = Bundles(two_bundles[0], Metrics(), deny=deny)

    def denied():
        bundles.look()
        return {"i1", "i2", "i3"} - set(bundles.serving.recaller.recall([], n=100).items)

    deny.write_text("")
    assert denied() == {"i1", "i2"}
    deny.write_text("i2\ni3\n")
    assert [denied(), denied(), denied()] == [{"i1", "i2"}, {"i2", "i3"}, {"i2", "i3"}]


def test_a_pipe_is_refused_since_it_cannot_be_read_again(two_bundles, tmp_path):
    os.mkfifo(tmp_path / "deny")
    with pytest.raises(InputError, match=r"deny '.*' is not a file, which is needed to read it again"):
        Bundles(two_bundles[0], Metrics(), deny=tmp_path / "deny")


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"none\n"])
def test_a_service_does_not_start_with_a_bad_pool(two_bundles, tmp_path, content):
    if content is not None:
        (tmp_path / "pool").write_bytes(content)
    with pytest.raises(InputError, match="pool '"):
        Bundles(two_bundles[0], Metrics(), tmp_path / "pool")


# -- the command -----------------------------------------------------------------------------------------------------


def test_every_setting_is_documented():
    text = (importlib.resources.files("recbole_mind.properties") / "production" / "serve.yaml").read_text()
    documented = re.findall(r"^(\w+): .*# \((?:int|float)\) \S", text, re.M)
    assert documented == list(loading.defaults("production", "serve"))
    assert set(documented) == set(Limits.model_fields)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_m": 3}, "unknown key 'max_m'; did you mean 'max_n'"),
        ({"max_n": 0}, "max_n"),
        ({"max_n": "x"}, "max_n"),
        ({"queue": -1}, "queue"),
        ({"workers": 1.5}, "workers"),
        ({"poll_seconds": 0}, "poll_seconds"),
        ({"drain_seconds": -1}, "drain_seconds"),
    ],
)
def test_settings_that_are_not_allowed_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        limits(given)


def command(*arguments, **options):
    code = "import sys; from recbole_mind.cli.main import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, "serve", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "lets other machines in, and there is no key"),
        (["--host", "::"], "lets other machines in, and there is no key"),
        (["--port", "70000"], "port: 70000 is not allowed"),
        (["--api-key-file", "nothing"], "cannot be read"),
        (["--api-key-file", "empty"], "holds no key"),
        (["--max_n=0"], "max_n"),
        (["--names", "nothing"], "names 'nothing' cannot be read"),
        (["--names", "bad.tsv"], "line 1: a token, a tab and a name are needed"),
    ],
)
def test_a_command_that_cannot_be_is_refused(two_bundles, tmp_path, arguments, message, monkeypatch, capsys):
    from recbole_mind.cli.main import main

    monkeypatch.delenv(serve.KEY, raising=False)
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "empty").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.tsv").write_text("i1 one\n")
    assert main(["serve", str(two_bundles[0]), *arguments]) == 2
    assert message in capsys.readouterr().err


def refuses(port):
    """Whether nobody listens at a port any more."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_signal_ends_the_service_after_what_runs(two_bundles, tmp_path):
    from tests.support.serving import Running

    process = command(two_bundles[0], "--port=0", "--drain_seconds=3", "--body_seconds=30")
    try:
        lines = [process.stderr.readline() for _ in range(2)]
        port = int(re.search(r"listening at http://127\.0\.0\.1:(\d+)", lines[1])[1])
        served = Running(port)
        assert served.get("/ready").status == 200
        body = json.dumps({"history": HISTORY, "n": 3}).encode()
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body[:5])
            process.send_signal(signal.SIGHUP)
            until(lambda: served.figure('recbole_mind_swaps_total{result="done"}') == 1)
            process.send_signal(signal.SIGTERM)
            until(lambda: served.get("/ready").status == 503)
            assert served.get("/ready").error == (503, "draining", None)
            assert served.get("/health").status == 200
            assert served.post("/recall", {"history": HISTORY}).status == 200
            until(lambda: refuses(port))
            assert process.poll() is None  # a request runs
            connection.sendall(body[5:])
            said = rest_of(connection)
        assert said.startswith(b"HTTP/1.1 200")
        assert len(json.loads(said.partition(b"\r\n\r\n")[2])["items"]) == 3
        assert process.wait(20) == 0
        rest = process.stderr.read()
        assert "Traceback" not in rest
        assert not any(token in "".join(lines) + rest for token in HISTORY)
    finally:
        process.kill()
        process.communicate()


def test_the_service_needs_neither_torch_nor_recbole():
    code = (
        "import sys; import recbole_mind.cli.main, recbole_mind.serving.http.server\n"
        "print(sorted({'torch', 'recbole', 'ray', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_response_does_not_wait_for_the_acknowledgement_of_its_first_part():
    with open_door("127.0.0.1", 0) as door, socket.create_connection(door.getsockname()), door.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
