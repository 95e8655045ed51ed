"""The page for people who write a client says what the OpenAPI document says, as text."""

from __future__ import annotations

import re
import subprocess
import sys

from recbole_mind.serving.http.docs_page import documentation
from recbole_mind.serving.http.page import PAGE, PAGE_POLICY, policy
from tests import ROOT
from tests.support.pages import HOSTILE, Page


def described(text):
    """An OpenAPI document of one operation, in which every word is ``text``."""
    field = {"type": "integer", "minimum": 1, "description": text, "default": text}
    body = {"properties": {text: field, "history": {"type": "array", "items": {"type": "string"}}}, "required": [text]}
    operation = {
        "description": text,
        "security": [{}],
        "requestBody": {"content": {"application/json": {"schema": body}}},
        "parameters": [{"name": text, "schema": {"type": "string"}, "description": text}],
        "responses": {
            "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}}},
            "400": {"description": text},
        },
    }
    schemas = {"Answer": {"properties": {text: {"anyOf": [{"type": "string"}, {"type": "null"}]}}}}
    return {"paths": {f"/{text}": {"post": operation}}, "components": {"schemas": schemas}}


def test_hostile_words_are_text():
    page = Page(documentation(described(HOSTILE)))
    assert not page.open
    assert "script" not in page.seen
    assert page.seen.count("style") == 1
    assert {("code", f"POST /{HOSTILE}"), ("p", f"{HOSTILE} Needs the key."), ("li", f"400: {HOSTILE}")} <= set(
        page.texts
    )
    assert page.texts.count(("code", HOSTILE)) == 3
    assert page.texts.count(("td", HOSTILE)) == 2


def test_fields_say_their_type_and_whether_they_are_needed():
    text = documentation(described("word"))
    page = Page(text)
    said = [words for tag, words in page.texts if tag == "td"]
    assert said[:6] == ["integer (from 1)", "needed", "word", "list of string", "null", "string"]
    assert "string or null" in said
    assert [words for tag, words in page.texts if tag == "h3"] == ["Body", "Query", "Answer", "Refusals"]
    assert "curl -H 'Content-Type: application/json' -d '{\"history\":" in "".join(
        w for t, w in page.texts if t == "pre"
    )
    assert documentation(described("word")) == text


def test_the_policy_allows_the_page_s_own_style_and_script_alone():
    text = PAGE.decode()
    assert text.count("<script>") == text.count("</script>") == text.count("<style>") == text.count("</style>") == 1
    assert not re.search(r"\son\w+=|\sstyle=|https?:", text)  # what the policy would refuse
    assert policy(text) == PAGE_POLICY
    assert len(re.findall(r"'sha256-[A-Za-z0-9+/]{43}='", PAGE_POLICY)) == 2
    assert "script-src" not in policy(documentation(described("word")))


def test_the_pages_are_made_without_the_training_libraries():
    code = (
        "import sys; import recbole_mind.serving.http.page, recbole_mind.serving.http.docs_page\n"
        "assert not {'torch', 'recbole', 'pandas', 'matplotlib', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
