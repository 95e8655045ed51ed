"""The server: how it begins and ends."""

import json
import re
import signal
import socket
import subprocess
import sys

import pytest

from recbole_mind.cli import serve
from recbole_mind.serving.http.server import open_door
from tests.support.questions import HEAD, HISTORY, rest_of
from tests.support.waiting import HANG, until


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
        socket.create_connection(("127.0.0.1", port), timeout=HANG).close()
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
        with socket.create_connection(("127.0.0.1", port), timeout=HANG) as connection:
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
        assert process.wait(HANG) == 0
        rest = process.stderr.read()
        assert "Traceback" not in rest
        assert not any(token in "".join(lines) + rest for token in HISTORY)
    finally:
        process.kill()
        process.communicate()


def test_a_response_does_not_wait_for_the_acknowledgement_of_its_first_part():
    with open_door("127.0.0.1", 0) as door, socket.create_connection(door.getsockname()), door.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
