"""The OpenAPI document as a page that loads nothing, for a person who writes a client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from recbole_mind.report.html import document

_STYLE = """\
code, pre { font-family: ui-monospace, "Liberation Mono", monospace; font-size: .875rem; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid var(--line); border-radius: 8px; background: var(--tint); }
h3 { font-size: .95rem; margin: 1.25rem 0 .4rem; }
td, th { text-align: left; } td { white-space: normal; min-width: 5rem; } td:last-child { min-width: 14rem; }
th:first-child { min-width: 9rem; }
"""
_EXAMPLE = {"history": ["50", "172", "181"], "n": 20}


def documentation(described: Mapping[str, Any]) -> str:
    """The page for an OpenAPI document."""
    schemas = described["components"]["schemas"]
    parts = [
        '<p class="statement">Answers are JSON. Every refusal is <code>{"error": {"type", "message", "field"}}</code>. '
        'The same for programs: <a href="openapi.json">openapi.json</a>. <a href="./">Try it</a>.</p>\n'
    ]
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            parts.append(_operation(path, method.upper(), operation, schemas))
    return document("The recall service", "".join(parts), _STYLE)


def _operation(path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    text = operation.get("description") or operation.get("summary", "")
    keyed = " Needs the key." if operation.get("security") else ""
    parts = [f"<section>\n<h2><code>{method} {escape(path)}</code></h2>\n<p>{escape(text)}{keyed}</p>\n"]
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        known = {name: value for name, value in _EXAMPLE.items() if name in schema["properties"]}
        example = f"curl -H 'Content-Type: application/json' -d '{json.dumps(known)}' http://HOST:PORT{path}"
        parts.append(f'<pre tabindex="0">{escape(example)}</pre>\n<h3>Body</h3>\n{_fields(schema, True)}')
    if operation.get("parameters"):
        entries = operation["parameters"]
        properties = {e["name"]: e["schema"] | {"description": e.get("description", "")} for e in entries}
        required = [e["name"] for e in entries if e.get("required")]
        parts.append(f"<h3>Query</h3>\n{_fields({'properties': properties, 'required': required}, True)}")
    for code, response in sorted(operation["responses"].items()):
        content: dict[str, Any] = response.get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        if code == "200" and name:
            parts.append(f"<h3>Answer</h3>\n{_fields(schemas[name], False)}")
    refused = [f"{code}: {r['description']}" for code, r in sorted(operation["responses"].items()) if code != "200"]
    if refused:
        lines = "".join(f"<li>{escape(line)}</li>" for line in refused)
        parts.append(f'<h3>Refusals</h3>\n<ul class="notes">{lines}</ul>\n')
    return "".join([*parts, "</section>\n"])


def _fields(schema: Mapping[str, Any], asked: bool) -> str:
    """The fields of an object as a table."""
    rows = []
    for name, field in schema.get("properties", {}).items():
        beside = ""
        if asked:
            needed = name in schema.get("required", [])
            beside = f"<td>{'needed' if needed else escape(json.dumps(field.get('default')))}</td>"
        kind, about = escape(_kind(field)), escape(field.get("description", ""))
        rows.append(f'<tr><th scope="row"><code>{escape(name)}</code></th><td>{kind}</td>{beside}<td>{about}</td></tr>')
    heads = ("field", "type", *(("default",) if asked else ()), "")
    shown = "".join(f'<th scope="col">{head}</th>' for head in heads)
    table = f"<table>\n<thead><tr>{shown}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table>"
    return f'<div class="scroll" tabindex="0">{table}</div>\n'


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


_LIMITS = (
    ("minimum", "from"),
    ("maximum", "to"),
    ("maxItems", "at most"),
    ("maxLength", "characters, at most"),
    ("maxProperties", "fields, at most"),
)
