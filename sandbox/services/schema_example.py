"""The simplest value that a JSON schema allows, so that a scripted tool call can be one that its tool accepts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DEEPEST = 20


def example_of(schema: Any, text: str, root: Any = None, depth: int = 0) -> Any:
    """A value of the schema; strings that may be anything are `text`.

    Understood: type, properties, items, enum, const, default, anyOf, oneOf, allOf, local $ref, and the bounds of
    strings, numbers and arrays. A schema that refers to itself ends as soon as it may.
    """
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return {} if depth == 0 else text
    root = schema if root is None else root
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    if "$ref" in schema:
        return example_of(_referred(root, str(schema["$ref"])), text, root, depth + 1)
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return example_of(schema[key][0], text, root, depth + 1)
    if schema.get("allOf"):
        return example_of(_merged(schema, root), text, root, depth + 1)
    return _of_type(schema, text, root, depth)


def _of_type(schema: Mapping[str, Any], text: str, root: Any, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        properties = schema.get("properties") or {}
        if depth == 0 and not properties and schema.get("additionalProperties", True) is not False:
            return {"text": text}
        # What is not required is left out further down, so that a type that holds itself comes to an end.
        wanted = list(properties) if depth < 2 else schema.get("required") or []
        return {name: example_of(properties.get(name) or {}, text, root, depth + 1) for name in wanted}
    if kind == "array":
        one = example_of(schema.get("items") or {}, text, root, depth + 1)
        return [one] * max(schema.get("minItems", 1 if depth < 2 else 0), 0)
    if kind in ("integer", "number"):
        low = schema["exclusiveMinimum"] + 1 if "exclusiveMinimum" in schema else schema.get("minimum", 0)
        high = schema["exclusiveMaximum"] - 1 if "exclusiveMaximum" in schema else schema.get("maximum", low)
        return min(low, high)
    if kind == "string":
        padded = text.ljust(schema.get("minLength", 0), ".")
        return padded[: schema.get("maxLength", len(padded))]
    return {"boolean": True, "null": None}.get(kind, text)


def _merged(schema: Mapping[str, Any], root: Any) -> dict[str, Any]:
    """`schema` and all of its `allOf` in one."""
    merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        part = _referred(root, str(part["$ref"])) if "$ref" in part else part
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", []), *part.get("required", [])]
        merged = {**merged, **part, "properties": properties, "required": required}
    return merged


def _referred(root: Any, reference: str) -> Any:
    found = root
    for step in reference.removeprefix("#/").split("/"):
        found = (
            found.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
        )
    return found
