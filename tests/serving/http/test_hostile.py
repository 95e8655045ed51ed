"""A hostile network: connections that hold still, pages of other sites, keys, and an end that loses nothing."""

import contextlib
import http.client
import itertools
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from benchmarks.service import under_attack
from recbole_mind.errors import InputError
from recbole_mind.serving.http import server as service_server
from recbole_mind.serving.http.access import Hosts, Keys
from recbole_mind.serving.http.app import Settings, create_app
from recbole_mind.serving.http.schema import limits
from recbole_mind.serving.store.store import Store
from tests.support.serving import JSON, Running, running, until

KEY, OTHER = "a-key-of-our-own", "another-key-of-ours"
BODY = json.dumps({"history": ["i1", "i3", "i5"], "n": 5}).encode()
POST = b"POST /recall HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def connect(served):
    return socket.create_connection(("127.0.0.1", served.port), timeout=20)


def rest_of(connection):
    """What comes until the other side is done."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(2**16):
            parts.append(part)
    return b"".join(parts)


@contextlib.contextmanager
def command(*arguments, files=None, **environment):
    """The command serve, in a process that may open so many files: its port and its process."""

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    code = "import sys; from recbole_mind.cli.main import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, "serve", *map(str, arguments), "--port=0"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        preexec_fn=few if files else None,
    )
    try:
        process.said = []
        while "listening at" not in "".join(process.said[-1:]):
            line = process.stderr.readline()
            assert line, process.said
            process.said.append(line)
        yield Running(int(re.search(r":(\d+)\b\D*$", process.said[-1])[1])), process
    finally:
        process.kill()
        process.said += process.communicate()[1].splitlines(keepends=True)


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
        assert process.wait(20) == 0
        for connection in held:
            connection.close()
    assert "Traceback" not in "".join(process.said)
    assert len(process.said) < 12
    assert any("at most" in line and "connections" in line for line in process.said)


def test_who_is_idle_makes_room_and_who_is_not_keeps_it(two_bundles):
    with running(two_bundles[0], {"max_connections": 3}) as served:
        old, waiting = connect(served), [connect(served) for _ in range(2)]
        for connection in waiting:
            connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(BODY))
        until(lambda: served.get("/health").status == 200)  # the old one made room
        assert old.recv(1) == b""
        served._local.connection.close()
        third = connect(served)
        third.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(BODY))
        time.sleep(0.2)
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
                while time.monotonic() - start < 10:
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


# -- hosts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:80", 200),
        ("127.9.9.9", 200),
        ("[::1]:8000", 200),
        ("recall.example", 200),
        ("Recall.Example.:443", 200),
        ("10.1.2.3:8000", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("recall.example.evil.example", 421),
        ("10.1.2.4", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost@evil.example", 421),
        ("", 421),
        ("é", 421),
    ],
)
def test_only_names_of_this_host_are_answered(two_bundles, host, status):
    names = ("recall.example", "10.1.2.3")
    with running(two_bundles[0], allowed_hosts=names) as served, connect(served) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nConnection: close\r\nHost: ")
        connection.sendall(host.encode("latin-1") + b"\r\n\r\n")
        said = rest_of(connection)
    assert int(said.split()[1]) == status
    if status == 421:
        error = json.loads(said.partition(b"\r\n\r\n")[2])["error"]
        assert (error["type"], error["field"]) == ("host", "Host")
        assert "evil" not in error["message"]


@pytest.mark.parametrize("name", ["recall.example:80", "http://x", "", "a b", "*"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(InputError, match=r"allowed-host: '.*' is not allowed"):
        Hosts([name])


# -- keys ------------------------------------------------------------------------------------------------------------


def key_file(folder, text, mode=0o600):
    path = folder / "key"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("text", ["k", "x" * 15, f"{KEY}\nshort"])
def test_a_short_key_is_refused(tmp_path, text):
    with pytest.raises(InputError, match=r"holds a key of length \d+; allowed: at least 16"):
        Keys(path=key_file(tmp_path, text))
    with pytest.raises(InputError, match="RECBOLE_MIND_API_KEY holds a key of length"):
        Keys(text)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    with pytest.raises(InputError, match=f"has the mode {mode:04o}: others may use it; allowed: 0600"):
        Keys(path=key_file(tmp_path, KEY, mode))


def test_what_holds_no_key_is_refused(tmp_path):
    for bad in ("", "\n", "a-key-of-our own!!", "é" * 16, "a\x00" * 10):
        with pytest.raises(InputError, match="holds no key"):
            Keys(bad)
    with pytest.raises(InputError, match="holds 11 keys; allowed: at most 10"):
        Keys(f"{KEY}\n" * 11)
    with pytest.raises(InputError, match=r"api-key-file '.*' cannot be read"):
        Keys(path=tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(InputError, match=r"api-key-file '.*' is not a file"):
        Keys(path=tmp_path / "pipe")


def test_keys_change_on_sighup(two_bundles, tmp_path):
    path = key_file(tmp_path, f"{KEY}\n")
    with command(two_bundles[0], "--api-key-file", path, "--access-log") as (served, process):

        def status(key, **more):
            return served.post("/recall", BODY, **JSON, **{"X-API-Key": key}, **more).status

        def told(text, mode=0o600):
            key_file(tmp_path, text, mode)
            process.send_signal(signal.SIGHUP)

        assert (status(KEY), status(OTHER)) == (200, 401)
        told(f"{KEY}\n{OTHER}\n")
        until(lambda: status(OTHER) == 200)
        assert status(KEY) == 200
        told(OTHER, 0o644)
        served.headers["X-API-Key"] = OTHER
        until(lambda: served.figure('recbole_mind_key_loads_total{result="failed"}') == 1)
        assert (status(KEY), status(OTHER)) == (200, 200)
        told(OTHER)
        until(lambda: status(KEY) == 401)
        assert status(OTHER) == 200
        assert served.get(f"/items?key={OTHER}").status == 422
        assert served.get(f"/{OTHER}").status == 404
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    said = "".join(process.said)
    assert "the keys stay: api-key-file" in said
    assert "path=/recall status=401" in said
    assert KEY not in said
    assert OTHER not in said


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
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
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
        assert process.wait(30) == 0
        for client in clients:
            client.join(20)
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
            found.append(under_attack(served.port, good, 4.0))
            if found[-1]["health"]["p99 ms"] < 50:
                break
        assert found[-1]["health"]["p99 ms"] < 50, found
        assert all(each["refused"] > 2 for each in found)
        assert all(each["good"]["errors"] == 0 for each in found)
        assert memory(process.pid) - before < 150 * 2**20  # of the largest that it ever had


def memory(process):
    """Bytes that a process had at most."""
    with open(f"/proc/{process}/status") as file:
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", file.read())[1])
