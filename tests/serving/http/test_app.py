"""The service: what it answers, what it refuses, and that a new bundle costs no request."""

import re
import subprocess
import sys

import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving.http.schema import InterestsAnswer, RecallAnswer
from recbole_mind.serving.recaller import Recaller
from tests.support.pages import Page
from tests.support.questions import HISTORY, as_answer

# -- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "question",
    [
        {"history": HISTORY, "n": 20},
        {"history": [*HISTORY, "x"], "n": 7, "exclude_seen": False, "profile": {"job": "j1", "age": "7"}},
        {"history": HISTORY, "n": 50, "allowed": ["i2", "i3", "i4", "y"], "denied": ["i4"], "per_interest": True},
        {"history": HISTORY, "n": 10, "diversity": 0.5, "category": "tags", "profile": {"user_id": "u3", "job": None}},
        {"history": [], "n": 5},
        {"history": ["x", "y"], "n": 5, "denied": ["i1"]},
        {"history": HISTORY, "n": 5, "allowed": []},
    ],
)
def test_recall_is_the_recallers(served, recaller, question):
    answer = served.post("/recall", question)
    assert answer.status == 200
    assert answer.json == as_answer(recaller.recall(**question), recaller.bundle_id)
    RecallAnswer.model_validate(answer.json)


def test_interests_are_the_recallers(served, recaller):
    answer = served.post("/interests", {"history": ["x", *HISTORY], "profile": {"job": "j1", "b": "c"}, "names": True})
    found = recaller.interests(["x", *HISTORY], {"job": "j1", "b": "c"})
    assert answer.json == {
        "vectors": found.vectors.tolist(),
        "behaviors": HISTORY,
        "weights": found.weights.tolist(),
        "unknown": 1,
        "unknown_profile": ["b"],
        "names": ["The first one", *[None] * 7],
        "bundle": recaller.bundle_id,
    }
    InterestsAnswer.model_validate(answer.json)
    assert served.post("/interests", {"history": []}).json["vectors"] == []


def test_names_come_beside_the_items(served):
    answer = served.post("/recall", {"history": ["i3"], "n": 50, "names": True, "per_interest": True}).json
    named = dict(zip(answer["items"], answer["names"], strict=True))
    assert named["i1"] == "The first one"
    assert named["i2"] == "Another One"
    assert named["i7"] is None
    for each in answer["by_interest"]:
        assert each["names"] == [named[token] for token in each["items"]]


def test_the_service_says_how_it_is(served, recaller):
    assert served.get("/health").json["status"] == "ok"
    assert served.get("/ready").json == {"status": "ready", "bundle": recaller.bundle_id}
    found = served.get("/version").json
    assert found["bundle"] == recaller.bundle_id
    assert (found["model"], found["dataset"], found["items"], found["max_history"]) == ("MIND", "small", 50, 10)


def test_a_fault_of_ours_tells_nothing(served, monkeypatch, caplog):
    def fails(*_, **__):
        raise RuntimeError("secret of /home/user i17")

    monkeypatch.setattr(Recaller, "recall", fails)
    answer = served.post("/recall", {"history": ["i17"]})
    assert answer.error == (500, "internal", None)
    assert b"secret" not in answer.body
    assert b"/home" not in answer.body
    assert "secret" not in caplog.text
    assert "i17" not in caplog.text
    assert "RuntimeError" in caplog.text
    monkeypatch.setattr(Recaller, "recall", lambda *_, **__: (_ for _ in ()).throw(InputError("'encoder.onnx' fails")))
    assert served.post("/recall", {"history": ["i17"]}).error == (500, "internal", None)


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_load_nothing_from_elsewhere(served, path):
    answer = served.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy
    text = answer.body.decode()
    void = re.sub(r"<(input|option)[^>]*>", "", text)  # elements that need no end
    assert [link for link in Page(void).links if link not in ("docs", "./", "openapi.json")] == []
    assert "://" not in text.replace("http://HOST:PORT", "")


def test_the_service_needs_neither_torch_nor_recbole():
    code = (
        "import sys; import recbole_mind.cli.main, recbole_mind.serving.http.server\n"
        "print(sorted({'torch', 'recbole', 'ray', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_documentation_names_every_field(served):
    text = served.get("/docs").body.decode()
    document = served.get("/openapi.json").json
    for path in document["paths"]:
        assert f"<code>{'POST' if path in ('/recall', '/recommend', '/interests') else 'GET'} {path}</code>" in text
    for name in (*RecallAnswer.model_fields, "exclude_seen", "diversity", "limit"):
        assert f"<code>{name}</code>" in text
