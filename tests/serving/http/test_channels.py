"""Several channels in one service: who answers whom, what is said of it, and what happens where one fails."""

import json
import logging
import math
import shutil
import threading

import pyarrow.parquet as pq
import pytest

from recbole_mind.analysis.ab_test import comparison, events
from recbole_mind.errors import InputError
from recbole_mind.serving.http.assignment import Assignment
from recbole_mind.serving.http.metrics import Metrics
from recbole_mind.serving.http.schema import InterestsAnswer, ItemsAnswer, RecallAnswer, State, VersionAnswer
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.store.store import Store
from tests.support.questions import HISTORY, as_answer
from tests.support.serving import running
from tests.support.waiting import until

USERS = [f"u{number}" for number in range(60)]


def question(user, **more):
    return {"history": HISTORY, "n": 10, "user": user} | more


@pytest.fixture
def stores(two_bundles, tmp_path):
    """A store for each channel, of one version each."""
    found = {}
    for name, bundle in zip(("mind", "ytdnn"), two_bundles, strict=True):
        found[name] = Store(tmp_path / name)
        found[name].publish(bundle, force="for a test")
    return found


@pytest.fixture
def serve(stores, tmp_path):
    """Starts a service of both channels."""

    def start(given=None, **settings):
        folders = {name: store.folder for name, store in stores.items()}
        return running(None, given, **{"channels": folders, "assignment_key": tmp_path / "key"} | settings)

    return start


@pytest.fixture
def split(tmp_path):
    """The assignment that any service with this key makes, and a user of each channel."""
    found = Assignment(("mind", "ytdnn"), tmp_path / "key", "", None, Metrics())
    return found, {name: next(user for user in USERS if found.channel(user) == name) for name in found.channels}


def test_each_user_is_answered_by_one_channel(serve, stores, split, two_bundles):
    recallers = dict(zip(stores, (Recaller.load(bundle, threads=1) for bundle in two_bundles), strict=True))
    assignment, _ = split
    with serve() as served, serve() as other:  # two processes would do the same: nothing is shared but the key's file
        for user in USERS:
            name = assignment.channel(user)
            recaller = recallers[name]
            told = {"channel": name, "assigned": name}
            answer = served.post("/recall", question(user))
            assert answer.json == as_answer(recaller.recall(HISTORY, n=10), recaller.bundle_id) | told
            RecallAnswer.model_validate(answer.json)
            assert other.post("/recall", question(user)).body == answer.body
            said = served.post("/interests", {"history": HISTORY, "user": user}).json
            assert said["vectors"] == recaller.interests(HISTORY).vectors.tolist()
            assert {name: said[name] for name in ("bundle", *told)} == {"bundle": recaller.bundle_id} | told
            InterestsAnswer.model_validate(said)
        found = served.get("/items?limit=3").json
        assert (found["channel"], found["bundle"]) == ("mind", recallers["mind"].bundle_id)
        ItemsAnswer.model_validate(found)
        nobody = [served.post("/recall", {"history": HISTORY, "n": 1}).json["channel"] for _ in range(80)]
        assert set(nobody) == set(stores)  # of 2**79 times once
        assert served.post("/recall", question("u1", channel="mind")).error == (422, "invalid", "channel")
        assert served.post("/recall", question("")).error == (422, "invalid", "user")


def test_it_says_how_each_channel_is(serve, stores):
    ids = {name: store.current() for name, store in stores.items()}
    with serve() as served:
        ready = served.get("/ready").json
        each = {name: {"status": "ready", "bundle": ids[name].name} for name in stores}
        assert ready == {"status": "ready", "bundle": ids["mind"].name, "channels": each}
        State.model_validate(ready)
        version = served.get("/version").json
        VersionAnswer.model_validate(version)
        assert version["bundle"] == version["channels"]["mind"]["bundle"] == ids["mind"].name
        assert version["channels"]["ytdnn"]["bundle"] == ids["ytdnn"].name
        assert version["channels"]["ytdnn"]["max_history"] == 10
        assert served.get("/health").json["status"] == "ok"


def test_figures_have_the_channel(serve, split):
    _, users = split
    with serve() as served:
        served.post("/recall", question(users["mind"]))
        served.post("/recall", question(users["mind"], allowed=[]))
        served.post("/recall", question(users["ytdnn"], history=[]))
        served.post("/recall", {"history": 3})
        wanted = {
            'recalls_total{channel="mind"}': 2,
            'recalls_total{channel="ytdnn"}': 1,
            'empty_recalls_total{channel="mind"}': 1,
            'empty_recalls_total{channel="ytdnn"}': 0,
            'fallbacks_total{channel="ytdnn",reason="empty history"}': 1,
            'funnel_items_total{channel="mind",stage="proposed"}': 100,
            'candidates_bucket{channel="mind",le="0.0"}': 1,
            'requests_total{channel="mind",path="/recall",status="200"}': 2,
            'requests_total{channel="ytdnn",path="/recall",status="200"}': 1,
            'requests_total{channel="",path="/recall",status="422"}': 1,
            'request_seconds_count{channel="ytdnn",path="/recall"}': 1,
            'pool_items{channel="ytdnn"}': 50,
            'swaps_total{channel="mind",result="done"}': 0,
            'looks_total{channel="ytdnn",result="failed"}': 0,
            'channel_share{channel="mind"}': 0.5,
        }
        assert {name: served.figure(f"recbole_mind_{name}") for name in wanted} == wanted
        text = served.get("/metrics").body.decode()
        assert 'recbole_mind_channel_fallbacks_total{channel="ytdnn",to="mind"} 0.0' in text
        assert text.count("# TYPE recbole_mind_recalls_total ") == 1
        for line in text.splitlines():  # nothing of a bundle is said without its channel
            if line.startswith(("recbole_mind_recalls", "recbole_mind_bundle_", "recbole_mind_seconds_since_look")):
                assert 'channel="' in line


def test_shares_change_without_a_restart(serve, tmp_path, caplog):
    shares = tmp_path / "shares.yaml"
    shares.write_text("mind: 1\nytdnn: 0\n")

    def answering():
        return {served.post("/recall", question(user)).json["channel"] for user in USERS}

    with serve(shares=shares) as served:
        assert answering() == {"mind"}
        shares.write_text("mind: 0.0\nytdnn: 1.0\n")
        until(lambda: served.figure('recbole_mind_share_loads_total{result="done"}') == 1)
        assert answering() == {"ytdnn"}
        shares.write_text("mind: 1\nytdn: 0\n")
        until(lambda: served.figure('recbole_mind_share_loads_total{result="failed"}') == 1)
        assert answering() == {"ytdnn"}
        assert caplog.text.count("the shares stay: ") == 1
        shares.write_text("mind: 0.50\nytdnn: 0.50\n")
        until(lambda: served.figure('recbole_mind_share_loads_total{result="done"}') == 2)
        assert answering() == {"mind", "ytdnn"}
        served.service.reload()  # as a signal has it
        until(lambda: served.figure('recbole_mind_share_loads_total{result="done"}') == 3)


# -- fallback --------------------------------------------------------------------------------------------------------


def damage(folder, name="counts.npy"):
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    return lambda: path.write_bytes(whole)


def test_a_channel_whose_bundle_goes_is_answered_for_and_counted(serve, stores, split, caplog):
    _, users = split
    counted = 'recbole_mind_channel_fallbacks_total{channel="ytdnn",to="mind"}'
    with serve() as served:
        mind = served.post("/recall", question(users["mind"])).json
        mend = damage(stores["ytdnn"].current())
        until(lambda: served.service.channels.bundles["ytdnn"].serving is None)
        found = served.post("/recall", question(users["ytdnn"]))
        assert found.status == 200
        assert found.json == mind | {"assigned": "ytdnn"}  # mind answers, and says so
        RecallAnswer.model_validate(found.json)
        assert served.post("/interests", {"history": HISTORY, "user": users["ytdnn"]}).json["channel"] == "mind"
        assert served.post("/recall", question(users["mind"])).json == mind
        assert served.figure(counted) == 2
        assert served.figure('recbole_mind_channel_fallbacks_total{channel="mind",to="ytdnn"}') == 0
        assert served.figure('recbole_mind_recalls_total{channel="mind"}') == 3
        ready = served.get("/ready")
        assert (ready.status, ready.json["status"]) == (200, "degraded")
        assert ready.json["channels"]["ytdnn"] == {"status": "not_ready", "bundle": None}
        assert ready.json["channels"]["mind"]["status"] == "ready"
        assert served.get("/version").json["channels"]["ytdnn"]["bundle"] is None
        assert "channel ytdnn: bundle" in caplog.text
        mend()
        served.service.reload()
        until(lambda: served.get("/ready").json["status"] == "ready")
        assert served.post("/recall", question(users["ytdnn"])).json["channel"] == "ytdnn"
        assert served.figure(counted) == 2
        for store in stores.values():
            damage(store.current())
        until(lambda: served.get("/ready").status == 503)
        assert served.post("/recall", question(users["mind"])).error == (503, "not_ready", None)
        assert served.get("/items").error == (503, "not_ready", None)


def test_a_swap_that_fails_leaves_a_channel_its_old_bundle(serve, stores, split, two_bundles, caplog):
    """What is published next is damaged: its channel goes on with what it has, and nobody falls back."""
    _, users = split
    with serve() as served:
        before = served.post("/recall", question(users["ytdnn"])).json
        version = stores["ytdnn"].publish(two_bundles[0], force="for a test")
        until(lambda: served.get("/ready").json["channels"]["ytdnn"]["bundle"] == version.id)
        stores["ytdnn"].rollback(before["bundle"])
        until(lambda: served.get("/ready").json["channels"]["ytdnn"]["bundle"] == before["bundle"])
        damage(stores["ytdnn"].version(version.id))
        pointer = {"id": version.id, "event": 9}
        (stores["ytdnn"].folder / "current").write_text(json.dumps(pointer))
        until(lambda: served.figure('recbole_mind_swaps_total{channel="ytdnn",result="failed"}') == 1)
        assert served.post("/recall", question(users["ytdnn"])).json == before
        ready = served.get("/ready").json
        assert ready["status"] == ready["channels"]["ytdnn"]["status"] == "degraded"
        assert ready["channels"]["mind"]["status"] == "ready"
        assert served.figure('recbole_mind_channel_fallbacks_total{channel="ytdnn",to="mind"}') == 0
        assert "channel ytdnn: the bundle that serves stays: " in caplog.text


def test_a_channel_that_fails_in_recall_is_answered_for(serve, split, monkeypatch, caplog):
    _, users = split
    real, failing = Recaller.recall, set()

    def recall(self, *arguments, **options):
        if self.bundle_id in failing:
            raise RuntimeError("secret of u1")
        return real(self, *arguments, **options)

    with serve() as served:
        ids = {name: each["bundle"] for name, each in served.get("/ready").json["channels"].items()}
        monkeypatch.setattr(Recaller, "recall", recall)
        failing.add(ids["mind"])
        for _ in range(3):
            found = served.post("/recall", question(users["mind"]))
            assert found.status == 200
            assert (found.json["channel"], found.json["assigned"], found.json["bundle"]) == (
                "ytdnn", "mind", ids["ytdnn"],
            )  # fmt: skip
        assert served.figure('recbole_mind_channel_fallbacks_total{channel="mind",to="ytdnn"}') == 3
        assert served.figure('recbole_mind_requests_total{channel="ytdnn",path="/recall",status="200"}') == 3
        said = [record for record in caplog.records if "failed, another answers" in record.getMessage()]
        assert len(said) == 1  # once a minute
        assert "RuntimeError" in said[0].getMessage()
        assert said[0].channel == "mind"
        assert "secret" not in caplog.text
        assert served.post("/recall", question(users["mind"], n=0)).status == 422  # a client's fault is nobody else's
        failing.add(ids["ytdnn"])
        assert served.post("/recall", question(users["mind"])).error == (500, "internal", None)
        assert served.figure('recbole_mind_channel_fallbacks_total{channel="mind",to="ytdnn"}') == 3
        failing.clear()
        refused = served.post("/recall", question(users["mind"], category="nothing", diversity=1))
        assert refused.error == (422, "invalid", "category")
        assert served.figure('recbole_mind_channel_fallbacks_total{channel="mind",to="ytdnn"}') == 3


def test_the_order_of_the_channels_is_that_of_the_fallback(two_bundles, tmp_path):
    folders = {}
    for name in ("c", "b", "a"):
        shutil.copytree(two_bundles[0], folders.setdefault(name, tmp_path / name))
    shares = tmp_path / "shares.yaml"
    shares.write_text("c: 0\nb: 0\na: 1\n")
    with running(None, channels=folders, assignment_key=tmp_path / "key", shares=shares) as served:
        answering = lambda: served.post("/recall", question("u1")).json["channel"]  # noqa: E731
        assert answering() == "a"
        for gone, then in (("a", "c"), ("c", "b")):
            damage(folders[gone])
            until(lambda gone=gone: served.service.channels.bundles[gone].serving is None)
            assert answering() == then


def test_swaps_of_both_channels_cost_no_request(serve, stores, split, two_bundles):
    """Both stores change under the requests of both channels' users: none fails, and none is answered by the other."""
    _, users = split
    for store, bundle in zip(stores.values(), reversed(two_bundles), strict=True):
        store.publish(bundle, force="for a test")
    ids = {name: [each.id for each in store.history()][:2] for name, store in stores.items()}
    with serve({"poll_seconds": 0.02}) as served:
        wrong, stop = [], threading.Event()

        def ask(name):
            while not stop.is_set():
                answer = served.post("/recall", question(users[name]))
                if answer.status != 200 or (answer.json["channel"], answer.json["assigned"]) != (name, name):
                    wrong.append((answer.status, answer.body))
                    return

        threads = [threading.Thread(target=ask, args=(name,)) for name in [*stores] * 2]
        for thread in threads:
            thread.start()
        for turn in range(10):
            for name, store in stores.items():
                store.rollback(ids[name][turn % 2])
            for name in stores:
                until(
                    lambda turn=turn, name=name: (
                        served.get("/ready").json["channels"][name]["bundle"] == ids[name][turn % 2]
                    )
                )
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert served.figure('recbole_mind_swaps_total{channel="mind",result="done"}') == 10


# -- the start -------------------------------------------------------------------------------------------------------


def test_a_service_starts_where_one_channel_can_serve(serve, stores, split, two_bundles, caplog):
    _, users = split
    mend = damage(stores["mind"].current())
    with serve() as served:
        assert "channel mind: no bundle serves: " in caplog.text
        assert "'counts.npy' was changed" in caplog.text
        assert served.get("/ready").json["status"] == "degraded"
        assert served.post("/recall", question(users["mind"])).json["channel"] == "ytdnn"
        assert served.get("/items").json["channel"] == "ytdnn"
        assert served.figure('recbole_mind_looks_total{channel="mind",result="failed"}') >= 1
        mend()
        served.service.reload()
        until(lambda: served.get("/ready").json["status"] == "ready")
        assert served.post("/recall", question(users["mind"])).json["channel"] == "mind"
    damage(stores["mind"].current())
    damage(stores["ytdnn"].current())
    with pytest.raises(InputError, match=r"'counts\.npy' was changed"), serve():
        pass


def test_a_channel_may_wait_for_its_first_version(serve, stores, tmp_path, two_bundles, caplog):
    empty = Store(tmp_path / "empty")
    empty.folder.mkdir()
    (empty.folder / "manifest.json").write_text(json.dumps({"format": "recbole-mind store", "version": 1}))
    with serve(channels={"mind": stores["mind"].folder, "new": empty.folder}) as served:
        assert caplog.text.count("channel new: store '") == 1
        assert served.get("/ready").json["channels"]["new"]["status"] == "not_ready"
        assert {served.post("/recall", question(user)).json["channel"] for user in USERS} == {"mind"}
        empty.publish(two_bundles[1], force="for a test")
        until(lambda: served.get("/ready").json["status"] == "ready")
        assert {served.post("/recall", question(user)).json["channel"] for user in USERS} == {"mind", "new"}


def test_lists_of_items_hold_in_every_channel(serve, stores, split, tmp_path):
    _, users = split
    pool, deny = tmp_path / "pool.txt", tmp_path / "deny.txt"
    pool.write_text("i2\ni4\ni30\n")
    deny.write_text("i30\n")
    with serve(pool=pool, deny=deny) as served:
        items = lambda name: set(served.post("/recall", question(users[name])).json["items"])  # noqa: E731
        assert items("mind") == items("ytdnn") == {"i2", "i4"}
        deny.write_text("i2\n")
        until(lambda: items("mind") == items("ytdnn") == {"i4", "i30"})
        assert served.figure('recbole_mind_pool_items{channel="ytdnn"}') == 2
        assert served.figure('recbole_mind_pool_loads_total{channel="mind",result="done"}') == 1


# -- events ----------------------------------------------------------------------------------------------------------


def test_events_count_by_assignment_and_say_who_answered(serve, stores, split, tmp_path):
    """Users whose channel could not answer stay in it: they are not missing from the one, nor added to the other."""
    assignment, users = split
    with serve(events=tmp_path / "log") as served:

        def show(user, click):
            answer = served.post("/recall", question(user)).json
            given = [{"request": answer["request"], "item": item, "event": "impression"} for item in answer["items"]]
            given += [given[0] | {"event": "click"}] if click else []
            assert served.post("/events", {"events": given}).json["taken"] == len(given)
            return answer["bundle"][:12]

        for user in USERS:
            show(user, assignment.channel(user) == "mind")
        bundle = show(users["ytdnn"], False)
        figure = f'recbole_mind_events_total{{bundle="{bundle}",channel="ytdnn",event="impression",position="unknown"}}'
        many = 10 * (1 + sum(assignment.channel(user) == "ytdnn" for user in USERS))
        assert served.figure(figure) == many  # both bundles serve, so neither is an earlier one
        damage(stores["ytdnn"].current())
        until(lambda: served.service.channels.bundles["ytdnn"].serving is None)
        other = show(users["ytdnn"], False)
        assert other != bundle
    tables = [pq.read_table(path).to_pylist() for path in (tmp_path / "log").glob("*.parquet")]
    rows = [row for table in tables for row in table]
    fallen = [row for row in rows if row["answered"] != row["channel"]]
    assert len(fallen) == 10
    assert {(row["channel"], row["answered"], row["bundle"]) for row in fallen} == {("ytdnn", "mind", other)}
    found = events.read(tmp_path / "log")
    assert found.left_out == {}  # nobody changed the channel
    rates = comparison.compare(found, control="mind").channels
    wanted = {name: sum(assignment.channel(user) == name for user in USERS) for name in stores}
    assert {name: each.users for name, each in rates.items()} == wanted
    assert rates["ytdnn"].impressions == many + 10


def test_requests_of_nobody_are_dealt_too(serve, tmp_path):
    with serve(events=tmp_path / "log") as served:
        given = []
        for _ in range(200):
            answer = served.post("/recall", {"history": HISTORY, "n": 1}).json
            given.append({"request": answer["request"], "item": answer["items"][0], "event": "impression"})
        served.post("/events", {"events": given})
    rates = comparison.compare(events.read(tmp_path / "log"), control="mind").channels
    assert sum(each.users for each in rates.values()) == 200
    assert abs(rates["mind"].users - 100) < 5 * math.sqrt(50)


# -- the log ---------------------------------------------------------------------------------------------------------


def test_lines_of_the_log_have_the_channel(serve, stores, split, caplog):
    _, users = split
    caplog.set_level(logging.INFO, "recbole_mind.access")
    with serve() as served:
        served.post("/recall", question(users["ytdnn"]))
        served.get("/health")
        damage(stores["ytdnn"].current())
        until(lambda: served.service.channels.bundles["ytdnn"].serving is None)
        served.post("/recall", question(users["ytdnn"]))
    lines = [record for record in caplog.records if record.name == "recbole_mind.access"]
    asked = [record for record in lines if record.path == "/recall"]
    assert [(record.channel, record.assigned) for record in asked] == [("ytdnn", "ytdnn"), ("mind", "ytdnn")]
    assert asked[1].getMessage().endswith(" channel=mind assigned=ytdnn")
    assert not hasattr(next(record for record in lines if record.path == "/health"), "channel")
    assert not any(user in caplog.text for user in users.values())
