"""What a policy can name: the members of its input and of its data, so that a misspelt one is found before it matters.

`data/evidence.json` says it of evidence, made from the JSON Schema (tools/policy_data.py). A shape is one of
`{"members": {name: shape}}`, `{"items": shape}`, `{"values": shape}`, `{"text": true or the words it can be}`,
`{"number": true}`, `{"flag": true}` or `{}` for what may be anything; `"maybe": true` stands where it can be null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from weighbridge.core.canonical import JSON
from weighbridge.core.decision import ACTIONS

Shape: TypeAlias = "Mapping[str, Any]"

ANY: Shape = {}
TEXT: Shape = {"text": True}
NUMBER: Shape = {"number": True}
FLAG: Shape = {"flag": True}
DETAILS = frozenset({
    "bound", "builder", "chunks", "commit", "database", "decision", "description", "equivalence", "expires", "failedTests",
    "findings", "found", "invocation", "kind", "level", "levels", "licence", "matches_announced", "method", "metrics", "output_root",
    "materials", "parameters", "passedTests", "policies", "project", "properties", "publisher", "reason", "registry", "relations", "repository",
    "resource", "result", "reviewer", "ruleset", "scanner", "source", "source_root", "spec_version", "started", "finished",
    "tier", "tool", "verdict", "verified_at", "verifier", "version", "warnedTests",
})  # fmt: skip
"""What the details of our own claims are called (docs/reference/claims.md); a policy that asks for others is warned."""


@cache
def evidence() -> Shape:
    """Return the shape of `input.evidence`."""
    text = (files("weighbridge.policy") / "data" / "evidence.json").read_text(encoding="utf-8")
    shape: Shape = json.loads(text)
    return shape


def question() -> Shape:
    """Return the shape of `input`."""
    check = dict.fromkeys(("id", "expected", "found", "proof", "remedy"), TEXT)
    outcome = {"text": ["pass", "fail", "cannot-tell"]}
    return {
        "members": {
            "action": {"text": list(ACTIONS)},
            "evaluated_at": TEXT,
            "evidence": evidence(),
            "floor": {"items": {"members": {**check, "outcome": outcome}}},
        },
        "called": "input",
    }


def of_value(value: JSON, called: str) -> Shape:
    """Return the shape of settings that are `called` so: a table is closed, one without keys of its own is open."""
    if isinstance(value, dict):
        rows = {name: of_value(item, f"{called}.{name}") for name, item in value.items()}
        return {"members": rows, "called": called} if rows else {"values": ANY}
    if isinstance(value, bool):
        return FLAG
    if isinstance(value, (int, float)):
        return NUMBER
    return TEXT if isinstance(value, str) else {"items": ANY}


def from_schema(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shape that a JSON Schema describes, as far as documents of this project use one."""
    if "$ref" in schema:
        return from_schema(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions)
    if "anyOf" in schema:
        parts = [part for part in schema["anyOf"] if part.get("type") != "null"]
        inner = from_schema(parts[0], definitions) if len(parts) == 1 else {}
        return {**inner, "maybe": True} if len(parts) < len(schema["anyOf"]) else inner
    if "enum" in schema:
        return {"text": list(schema["enum"])}
    if "const" in schema:
        return {"text": [schema["const"]]}
    return _typed(schema, definitions)


def _typed(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        return {
            "members": {name: from_schema(row, definitions) for name, row in schema["properties"].items()}
        }
    if kind == "object":
        values = schema.get("additionalProperties")
        return {"values": from_schema(values, definitions) if isinstance(values, dict) else {}}
    if kind == "array":
        items = schema.get("items")
        return {"items": from_schema(items, definitions) if isinstance(items, dict) else {}}
    return {
        "string": {"text": True}, "integer": {"number": True}, "number": {"number": True}, "boolean": {"flag": True},
    }.get(str(kind), {})  # fmt: skip
