"""Log lines and request ids."""

import json
import logging
import re
import signal

import pytest

from recbole_mind.serving.http.logs import Seldom
from tests.support.commands import BODY, command
from tests.support.serving import JSON, running
from tests.support.waiting import HANG


def test_a_line_of_json_tells_of_each_request(two_bundles):
    with command(two_bundles[0], "--access-log", "--log-format=json") as (served, process):
        answer = served.post("/recall", BODY, **JSON, **{"X-Request-ID": "a-1:b.C_d"})
        assert answer.headers["x-request-id"] == "a-1:b.C_d"
        bundle = answer.json["bundle"]
        assert served.post("/recall", b'{"history": ["i17"], "n": 0}', **JSON).status == 422
        assert served.get("/i17?i17").status == 404
        process.send_signal(signal.SIGTERM)
        process.wait(HANG)
    lines = [json.loads(line) for line in process.said]
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
        assert {"level", "logger", "message"} <= set(line)
    good, refused, lost = (line for line in lines if line["logger"] == "recbole_mind.access")
    wanted = {"request": "a-1:b.C_d", "bundle": bundle, "method": "POST", "path": "/recall", "status": 200}
    assert {name: good[name] for name in wanted} == wanted
    assert 0 < good["ms"] < 20_000
    assert (refused["status"], refused["bundle"]) == (422, bundle)
    assert (lost["path"], lost["status"], lost["bundle"]) == ("other", 404, None)
    assert "i17" not in "".join(process.said)


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "é", 'a"b', "a;b"])
def test_an_id_that_does_not_fit_into_a_log_is_replaced(two_bundles, name):
    with running(two_bundles[0]) as served:
        found = [
            served.get("/health", **{"X-Request-ID": name.encode("latin-1")}).headers["x-request-id"] for _ in "ab"
        ]
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in found)
    assert found[0] != found[1]


def test_what_a_client_can_cause_is_said_once_a_minute(caplog, monkeypatch):
    logger = logging.getLogger("recbole_mind.tested")
    seldom = Seldom()
    logger.addFilter(seldom)
    for turn in range(1000):
        logger.warning("bad %d", turn)
    logger.warning("something else")
    assert [record.getMessage() for record in caplog.records] == ["bad 0", "something else"]
    monkeypatch.setattr("recbole_mind.serving.http.logs.SELDOM", 0.0)
    logger.warning("bad %d", 1000)
    assert caplog.records[-1].getMessage() == "bad 1000 (999 more in the last minute)"
