"""What the OpenAPI document says of what a service has."""

from recbole_mind.serving.http.description import BODIES
from tests.support.serving import running


def test_events_stand_in_the_document_of_a_service_that_keeps_them(two_bundles, tmp_path, served):
    assert "/events" not in served.get("/openapi.json").json["paths"]
    with running(two_bundles[0], events=tmp_path / "log") as service:
        document = service.get("/openapi.json").json
        question = document["paths"]["/events"]["post"]
        assert {int(code) for code in question["responses"]} == {200, *BODIES}
        assert "EventsAnswer" in str(question["responses"]["200"])
        schema = question["requestBody"]["content"]["application/json"]["schema"]
        assert schema["properties"]["events"]["maxItems"] == service.service.limits.max_events
        assert "/events" in service.get("/docs").body.decode()


def test_a_service_with_a_key_asks_for_it_in_the_document(two_bundles, tmp_path):
    with running(two_bundles[0], events=tmp_path / "log", api_key="0123456789abcdef") as service:
        question = service.get("/openapi.json").json["paths"]["/events"]["post"]
        assert question["security"] == [{"key": []}, {"bearer": []}]
        assert "401" in question["responses"]
        assert service.post("/events", {"events": []}).status == 401
