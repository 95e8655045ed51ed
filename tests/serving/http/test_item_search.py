"""Items by token and name."""


def test_items_are_found_by_token_and_name(served, recaller):
    def found(query):
        return [item["token"] for item in served.get(f"/items?{query}").json["items"]]

    popular = recaller.bundle.item_tokens.tokens(recaller.bundle.popularity)
    counts = recaller.bundle.counts[recaller.bundle.popularity].tolist()
    assert found("limit=50") == popular
    assert [item["count"] for item in served.get("/items?limit=50").json["items"]] == counts
    assert found("q=i4")[0] == "i4"  # the very token, then the popular ones that begin so
    assert found("q=i4")[1:] == [token for token in popular if token.startswith("i4") and token != "i4"]
    assert set(found("q=ONE")) == {"i1", "i2"}
    assert found("q=irst%20o") == ["i1"]
    assert found("q=5%0Ai") == found("q=nothing") == []
    assert found("q=i&limit=3") == popular[:3]
    assert served.get("/items?limit=101").error == (422, "invalid", "limit")
    assert served.get("/items?q=" + "x" * 21).error == (422, "invalid", "q")
    asked = served.get("/openapi.json").json["paths"]["/items"]["get"]["parameters"]
    assert {each["name"]: each["schema"].get("maxLength") for each in asked} == {"q": 20, "limit": None}
    assert served.get("/items?p=1").error == (422, "invalid", "p")
