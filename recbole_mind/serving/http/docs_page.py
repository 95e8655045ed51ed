"""The OpenAPI document as a page that loads nothing, for a person who writes a client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from recbole_mind.report.templates import render

_EXAMPLE = {"history": ["50", "172", "181"], "n": 20}
_LIMITS = (
    ("minimum", "from"),
    ("maximum", "to"),
    ("maxItems", "at most"),
    ("maxLength", "characters, at most"),
    ("maxProperties", "fields, at most"),
)


def documentation(described: Mapping[str, Any]) -> str:
    """The page for an OpenAPI document."""
    operations = [
        _operation(path, method.upper(), operation, described["components"]["schemas"])
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    return render("serving/http/templates/docs.html", title="The recall service", operations=operations)


def _operation(path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """What the page says of an operation: its text, an example, the fields asked for and answered, its refusals."""
    shown: dict[str, Any] = {"path": path, "method": method, "example": "", "body": [], "query": [], "answer": []}
    shown["text"] = operation.get("description") or operation.get("summary", "")
    shown["keyed"] = bool(operation.get("security"))
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        known = {name: value for name, value in _EXAMPLE.items() if name in schema["properties"]}
        shown["example"] = f"curl -H 'Content-Type: application/json' -d '{json.dumps(known)}' http://HOST:PORT{path}"
        shown["body"] = _fields(schema)
    parameters = operation.get("parameters", ())
    properties = {each["name"]: each["schema"] | {"description": each.get("description", "")} for each in parameters}
    required = [each["name"] for each in parameters if each.get("required")]
    shown["query"] = _fields({"properties": properties, "required": required})
    responses = sorted(operation["responses"].items())
    for code, response in responses:
        answer = response.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
        if code == "200" and answer:
            shown["answer"] = _fields(schemas[answer.rpartition("/")[2]])
    shown["refusals"] = [f"{code}: {response['description']}" for code, response in responses if code != "200"]
    return shown


def _fields(schema: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The fields of an object: name, type, default, meaning."""
    required = schema.get("required", [])
    return [
        (
            name,
            _kind(field),
            "needed" if name in required else json.dumps(field.get("default")),
            field.get("description", ""),
        )
        for name, field in schema.get("properties", {}).items()
    ]


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(part) for part in schema["anyOf"]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    kind = str(schema.get("type", "anything"))
    limits = [f"{word} {schema[key]:,.9g}" for key, word in _LIMITS if key in schema]
    if kind == "array":
        kind = f"list of {_kind(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), Mapping):
        kind = f"object of {_kind(schema['additionalProperties'])}"
    return kind + (f" ({', '.join(limits)})" if limits else "")
