"""A hostile network: connections that hold still, a store that loses its pointer, and an end that loses nothing."""

import contextlib
import http.client
import itertools
import json
import re
import signal
import socket
import sys
import threading
import time

import pytest

from benchmarks.service import probe, under_attack
from recbole_mind.serving.http import server as service_server
from recbole_mind.serving.http.app import Settings, create_app
from recbole_mind.serving.http.schema import limits
from recbole_mind.serving.store.store import Store
from tests.support.commands import BODY, command, connect, rest_of
from tests.support.serving import JSON, running
from tests.support.waiting import HANG, until

POST = b"POST /recall HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


# -- connections -----------------------------------------------------------------------------------------------------


def test_idle_connections_do_not_stop_a_service_of_few_files(two_bundles):
    with command(two_bundles[0], files=256) as (served, process):
        held = []
        for _ in range(400):
            held.append(connect(served))
        for _ in range(3):
            assert served.get("/health").status == 200
            assert served.post("/recall", BODY, **JSON).status == 200
        assert served.figure('recbole_mind_connections_ended_total{why="idle"}') >= 400 - 256
        assert served.figure("recbole_mind_connections") < 256
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG) == 0
        for connection in held:
            connection.close()
    assert "Traceback" not in "".join(process.said)
    assert len(process.said) < 12
    assert any("at most" in line and "connections" in line for line in process.said)


def test_who_is_idle_makes_room_and_who_is_not_keeps_it(two_bundles, monkeypatch):
    came, receive = [], service_server.Protocol.data_received
    noted = lambda *given: came.append(receive(*given))  # noqa: E731
    monkeypatch.setattr(service_server.Protocol, "data_received", noted)
    with running(two_bundles[0], {"max_connections": 3}) as served:
        old, waiting = connect(served), [connect(served) for _ in range(2)]
        for connection in waiting:
            connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(BODY))
        until(lambda: served.get("/health").status == 200)  # the old one made room
        assert old.recv(1) == b""
        served._local.connection.close()
        third = connect(served)
        before = len(came)
        third.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(BODY))
        until(lambda: len(came) > before)
        with connect(served) as refused:
            said = rest_of(refused)
        assert said.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["type"] == "overloaded"
        for connection in (*waiting, third):
            connection.sendall(BODY)
            assert connection.recv(2**16).startswith(b"HTTP/1.1 200")
            connection.close()


def test_what_does_not_come_is_not_waited_for(two_bundles):
    with running(two_bundles[0], {"head_seconds": 0.5, "body_seconds": 0.5, "idle_seconds": 0.5}) as served:

        def ends(content, drip=b""):
            """What comes after some bytes, while others follow slowly."""
            with connect(served) as connection:
                connection.sendall(content)
                connection.settimeout(0.2)
                start, said = time.monotonic(), b""
                while time.monotonic() - start < HANG:
                    with contextlib.suppress(TimeoutError):
                        part = connection.recv(2**16)
                        if not part:
                            return said
                        said += part
                    with contextlib.suppress(OSError):
                        connection.sendall(drip)
            raise AssertionError("it is waited for")

        assert ends(b"") == b""
        assert ends(b"GET /health HT").startswith(b"HTTP/1.1 408")
        with contextlib.suppress(ConnectionResetError):  # what is sent after the end
            assert ends(b"GET /health HTTP/1.1\r\n", b"X: y\r\n").startswith((b"HTTP/1.1 408", b""))
        assert ends(POST + b"Content-Length: 999\r\n\r\n{").startswith(b"HTTP/1.1 408")
        said = ends(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea")  # the second head
        assert said.startswith(b"HTTP/1.1 200")
        with contextlib.suppress(ConnectionResetError):  # a body that nobody reads
            assert ends(b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n", b"x").startswith(
                b"HTTP/1.1 200"
            )
        assert served.get("/health").status == 200
        until(lambda: served.figure("recbole_mind_connections") == 1)


def test_an_answer_that_is_not_read_is_not_kept(two_bundles):
    with running(two_bundles[0], {"body_seconds": 0.5, "idle_seconds": 0.5}) as served:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", served.port))
            with contextlib.suppress(BlockingIOError, ConnectionResetError, BrokenPipeError):
                connection.setblocking(False)
                for _ in range(3000):
                    connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
            until(lambda: served.figure('recbole_mind_connections_ended_total{why="answer"}') == 1)
        assert served.get("/health").status == 200


def test_accepting_fails_in_one_line(two_bundles, caplog):
    server = service_server.Server(create_app(Settings(two_bundles[0], limits())))
    error = OSError(24, "Too many open files")
    loop = type("Loop", (), {"default_exception_handler": lambda *_: pytest.fail("a traceback")})()
    for _ in range(2048):
        server._failed(loop, {"message": "socket.accept() out of system resource", "exception": error})
    assert b"recbole_mind_accept_errors_total 2048.0" in server.service.metrics.text()
    assert caplog.text.count("cannot be accepted: Too many open files") == 1


# -- the store -------------------------------------------------------------------------------------------------------


def test_a_store_that_lost_its_pointer_is_seen(two_bundles, tmp_path, caplog):
    store = Store(tmp_path / "store")
    store.publish(two_bundles[0], force="for a test")
    with running(store.folder) as served:
        until(lambda: served.figure('recbole_mind_looks_total{result="done"}') > 0)
        assert served.get("/ready").json["status"] == "ready"
        pointer = (store.folder / "current").read_bytes()
        (store.folder / "current").unlink()
        until(lambda: served.figure('recbole_mind_looks_total{result="failed"}') > 2)
        answer = served.get("/ready")
        assert (answer.status, answer.json["status"]) == (200, "degraded")
        assert served.figure("recbole_mind_seconds_since_look") > 0.1
        assert served.post("/recall", BODY, **JSON).status == 200
        assert caplog.text.count("does not name a current version any more") == 1
        (store.folder / "current").write_bytes(pointer)
        until(lambda: served.get("/ready").json["status"] == "ready")
        assert served.figure("recbole_mind_seconds_since_look") < 5
        store.folder.rename(tmp_path / "elsewhere")
        until(lambda: served.get("/ready").json["status"] == "degraded")


# -- the end ---------------------------------------------------------------------------------------------------------


class Client(threading.Thread):
    """Asks on a kept connection, and on another one where it was told to close, until nobody listens."""

    def __init__(self, port, pause):
        super().__init__(daemon=True)
        self.port, self.pause = port, pause
        self.lost, self.answered, self.told = [], 0, False

    def run(self):
        connection = None
        while True:
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG)
                try:
                    connection.connect()
                except OSError:
                    return
            try:
                connection.request("POST", "/recall", BODY, JSON)
                response = connection.getresponse()
                response.read()
            except OSError as error:
                self.lost.append(repr(error))
                return
            if response.status != 200:
                self.lost.append(response.status)
            self.answered += 1
            if response.will_close:
                self.told = True
                connection.close()
                connection = None
            time.sleep(self.pause)


@pytest.mark.parametrize("drain", [0, 1])
def test_no_request_on_a_kept_connection_is_lost_at_the_end(two_bundles, drain):
    with command(two_bundles[0], f"--drain_seconds={drain}", "--max_connections=500") as (served, process):
        clients = [Client(served.port, pause) for pause in itertools.islice(itertools.cycle((0, 0.01, 0.3)), 24)]
        for client in clients:
            client.start()
        until(lambda: all(client.answered > 1 for client in clients))
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG) == 0
        for client in clients:
            client.join(HANG)
            assert not client.is_alive()
    assert [client.lost for client in clients if client.lost] == []
    assert all(client.told for client in clients)


@pytest.mark.skipif(sys.platform != "linux", reason="a filter of Linux")
def test_nobody_connects_between_the_last_look_and_the_closing(two_bundles, monkeypatch):
    tried = []

    def accepted(door):
        found = look(door)
        with contextlib.suppress(TimeoutError):
            tried.append("connected, and lost")
            socket.create_connection(("127.0.0.1", door.getsockname()[1]), timeout=0.3).close()
            return found
        tried[-1] = "waits"
        return found

    look = service_server._accepted
    monkeypatch.setattr(service_server, "_accepted", accepted)
    with running(two_bundles[0]) as served:
        early = connect(served)
        early.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert early.recv(2**16).startswith(b"HTTP/1.1 200")
    assert tried == ["waits"]


# -- a client that sends what is refused -----------------------------------------------------------------------------


def test_health_does_not_wait_for_what_is_refused(two_bundles):
    good = [json.dumps({"history": [f"i{i}" for i in range(1, 9)], "n": 20}).encode()]
    with command(two_bundles[0]) as (served, process):
        served.post("/recall", good[0], **JSON)
        before, found = memory(process.pid), []
        for _ in range(4):  # others may take the cores for a while: the machine is not ours alone
            quiet = probe(served.port, 2.0)["p99 ms"]
            found.append(under_attack(served.port, good, 4.0) | {"quiet": quiet})
            if found[-1]["health"]["p99 ms"] < max(50, 10 * quiet):
                break
        else:
            pytest.fail(f"health waits: {found}")
        assert all(each["refused"] > 2 for each in found)
        assert all(each["good"]["errors"] == 0 for each in found)
        assert memory(process.pid) - before < 150 * 2**20  # of the largest that it ever had


def memory(process):
    """Bytes that a process had at most."""
    with open(f"/proc/{process}/status") as file:
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", file.read())[1])
