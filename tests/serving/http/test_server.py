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
from tests.support.commands import command as served_by
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
        (["--channel", "mind"], "channel: it is the name in events; give --events"),
        (["--channel", "mind", "--channel", "ytdnn"], "channel: 'mind' and 'ytdnn' are too many"),
        (["--channel", "mind=store"], "allowed: one of both"),
        (["--shares", "shares.yaml"], "shares: it is for several channels; give --channel NAME=DIR for each"),
        (["--assignment-key", "key"], "assignment-key: it is for several channels"),
        (["--experiment", "spring"], "experiment: it is for several channels"),
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give DIR, a bundle or a store, or --channel NAME=DIR for each of several"),
        (["--channel=mind=B", "--channel=ytdnn"], "channel: 'ytdnn' names no bundle or store; as ytdnn=DIR"),
        (["--channel=mind=B", "--channel="], "channel: '' names no bundle or store; as mind=DIR"),
        (["--channel=mind=B", "--channel=mind=B"], "channel: 'mind' is there twice"),
        (["--channel=mi nd=B"], "channel: 'mi nd' is not allowed"),
        (["--channel=mind=B", "--shares=shares.yaml"], "shares 'shares.yaml': the shares add up to 0.5; allowed: 1"),
        (["--channel=mind=B", "--shares=nowhere"], "config file 'nowhere' cannot be read"),
        (["--channel=mind=B", "--channel=ytdnn=nowhere"], "'nowhere' is neither a bundle nor a store"),
        (["--channel=mind=B", "--max_n", "5"], "'5' stands beside --channel NAME=DIR"),
    ],
)
def test_channels_that_cannot_be_are_refused(two_bundles, tmp_path, arguments, message, monkeypatch, capsys):
    from recbole_mind.cli.main import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "B").symlink_to(two_bundles[0])
    (tmp_path / "shares.yaml").write_text("mind: 0.5\n")
    more = ["--assignment-key=key"] if any("=" in each[10:] for each in arguments) else []
    assert main(["serve", *arguments, *more]) == 2
    assert message in capsys.readouterr().err
    if more:
        assert main(["serve", "--channel=mind=B", "--channel=ytdnn=B"]) == 2
        assert "channels need the key that users are assigned by; give --assignment-key" in capsys.readouterr().err


def test_channels_are_served_as_they_are_typed(two_bundles, tmp_path):
    """Two processes with one key, one of them started again: each user keeps the channel, and the log names it."""
    given = [f"--channel={name}={bundle}" for name, bundle in zip(("mind", "ytdnn"), two_bundles, strict=True)]
    given += [f"--assignment-key={tmp_path / 'key'}", "--experiment=spring", "--access-log", "--log-format=json"]
    users, found = [f"u{number}" for number in range(20)], []
    for _ in range(2):
        with served_by(*given) as (served, process):
            asked = [served.post("/recall", {"history": HISTORY, "user": user}).json for user in users]
            found.append([answer["channel"] for answer in asked])
            process.send_signal(signal.SIGTERM)
            process.wait(HANG)
        lines = [json.loads(line) for line in process.said]
        assert [line["channel"] for line in lines if line["logger"] == "recbole_mind.access"] == found[-1]
        assert {line.get("channel") for line in lines if "serves" in line["message"]} == {"mind", "ytdnn"}
        assert "shares: mind 0.5, ytdnn 0.5" in [line["message"] for line in lines]
    assert found[0] == found[1]
    assert set(found[0]) == {"mind", "ytdnn"}


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
