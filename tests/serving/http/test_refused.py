"""A refusal of the service."""

import json

from recbole_mind.serving.http.refused import Refused
from recbole_mind.serving.http.schema import Refusal


def test_a_refusal_says_its_word_its_sentence_and_its_field():
    refused = Refused(429, "overloaded", "Too many; come back", "n", Retry_After="1")
    assert refused.headers == {"Retry-After": "1"}
    assert (refused.status, str(refused)) == (429, "overloaded")
    content = json.loads(refused.body())
    assert content == {"error": {"type": "overloaded", "message": "Too many; come back", "field": "n"}}
    Refusal.model_validate(content)
    assert json.loads(Refused(404, "not_found", "No such path").body())["error"]["field"] is None
