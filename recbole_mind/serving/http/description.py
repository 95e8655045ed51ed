"""What the OpenAPI document says of refusals and of keys."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from recbole_mind.serving.http.schema import Refusal

OPEN = ("/", "/docs", "/openapi.json", "/health", "/ready")  # what needs no key and tells nothing of the data
REFUSALS = {
    400: "The body is not JSON.",
    401: "The key is missing or wrong.",
    404: "What answers has no ranker.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is not said to be JSON.",
    421: "The Host is not one that is answered for.",
    422: "Something in it is not allowed; field says what.",
    503: "Too many requests wait, or no bundle is loaded.",
}
BODIES = (400, 408, 413, 415, 421, 422, 503)  # of every question that has a body


def described(code: int) -> dict[str, Any]:
    """A refusal in the document."""
    return {"model": Refusal, "description": REFUSALS[code]}


def describe_keys(app: FastAPI) -> None:
    """Have the OpenAPI document say which paths need a key."""
    document = app.openapi()
    document["components"]["securitySchemes"] = {
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema and route.path not in OPEN:
            for operation in document["paths"][route.path].values():
                operation["security"] = [{"key": []}, {"bearer": []}]
                operation["responses"]["401"] = {"description": REFUSALS[401], "content": content}
