"""What no client may do to the service: malformed requests of every kind are refused, and nothing breaks.

``RECBOLE_MIND_FUZZ`` sets how many requests each test makes, 10000 for a release.
"""

import json
import os
import socket

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.serving import JSON, Running, running

EXAMPLES = int(os.environ.get("RECBOLE_MIND_FUZZ", "100"))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=EXAMPLES < 1000,
    suppress_health_check=list(HealthCheck),
)
GOOD = json.dumps(
    {"history": ["i1", "i3", "x"], "n": 5, "profile": {"job": "j1"}, "allowed": ["i2", "i4"], "per_interest": True}
).encode()
PATHS = ("/recall", "/interests")


@pytest.fixture(scope="module")
def served(two_bundles):
    given = {
        "max_history": 50,
        "max_n": 50,
        "max_tokens": 50,
        "max_token": 30,
        "max_body": 1_000_000,
        "body_seconds": 2,
    }
    with running(two_bundles[0], given) as service:
        yield service


@pytest.fixture(autouse=True)
def _alive(served):
    """The service answers as before after whatever a test did."""
    before = served.post("/recall", GOOD, **JSON)
    assert before.status == 200
    yield
    after = served.post("/recall", GOOD, **JSON)
    assert (after.status, after.body) == (200, before.body)
    assert served.figure("recbole_mind_running") == 0
    text = served.get("/metrics").body.decode()
    assert 'status="5' not in text


def refused_or_answered(answer):
    """Never a fault of ours, and a refusal is a refusal's JSON without what must not be told."""
    assert 200 <= answer.status < 500, answer
    if answer.status != 200:
        answer.error  # noqa: B018 - it checks
        for word in (b"Traceback", b".py", b"/tmp", b"/home", b"bundle'"):
            assert word not in answer.body


# -- questions that are JSON -----------------------------------------------------------------------------------------

TOKEN = st.sampled_from(["i1", "i2", "i3", "i50", "x", "", "[PAD]", "i1\n", "\x00", "é" * 31]) | st.text(max_size=40)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TOKEN,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)
NUMBERS = st.integers(-5, 60) | st.integers() | st.floats()
QUESTION = st.fixed_dictionaries(
    {"history": st.lists(TOKEN, max_size=60) | ANYTHING},
    optional={
        "n": NUMBERS | ANYTHING,
        "profile": st.dictionaries(
            st.sampled_from(["job", "user_id", "age"]) | TOKEN,
            TOKEN | st.lists(TOKEN, max_size=3) | ANYTHING,
            max_size=4,
        ),
        "exclude_seen": st.booleans() | ANYTHING,
        "allowed": st.lists(TOKEN, max_size=60) | ANYTHING,
        "denied": st.lists(TOKEN, max_size=60) | ANYTHING,
        "per_interest": st.booleans() | ANYTHING,
        "diversity": NUMBERS | ANYTHING,
        "category": st.sampled_from(["tags", "genre"]) | ANYTHING,
        "names": st.booleans() | ANYTHING,
        "more": ANYTHING,
    },
)


@given(path=st.sampled_from(PATHS), question=QUESTION | ANYTHING, escaped=st.booleans())
@FUZZ
def test_any_json_is_answered_or_refused(served, path, question, escaped):
    body = json.dumps(question, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    refused_or_answered(served.post(path, body, **JSON))


# -- bodies that are not, and other requests -------------------------------------------------------------------------


@st.composite
def broken(draw):
    """A good body with bytes changed, cut, doubled or put in, or any bytes."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=300))
    body = bytearray(GOOD)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 20)))
        body[start:end] = draw(
            st.binary(max_size=8) | st.sampled_from([b'"', b"{", b"[" * 500, b"\\ud800", b"1e999", b"NaN"])
        )
    return bytes(body)


@given(path=st.sampled_from(PATHS), body=broken())
@FUZZ
def test_any_bytes_are_answered_or_refused(served, path, body):
    refused_or_answered(served.post(path, body, **JSON))


POST = b"POST /recall HTTP/1.1\r\nHost: localhost\r\n"
LETTERS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"]),
    path=st.sampled_from(["/", "/items", "/recall", "/health", "/docs", "/openapi.json"])
    | LETTERS.map(lambda t: "/" + t),
    query=LETTERS,
    headers=st.dictionaries(
        st.sampled_from(["Content-Type", "Accept", "X-API-Key", "Authorization", "Expect", "Cookie", "Range"]), LETTERS
    ),
    body=st.none() | st.binary(max_size=100),
)
@FUZZ
def test_any_request_is_answered_or_refused(served, method, path, query, headers, body):
    target = f"{path.replace('?', '')}?{query}" if query else path.replace("?", "")
    answer = served.ask(method, target, body, headers | ({"Content-Length": "0"} if body is None else {}))
    assert 200 <= answer.status < 500


@given(
    content=st.binary(max_size=400)
    | broken().map(lambda b: b"POST /recall HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\n" + b)
)
@settings(FUZZ, max_examples=min(EXAMPLES, 1000))
def test_what_is_not_http_harms_nobody(served, content):
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        try:
            while part := connection.recv(2**16):
                parts.append(part)
        except ConnectionResetError:
            pass
    said = b"".join(parts)
    assert not said.startswith(b"HTTP/1.1 5")


# -- what OpenAPI promises -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_answers_are_as_openapi_says(served: Running, mode):
    as_openapi_says(served, mode)


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_answers_of_channels_are_as_openapi_says(two_bundles, tmp_path, mode):
    channels = dict(zip(("mind", "ytdnn"), two_bundles, strict=True))
    with running(None, {"max_history": 50}, channels=channels, assignment_key=tmp_path / "key") as service:
        as_openapi_says(service, mode)


def as_openapi_says(served: Running, mode: str) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    import requests

    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    kind = schemathesis.GenerationMode(mode)
    session, tried = requests.Session(), []
    for operation in schema.get_all_operations():
        found = operation.ok()
        if found.method.upper() == "GET" and not found.query:
            found.Case().call_and_validate(session=session)
            continue
        if mode == "negative" and found.path == "/items":
            continue  # a query has no types: what is generated often is a good one

        @given(case=found.as_strategy(kind))
        @settings(FUZZ, max_examples=max(1, EXAMPLES // 3))
        def try_it(case):
            if mode == "positive" and isinstance(case.body, dict):
                case.body.pop("category", None)  # which there are is the bundle's to say, and it may change
                if given := sorted(
                    case.body.get("times") or []
                ):  # as many as the history, ascending: no schema says so
                    case.body["times"] = [given[min(n, len(given) - 1)] for n in range(len(case.body["history"]))]
                else:
                    case.body.pop("times", None)
            response = case.call(session=session)
            case.validate_response(response)
            assert response.status_code < 500
            tried.append(response.status_code)

        try_it()
    assert (200 if mode == "positive" else 422) in tried
