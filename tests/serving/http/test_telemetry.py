"""What the service tells about itself: log lines, request ids, and that alerts and boards ask for what there is."""

import json
import logging
import re
import shutil
import signal
import subprocess
from importlib.resources import files

import pytest
import yaml

from recbole_mind.serving.http.logs import Seldom
from recbole_mind.serving.http.metrics import Metrics
from recbole_mind.serving.store.gate import Checked
from recbole_mind.serving.store.store import Store
from tests.serving.http.test_hostile import BODY, command
from tests.support.serving import JSON, running, until

PRODUCTION = files("recbole_mind.properties") / "production"


def test_a_line_of_json_tells_of_each_request(two_bundles):
    with command(two_bundles[0], "--access-log", "--log-format=json") as (served, process):
        answer = served.post("/recall", BODY, **JSON, **{"X-Request-ID": "a-1:b.C_d"})
        assert answer.headers["x-request-id"] == "a-1:b.C_d"
        bundle = answer.json["bundle"]
        assert served.post("/recall", b'{"history": ["i17"], "n": 0}', **JSON).status == 422
        assert served.get("/i17?i17").status == 404
        process.send_signal(signal.SIGTERM)
        process.wait(20)
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


def test_what_the_gate_blocked_is_shown(two_bundles, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(two_bundles[1], bad)
    history = Store(tmp_path / "store", checks=lambda *_: Checked((), ("it is bad",), {}))
    good = Store(tmp_path / "store")
    good.publish(two_bundles[0], force="for a test")
    with running(good.folder) as served:
        for many in (1, 2):
            assert history.publish(bad, who=f"{many}").event == "blocked"
            until(lambda many=many: served.figure("recbole_mind_gate_blocks") == many)
        good.publish(two_bundles[1], force="for a test")
        until(lambda: served.figure("recbole_mind_gate_blocks") == 0)


# -- alerts and boards -----------------------------------------------------------------------------------------------


def names_of(text):
    return set(re.findall(r"\b(?:recbole_mind|process)_\w+", text))


def served_names():
    """The names of all series that /metrics has, those of histograms with their endings."""
    found = set()
    for line in Metrics().text().decode().splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            found |= {f"{name}{end}" for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    return found


@pytest.fixture
def rules():
    return yaml.safe_load((PRODUCTION / "alerts.yaml").read_text())


@pytest.fixture
def board():
    return json.loads((PRODUCTION / "dashboard.json").read_text())


WATCHED = {  # what an alert and the board must look at
    "recbole_mind_empty_recalls_total",
    "recbole_mind_request_seconds_bucket",
    "recbole_mind_requests_total",
    "recbole_mind_swaps_total",
    "recbole_mind_bundle_age_seconds",
    "recbole_mind_gate_blocks",
}


def test_alerts_ask_for_what_is_served(rules):
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    asked = set()
    for rule in alerts:
        assert {"alert", "expr", "for", "labels", "annotations"} == set(rule)
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert {"summary", "description"} == set(rule["annotations"])
        asked |= names_of(rule["expr"])
        assert names_of(rule["expr"])
    assert asked <= served_names()
    assert asked >= WATCHED


def test_the_board_asks_for_what_is_served(board):
    asked, places = set(), []
    for panel in board["panels"]:
        assert panel["targets"]
        assert panel["title"]
        for target in panel["targets"]:
            assert names_of(target["expr"])
            asked |= names_of(target["expr"])
            assert target["expr"].count("(") == target["expr"].count(")")
        grid = panel["gridPos"]
        places += [
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        ]
    assert len(set(places)) == len(places)  # no panel lies on another
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert asked <= served_names()
    assert asked >= WATCHED | {"recbole_mind_funnel_items_total"}


def test_promtool_takes_the_alerts_and_what_is_served(two_bundles, rules, board, tmp_path):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run(
        ["promtool", "check", "rules", str(PRODUCTION / "alerts.yaml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        ["promtool", "test", "rules", str(PRODUCTION / "alerts-test.yaml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    parsed = {"groups": [{"name": "board", "rules": [{"record": f"a:b{i}", "expr": e} for i, e in enumerate(asked)]}]}
    (tmp_path / "board.yaml").write_text(json.dumps(parsed).replace("$__rate_interval", "5m").replace("$job", "a"))
    done = subprocess.run(["promtool", "check", "rules", str(tmp_path / "board.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with running(two_bundles[0]) as served:
        served.post("/recall", BODY, **JSON)
        text = served.get("/metrics").body.decode()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert "error" not in (done.stdout + done.stderr).lower(), done.stderr
