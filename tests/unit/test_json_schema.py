"""Schemas within what OpenAI's strict mode takes."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from spcs_llm.protocols.openai.json_schema import compatible_schema

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "limits go": ({"type": "string", "pattern": "a+", "maxLength": 3}, {"type": "string"}),
    "a property that is named like a limit stays": (
        {"type": "object", "properties": {"pattern": {"type": "string"}}, "required": ["pattern"]},
        {
            "type": "object",
            "properties": {"pattern": {"type": "string"}},
            "required": ["pattern"],
            "additionalProperties": False,
        },
    ),
    "optional properties may be null": (
        {
            "properties": {
                "a": {"type": ["string", "null"]},
                "b": {"enum": ["x"]},
                "c": {"type": "null"},
                "d": {},
            }
        },
        {
            "properties": {
                "a": {"type": ["string", "null"]},
                "b": {"anyOf": [{"enum": ["x"]}, {"type": "null"}]},
                "c": {"type": "null"},
                "d": {"anyOf": [{}, {"type": "null"}]},
            },
            "required": ["a", "b", "c", "d"],
            "additionalProperties": False,
        },
    ),
    "items, alternatives and definitions are reached": (
        {
            "type": "array",
            "items": {"anyOf": [{"type": "integer", "minimum": 1}, {"$ref": "#/$defs/d"}]},
            "$defs": {"d": {"type": "string", "format": "date"}},
        },
        {
            "type": "array",
            "items": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/d"}]},
            "$defs": {"d": {"type": "string"}},
        },
    ),
    "an object without properties": (
        {"type": "object"},
        {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
    ),
}


@pytest.mark.parametrize(("schema", "expected"), CASES.values(), ids=CASES.keys())
def test_a_schema_is_made_compatible(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert compatible_schema(schema) == expected
    assert compatible_schema(expected) == expected, "a compatible schema is left as it is"
    jsonschema.Draft202012Validator.check_schema(expected)


@pytest.mark.parametrize(
    "schema", [{"properties": 3}, {"items": [1]}, {"anyOf": "x"}, {"$defs": []}, {"required": 1}]
)
def test_nonsense_is_left_for_the_server_to_refuse(schema: dict[str, Any]) -> None:
    assert compatible_schema(schema) == schema
