"""What is counted, and that alerts and boards ask for what there is."""

import json
import re
import shutil
import subprocess
from importlib.resources import files

import pytest
import yaml

from recbole_mind.serving.http.metrics import Metrics
from recbole_mind.serving.store.gate import Checked
from recbole_mind.serving.store.store import Store
from tests.support.commands import BODY
from tests.support.questions import HISTORY
from tests.support.serving import JSON, running
from tests.support.waiting import until


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


PRODUCTION = files("recbole_mind.properties") / "production"


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
    "recbole_mind_channel_fallbacks_total",
}


def test_alerts_ask_for_what_is_served(rules):
    made = [rule for group in rules["groups"] for rule in group["rules"]]
    alerts, records = ([rule for rule in made if kind in rule] for kind in ("alert", "record"))
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    recorded = {rule["record"]: names_of(rule["expr"]) for rule in records}
    asked = set().union(*recorded.values())
    assert all(recorded.values())
    days = set()
    for rule in alerts:
        assert {"alert", "expr", "for", "labels", "annotations"} == set(rule)
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert {"summary", "description"} == set(rule["annotations"])
        asked |= names_of(rule["expr"])
        own = set(re.findall(r"recbole_mind:\w+:\w+", rule["expr"]))
        days |= own
        assert names_of(rule["expr"]) | own
    assert asked <= served_names()
    assert asked >= WATCHED
    assert days == set(recorded)  # each that is recorded is looked at


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
    for name in ("alerts-test.yaml", "alerts-days-test.yaml"):
        done = subprocess.run(["promtool", "test", "rules", str(PRODUCTION / name)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    parsed = {"groups": [{"name": "board", "rules": [{"record": f"a:b{i}", "expr": e} for i, e in enumerate(asked)]}]}
    (tmp_path / "board.yaml").write_text(json.dumps(parsed).replace("$__rate_interval", "5m").replace("$job", "a"))
    done = subprocess.run(["promtool", "check", "rules", str(tmp_path / "board.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    channels = dict(zip(("mind", "ytdnn"), two_bundles, strict=True))
    for folder, more in ((two_bundles[0], {}), (None, {"channels": channels, "assignment_key": tmp_path / "key"})):
        with running(folder, **more) as served:
            served.post("/recall", BODY, **JSON)
            text = served.get("/metrics").body.decode()
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        assert "error" not in (done.stdout + done.stderr).lower(), done.stderr
