"""Bodies and paths: what is read, waited for and refused."""

import itertools
import socket
import threading

import pytest

from recbole_mind.serving.recaller import Recaller
from tests.support.questions import HEAD, HISTORY, raw
from tests.support.serving import JSON, running
from tests.support.waiting import HANG, until


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/json5"])
def test_a_body_of_another_kind_is_refused(served, kind):
    headers = {} if kind is None else {"Content-Type": kind}
    assert served.ask("POST", "/recall", b'{"history": []}', headers).error == (415, "content_type", "Content-Type")


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
def test_a_body_of_json_is_read(served, kind):
    assert served.ask("POST", "/recall", b'{"history": []}', {"Content-Type": kind}).status == 200


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


def test_too_many_requests_are_told_to_come_back(two_bundles, monkeypatch):
    held, release = threading.Semaphore(0), threading.Event()
    real = Recaller.recall

    def slow(*arguments, **options):
        held.release()
        release.wait(HANG)
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
