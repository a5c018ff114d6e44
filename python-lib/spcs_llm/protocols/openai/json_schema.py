"""JSON schemas, made easier on the engines that hold a model to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LIMITS = frozenset(
    {
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minItems",
        "maxItems",
        "uniqueItems",
        "contains",
        "minContains",
        "maxContains",
        "unevaluatedItems",
        "minProperties",
        "maxProperties",
        "patternProperties",
        "propertyNames",
        "unevaluatedProperties",
        "default",
    }
)
_NAMED_SCHEMAS = ("$defs", "definitions")


def compatible_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`schema` within what OpenAI's strict mode takes, which is the narrowest dialect around.

    Objects are closed, all properties required (those that were not may be null), and values without limits.
    Rules: OpenAI documentation, "Structured Outputs", supported schemas.
    """
    rewritten = {key: _rewritten(key, value) for key, value in schema.items() if key not in _LIMITS}
    properties = rewritten.get("properties")
    if isinstance(properties, dict):
        required = schema.get("required")
        known = required if isinstance(required, list) else []
        rewritten["properties"] = {
            name: value if name in known else _nullable(value) for name, value in properties.items()
        }
        rewritten["required"] = list(properties)
        rewritten["additionalProperties"] = False
    elif rewritten.get("type") == "object":
        rewritten.update(properties={}, required=[], additionalProperties=False)
    return rewritten


def _rewritten(key: str, value: Any) -> Any:
    if key in _NAMED_SCHEMAS or key == "properties":
        return {name: _schema(part) for name, part in value.items()} if isinstance(value, dict) else value
    if key in ("items", "additionalProperties", "not", "if", "then", "else"):
        return _schema(value)
    if key in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(value, list):
        return [_schema(part) for part in value]
    return value


def _schema(value: Any) -> Any:
    return compatible_schema(value) if isinstance(value, Mapping) else value


def _nullable(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    kinds = schema.get("type")
    if isinstance(kinds, str) and "enum" not in schema and "const" not in schema:
        return schema if kinds == "null" else {**schema, "type": [kinds, "null"]}
    if isinstance(kinds, list):
        return schema if "null" in kinds else {**schema, "type": [*kinds, "null"]}
    alternatives: list[Any] = [schema, {"type": "null"}]
    return {"anyOf": alternatives}
