"""The page of the documentation."""

from recbole_mind.serving.http.schema import RecallAnswer


def test_the_documentation_names_every_field(served):
    text = served.get("/docs").body.decode()
    document = served.get("/openapi.json").json
    for path in document["paths"]:
        assert f"<code>{'POST' if path in ('/recall', '/interests') else 'GET'} {path}</code>" in text
    for name in (*RecallAnswer.model_fields, "exclude_seen", "diversity", "limit"):
        assert f"<code>{name}</code>" in text
