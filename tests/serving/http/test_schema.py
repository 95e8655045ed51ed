"""What a request may hold, and what a service may be set to."""

import importlib.resources
import json
import re

import pytest

from recbole_mind.config import loading
from recbole_mind.errors import InputError
from recbole_mind.serving.http.schema import ServiceLimits, limits
from tests.support.questions import HISTORY
from tests.support.serving import JSON


def test_as_many_are_recalled_as_the_service_says(served):
    body = served.get("/openapi.json").json["paths"]["/recall"]["post"]["requestBody"]
    fields = body["content"]["application/json"]["schema"]["properties"]
    assert fields["n"]["maximum"] == fields["n"]["default"] == 50
    assert fields["history"]["maxItems"] == 60
    assert len(served.post("/recall", {"history": HISTORY}).json["items"]) == 50 - len(HISTORY)


# -- refusals --------------------------------------------------------------------------------------------------------

LONG = "y" * 21
NOT_JSON = [
    b"",
    b"{",
    b'{"history": [NaN]}',
    b'{"history": ["i1"], "diversity": Infinity}',
    b'{"history": ["i1"], "diversity": -Infinity}',
    b'{"history": ["\xff"]}',
    b'{"history": ["\\ud800"]}',
    b'{"\\uDFFF": []}',
    b'\xef\xbb\xbf{"history": []}',
    '{"history": []}'.encode("utf-16"),
    b'{"history": [], "history": ["i1"]}',
    b'{"history": [], "profile": {"job": "j1", "job": "j2"}}',
    b"[" * 3000,
    b"[" * 1500 + b"]" * 1500,
    b'{"a":' * 500,
    b'{"history": [], "n": ' + b"9" * 3900 + b".5e5}",
    b"{'history': []}",
    b'{"history": [],}',
]
NOT_ALLOWED = [
    ({}, "history"),
    ([], None),
    (None, None),
    ("history", None),
    (7, None),
    ({"history": None}, "history"),
    ({"history": "i1"}, "history"),
    ({"history": {"i1": 1}}, "history"),
    ({"history": ["i1", 2]}, "history.1"),
    ({"history": ["i1", ["i2"]]}, "history.1"),
    ({"history": ["i1"] * 61}, "history"),
    ({"history": ["i1", LONG]}, "history.1"),
    ({"history": [], "n": 0}, "n"),
    ({"history": [], "n": -1}, "n"),
    ({"history": [], "n": 51}, "n"),
    ({"history": [], "n": 10**30}, "n"),
    ({"history": [], "n": 2.5}, "n"),
    ({"history": [], "n": "5"}, "n"),
    ({"history": [], "n": True}, "n"),
    ({"history": [], "n": None}, "n"),
    ({"history": [], "exclude_seen": 1}, "exclude_seen"),
    ({"history": [], "per_interest": "yes"}, "per_interest"),
    ({"history": [], "allowed": ["i1"] * 41}, "allowed"),
    ({"history": [], "allowed": "i1"}, "allowed"),
    ({"history": [], "denied": [LONG]}, "denied.0"),
    ({"history": [], "denied": [None]}, "denied.0"),
    ({"history": [], "profile": ["j1"]}, "profile"),
    ({"history": [], "profile": {"job": 1}}, "profile.job"),
    ({"history": [], "profile": {"job": {"a": "b"}}}, "profile.job"),
    ({"history": [], "profile": {"job": ["j1", "j2"]}}, "profile"),
    ({"history": [], "profile": {LONG: "j1"}}, f"profile.{LONG}"),
    ({"history": [], "profile": {str(i): "a" for i in range(101)}}, "profile"),
    ({"history": [], "diversity": -0.1}, "diversity"),
    ({"history": [], "diversity": 1e300}, "diversity"),
    ({"history": [], "category": "colour"}, "category"),
    ({"history": [], "more": 1}, "more"),
    ({"history": [], "é" * 300: 1}, ("\\xe9" * 300)[:100]),
]


@pytest.mark.parametrize("body", NOT_JSON, ids=range(len(NOT_JSON)))
@pytest.mark.parametrize("path", ["/recall", "/interests"])
def test_what_is_not_json_is_refused(served, path, body):
    status, kind, _ = served.post(path, body, **JSON).error
    assert (status, kind) in ((400, "json"), (422, "invalid"))
    assert kind == "json" or b"9.5e5" in body  # a number, and far too large a one


@pytest.mark.parametrize(("question", "field"), NOT_ALLOWED, ids=range(len(NOT_ALLOWED)))
def test_what_is_not_allowed_is_refused_by_its_name(served, question, field):
    assert served.post("/recall", json.dumps(question).encode(), **JSON).error == (422, "invalid", field)


# -- the command -----------------------------------------------------------------------------------------------------


def test_every_setting_is_documented():
    text = (importlib.resources.files("recbole_mind.properties") / "production" / "serve.yaml").read_text()
    documented = re.findall(r"^(\w+): .*# \((?:int|float)\) \S", text, re.M)
    assert documented == list(loading.defaults("production", "serve"))
    assert set(documented) == set(ServiceLimits.model_fields)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_m": 3}, "unknown key 'max_m'; did you mean 'max_n'"),
        ({"max_n": 0}, "max_n"),
        ({"max_n": "x"}, "max_n"),
        ({"queue": -1}, "queue"),
        ({"workers": 1.5}, "workers"),
        ({"poll_seconds": 0}, "poll_seconds"),
        ({"drain_seconds": -1}, "drain_seconds"),
    ],
)
def test_settings_that_are_not_allowed_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        limits(given)
