"""Who is answered: names of this host, and keys."""

import json
import os
import signal

import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving.http.access import Hosts, Keys
from recbole_mind.serving.http.description import OPEN
from tests.support.commands import BODY, command, connect, rest_of
from tests.support.serving import JSON, running
from tests.support.waiting import HANG, until

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


KEY, OTHER = "a-key-of-our-own", "another-key-of-ours"


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
        process.wait(HANG)
    said = "".join(process.said)
    assert "the keys stay: api-key-file" in said
    assert "path=/recall status=401" in said
    assert KEY not in said
    assert OTHER not in said
