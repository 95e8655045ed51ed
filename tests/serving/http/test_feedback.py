"""Impressions and clicks: taken once, kept, counted, and refused where they are none of this service's."""

import errno
import json
import os
import random
import re
import threading

import pyarrow.parquet as pq
import pytest

from recbole_mind.analysis.ab_test import comparison, events
from recbole_mind.errors import InputError
from recbole_mind.serving.events import log
from recbole_mind.serving.http import feedback
from recbole_mind.serving.http.app import create_app
from recbole_mind.serving.http.feedback import Feedback
from recbole_mind.serving.http.metrics import Metrics
from recbole_mind.serving.http.schema import EventsAnswer, EventsQuery, RecallAnswer, limits
from recbole_mind.serving.http.settings import Settings
from tests.support.questions import HISTORY
from tests.support.serving import running
from tests.support.waiting import until


@pytest.fixture
def kept(two_bundles, tmp_path):
    given = {"max_events": 40, "max_token": 20, "max_body": 50_000}
    with running(two_bundles[0], given, events=tmp_path / "events", channel="mind") as service:
        yield service


def asked(service, user="u1"):
    answer = service.post("/recall", {"history": HISTORY, "n": 5} | ({} if user is None else {"user": user}))
    assert answer.status == 200
    RecallAnswer.model_validate(answer.json)
    return answer.json


def sent(service, *given):
    return service.post("/events", {"events": list(given)})


def of(answer, place, kind="impression"):
    event = {"request": answer["request"], "item": answer["items"][place], "event": kind}
    return event | ({"position": place + 1} if kind == "impression" else {})


def test_what_is_sent_stands_in_the_log(two_bundles, tmp_path):
    with running(two_bundles[0], events=tmp_path / "log", channel="mind") as service:
        answer, other = asked(service), asked(service, None)
        shown = [of(answer, place) for place in range(5)]
        found = sent(service, *shown, of(answer, 2, "click"), of(other, 0))
        assert found.json == {"taken": 7, "repeated": 0}
        EventsAnswer.model_validate(found.json)
        assert sent(service, *shown, of(other, 1)).json == {"taken": 1, "repeated": 5}
        assert sent(service, of(other, 1), of(other, 1)).json == {"taken": 0, "repeated": 2}
        bundle = answer["bundle"][:12]
        assert service.figure(_figure("mind", bundle, "impression", "2")) == 2
        assert service.figure(_figure("mind", bundle, "click", "unknown")) == 1
        # who was not named is nobody's double, and is not counted among the users
        assert service.figure('recbole_mind_event_users{channel="mind",event="impression"}') == 1
        assert service.figure('recbole_mind_event_users{channel="mind",event="click"}') == 1
    table = pq.read_table(next((tmp_path / "log").glob("*.parquet")))
    assert table.num_rows == 8
    assert set(table["channel"].to_pylist()) == {"mind"}
    assert set(table["bundle"].to_pylist()) == {bundle}
    assert table["item"].to_pylist()[:5] == answer["items"]
    assert table["position"].to_pylist()[:6] == [1, 2, 3, 4, 5, None]
    users = table["user"].to_pylist()
    assert users[:6] == ["u1"] * 6
    assert users[6] == users[7] not in ("u1", "")
    rates = comparison.compare(events.read(tmp_path / "log")).channels["mind"]
    assert (rates.users, rates.impressions, rates.clicks) == (2, 7, 1)


def _figure(channel, bundle, event, position):
    labels = f'bundle="{bundle}",channel="{channel}",event="{event}",position="{position}"'
    return f"recbole_mind_events_total{{{labels}}}"


def test_ids_hold_over_a_restart_and_repeats_count_once(two_bundles, tmp_path):
    with running(two_bundles[0], events=tmp_path / "log") as service:
        answer = asked(service)
        assert sent(service, of(answer, 0)).json["taken"] == 1
    with running(two_bundles[0], events=tmp_path / "log") as service:
        assert sent(service, of(answer, 0), of(answer, 0, "click")).json["taken"] == 2  # not known to be a repeat
    found = events.read(tmp_path / "log")
    assert found.clicked.tolist() == [True]
    assert found.left_out == {"repeated events": 1}
    assert found.channels == ["default"]


def test_a_list_with_one_wrong_event_is_not_taken(kept):
    answer = asked(kept)
    good, wrong = of(answer, 0), of(answer, 1) | {"request": answer["request"] + "x"}
    assert sent(kept, good, wrong).error == (422, "invalid", "events.1.request")
    assert sent(kept, good).json == {"taken": 1, "repeated": 0}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"request": ""}, "events.0.request"),
        ({"request": None}, "events.0"),
        ({"item": 3}, "events.0"),
        ({"item": "i" * 21}, "events.0"),
        ({"item": ""}, "events.0"),
        ({"event": "seen"}, "events.0"),
        ({"position": 0}, "events.0"),
        ({"position": 2**31}, "events.0"),
        ({"position": 1.5}, "events.0"),
        ({"user": "u2"}, "events.0"),
    ],
)
def test_what_is_no_event_is_refused(kept, change, field):
    refused = sent(kept, of(asked(kept), 0) | change)
    assert refused.status == 422
    assert refused.json["error"]["field"].startswith(field)


def test_malformed_bodies_are_refused_and_cost_nothing(kept):
    """10,000 bodies, made of good ones by changes at random: none is a fault of ours, none that is refused is kept."""
    random_, answer = random.Random(0), asked(kept)
    given = json.dumps({"events": [of(answer, place) for place in range(5)]}).encode()
    statuses = {}
    feedback_ = kept.service.feedback
    before = feedback_.log._count
    for _ in range(10_000):
        body = bytearray(given)
        for _ in range(random_.randint(1, 3)):
            place = random_.randrange(len(body))
            body[place : place + random_.randint(0, 3)] = bytes(
                random_.randrange(256) for _ in range(random_.randint(0, 3))
            )
        try:
            found = json.loads(feedback_.take(_query(kept, bytes(body))))
            statuses["taken"] = statuses.get("taken", 0) + found["taken"]
        except feedback.Refused as refused:
            statuses[refused.status] = statuses.get(refused.status, 0) + 1
    assert set(statuses) <= {"taken", 400, 422}
    assert statuses[400] > 1000 < statuses[422]
    assert feedback_.log._count == before + statuses.get("taken", 0)
    many = {"events": [of(answer, 0)] * 41}
    assert kept.post("/events", many).status == 422
    assert kept.post("/events", {"events": []}).error == (422, "invalid", "events")
    assert kept.service.metrics.registry.get_sample_value("recbole_mind_events_not_kept_total") == 0


def _query(service, body):
    from recbole_mind.serving.http.schema import read

    return read(body, service.service.queries.events, service.service.queries.events_shape)


def test_events_that_cannot_be_kept_are_to_be_sent_again(kept, monkeypatch):
    answer = asked(kept)
    real = log._write

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(log, "_write", full)
    refused = sent(kept, of(answer, 0), of(answer, 1))
    assert refused.error == (503, "not_kept", None)
    assert refused.headers["retry-after"] == "5"
    assert kept.figure("recbole_mind_events_not_kept_total") == 2
    assert kept.post("/recall", {"history": HISTORY}).status == 200
    monkeypatch.setattr(log, "_write", real)
    assert sent(kept, of(answer, 0), of(answer, 1)).json == {"taken": 2, "repeated": 0}


def test_many_clients_at_once(kept):
    answers = [asked(kept, f"u{number}") for number in range(8)]
    taken = []

    def work(answer):
        for _ in range(3):
            for place in range(5):
                found = kept.post("/events", {"events": [of(answer, place)]})
                assert found.status == 200
                taken.append(found.json["taken"])

    threads = [threading.Thread(target=work, args=(answer,)) for answer in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), sum(taken)) == (8 * 15, 8 * 5)


def test_a_service_without_a_log_knows_no_users_and_no_events(served):
    assert served.post("/recall", {"history": HISTORY, "user": "u1"}).error == (422, "invalid", "user")
    assert "request" not in served.post("/recall", {"history": HISTORY}).json
    assert served.post("/events", {"events": []}).status == 404


@pytest.fixture
def alone(tmp_path):
    one = Feedback(tmp_path / "log", Metrics(), 4)
    yield one
    one.stop()


def given(request, *items, event="click"):
    return EventsQuery(events=[{"request": request, "item": item, "event": event} for item in items])


def figure(one, name, **labels):
    return one._metrics.registry.get_sample_value(name, labels)


def test_old_repeats_are_forgotten_in_memory_alone(alone, monkeypatch):
    monkeypatch.setattr(feedback, "_SEEN", 3)
    requests = [alone.issue("a", "b" * 40, "u") for _ in range(3)]
    for request in requests:
        assert json.loads(alone.take(given(request, "1", "2")))["taken"] == 2
    assert list(alone._seen) == requests[2:] or len(alone._seen) == 1
    assert alone._seen_events == 2
    assert json.loads(alone.take(given(requests[2], "1", "2")))["repeated"] == 2


def test_an_answer_has_only_so_many_events(alone):
    request = alone.issue("a", "b" * 40, "u")
    alone.take(given(request, "1", "2", "3"))
    with pytest.raises(feedback.Refused) as refused:
        alone.take(given(request, "3", "4", "5"))
    assert (refused.value.status, refused.value.field) == (422, "events.2.request")
    assert json.loads(alone.take(given(request, "4", "4", "1")))["taken"] == 1


def test_an_old_answer_has_no_more_events(alone, monkeypatch):
    request, real = alone.issue("a", "b" * 40, "u"), feedback.time.time
    monkeypatch.setattr(feedback.time, "time", lambda: real() + 31 * 86_400)
    with pytest.raises(feedback.Refused) as refused:
        alone.take(given(request, "1"))
    assert "older than 30 days" in refused.value.message


def test_a_new_day_has_no_users_yet(alone, monkeypatch):
    alone.take(given(alone.issue("a", "b" * 40, "u"), "1"))
    alone.take(given(alone.issue("a", "b" * 40, "v"), "1"))
    labels = {"channel": "a", "event": "click"}
    assert figure(alone, "recbole_mind_event_users", **labels) == 2
    monkeypatch.setattr(alone, "_day", "2020-01-01")
    alone.take(given(alone.issue("a", "b" * 40, "u"), "1", event="impression"))
    assert figure(alone, "recbole_mind_event_users", **labels) is None
    assert figure(alone, "recbole_mind_event_users", channel="a", event="impression") == 1


def test_bundles_that_no_longer_serve_are_counted_together(alone):
    for bundle in ("b" * 40, "c" * 40, "d" * 40):
        alone.take(given(alone.issue("a", bundle, "u"), "1"), ["d" * 40])
    counted = {"channel": "a", "event": "click", "position": "unknown"}
    assert figure(alone, "recbole_mind_events_total", bundle="earlier", **counted) == 2
    assert figure(alone, "recbole_mind_events_total", bundle="d" * 12, **counted) == 1


def test_users_are_told_apart_up_to_a_number(alone, monkeypatch):
    monkeypatch.setattr(feedback, "_USERS", 2)
    for user in "uvwx":
        alone.take(given(alone.issue("a", "b" * 40, user), "1"))
    assert figure(alone, "recbole_mind_event_users", channel="a", event="click") == 2


def test_the_keeper_goes_on_whatever_happens(alone, monkeypatch, caplog):
    calls = []

    def fails():
        calls.append(1)
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(alone.log, "tend", fails)
    monkeypatch.setattr(feedback, "_LOOK", 0.01)
    alone.start()
    until(lambda: len(calls) > 2)
    assert "unforeseen" in caplog.text


def test_a_log_is_let_go_where_its_key_is_refused(tmp_path):
    (tmp_path / ".key").write_bytes(b"short")
    for _ in range(2):
        with pytest.raises(InputError, match="is not a key"):
            Feedback(tmp_path, Metrics(), 10)


def test_a_service_that_is_refused_lets_its_log_go(two_bundles, tmp_path):
    for _ in range(2):
        with pytest.raises(InputError, match="holds a key of length 5"):
            create_app(Settings(two_bundles[0], limits(), api_key="short", events=tmp_path / "log"))
    assert not (tmp_path / "log").exists()


def test_a_full_request_is_taken(two_bundles, tmp_path):
    with running(two_bundles[0], {"max_body": 2**20}, events=tmp_path / "log") as service:
        most = service.service.limits.max_events
        answers = [asked(service) for _ in range(most // 50)]
        events_ = [
            {"request": answer["request"], "item": f"i{place}", "event": "impression", "position": place}
            for answer in answers
            for place in range(1, 51)
        ]
        assert len(events_) == most
        assert sent(service, *events_).json == {"taken": most, "repeated": 0}


@pytest.mark.parametrize("user", ["", "u" * 21])
def test_a_user_has_a_name(kept, user):
    assert kept.post("/recall", {"history": HISTORY, "user": user}).error == (422, "invalid", "user")


def test_positions_are_counted_in_few_groups():
    groups = {feedback._group(position) for position in (None, *range(1, 200))}
    assert groups == {"unknown", "1", "2", "3", "4-10", "11-50", "51+"}
    assert re.fullmatch(r"4-10", feedback._group(4))
    assert (feedback._group(10), feedback._group(11), feedback._group(50), feedback._group(51)) == (
        "4-10", "11-50", "11-50", "51+",
    )  # fmt: skip
