"""JSON schemas, made easier on the engines that hold a model to them.

Whatever is an answer to a rewritten schema is one to the caller's, as far as shape goes: properties may become
required, never null, and no object that may hold any names is closed. Only limits on values go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spcs_llm.errors import QueryError

DEEPEST: Final = 128

LIMITS: Final = frozenset(
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
        "propertyNames",
        "unevaluatedProperties",
        "default",
        "$schema",
    }
)
_ANY: Final = {"type": ["string", "number", "boolean", "object", "array", "null"]}
# What tells the kind of a value besides its type.
_TELLING: Final = frozenset(
    {"type", "$ref", "enum", "const", "anyOf", "oneOf", "allOf", "properties", "items", "prefixItems"}
)
_NAMED_SCHEMAS: Final = ("$defs", "definitions", "properties", "patternProperties", "dependentSchemas")
_ONE_SCHEMA: Final = (
    "items",
    "additionalProperties",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
    "contains",
)
_SCHEMAS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")


def check_depth(value: Any, what: str) -> None:
    """Checks that a value is not nested deeper than any reader of JSON has to follow.

    Args:
        value: A value of JSON.
        what: Its name in the error.

    Raises:
        QueryError: If the value has more than `DEEPEST` levels.
    """
    level = [value]
    for _ in range(DEEPEST):
        level = [
            item
            for each in level
            for item in (each.values() if isinstance(each, Mapping) else each)
            if isinstance(item, (Mapping, list, tuple))
        ]
        if not level:
            return
    raise QueryError(f"{what} is nested more than {DEEPEST} levels deep.", "Simplify it.")


def limits_in(schema: Mapping[str, Any]) -> frozenset[str]:
    """The keywords in a schema that limit values or describe them."""
    found: set[str] = set()

    def note(part: dict[str, Any]) -> dict[str, Any]:
        found.update(part.keys() & LIMITS)
        return part

    _mapped(schema, note)
    return frozenset(found)


def without_limits(schema: Mapping[str, Any], keywords: frozenset[str] = LIMITS) -> dict[str, Any]:
    """Takes keywords that limit values or describe them out of a JSON schema.

    Args:
        schema: A JSON schema.
        keywords: The keywords to take out. Those that are not among `LIMITS` stay.

    Returns:
        A new schema.
    """
    gone = keywords & LIMITS
    return _mapped(schema, lambda part: {key: value for key, value in part.items() if key not in gone})


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Closes every object of known properties in a JSON schema, and requires all of its properties.

    That is OpenAI's strict mode (OpenAI documentation, "Structured Outputs", supported schemas), but for objects that
    may hold any names: they stay open, for the server to refuse.

    Args:
        schema: A JSON schema.

    Returns:
        A new schema.
    """

    def close(part: dict[str, Any]) -> dict[str, Any]:
        properties = part.get("properties")
        if not isinstance(properties, dict) or not properties or "patternProperties" in part:
            return part
        if "additionalProperties" in part and part["additionalProperties"] is not False:
            return part
        return {**part, "required": list(properties), "additionalProperties": False}

    return _mapped(schema, close)


def with_kinds_told(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Names all kinds of value in the parts of a JSON schema that allow any: llama.cpp cannot read such a part.

    Args:
        schema: A JSON schema.

    Returns:
        A new schema, which allows the same.
    """

    def tell(part: dict[str, Any]) -> dict[str, Any]:
        told = dict(part) if part.keys() & _TELLING else {**_ANY, **part}
        for key in ("properties", "$defs", "definitions"):
            if isinstance(told.get(key), dict):
                told[key] = {name: dict(_ANY) if each is True else each for name, each in told[key].items()}
        for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            if isinstance(told.get(key), list):
                told[key] = [dict(_ANY) if each is True else each for each in told[key]]
        if told.get("items") is True:
            told["items"] = dict(_ANY)
        return told

    return _mapped(schema, tell)


def with_one_type(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Names only the type in the parts of a JSON schema that allow a type and null, as a list of both.

    Args:
        schema: A JSON schema.

    Returns:
        A new schema. Lists of more types stay.
    """

    def name(part: dict[str, Any]) -> dict[str, Any]:
        types = part.get("type")
        others = [each for each in types if each != "null"] if isinstance(types, (list, tuple)) else []
        return {**part, "type": others[0]} if len(others) == 1 else part

    return _mapped(schema, name)


def maps_in(schema: Mapping[str, Any]) -> list[str]:
    """The names of the properties that are objects of any names."""
    names: list[str] = []

    def note(part: dict[str, Any]) -> dict[str, Any]:
        properties = part.get("properties")
        for name, value in properties.items() if isinstance(properties, dict) else ():
            if isinstance(value, Mapping) and _is_map(value) and name not in names:
                names.append(str(name))
        return part

    _mapped(schema, note)
    return names


def _is_map(schema: Mapping[str, Any]) -> bool:
    others = schema.get("additionalProperties")
    return (
        isinstance(others, Mapping)
        or others is True
        or (schema.get("type") == "object" and not schema.get("properties") and others is not False)
    )


def _mapped(schema: Mapping[str, Any], change: Any) -> dict[str, Any]:
    """`schema` with `change` applied to each schema in it. Its depth is bounded by `check_depth`."""
    part: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED_SCHEMAS and isinstance(value, Mapping):
            part[key] = {name: _each(item, change) for name, item in value.items()}
        elif key in _ONE_SCHEMA:
            part[key] = _each(value, change)
        elif key in _SCHEMAS and isinstance(value, (list, tuple)):
            part[key] = [_each(item, change) for item in value]
        else:
            part[key] = value
    changed: dict[str, Any] = change(part)
    return changed


def _each(value: Any, change: Any) -> Any:
    return _mapped(value, change) if isinstance(value, Mapping) else value
