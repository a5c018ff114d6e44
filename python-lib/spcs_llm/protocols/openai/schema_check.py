"""Whether a value is of a JSON schema, as far as its shape goes: types, properties, items, enumerations, alternatives.

Limits of values (lengths, patterns, ranges) are not looked at: few engines hold a model to all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spcs_llm.schema_reference import referred

_STEPS: Final = 20_000
_DEPTH: Final = 60
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "number": (int, float),
    "integer": (int, float),
}


class _NotToldError(Exception):
    """The schema or the value is too large or too odd to tell."""


def is_of_schema(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether `value` has the shape that `schema` demands. True where that cannot be told."""
    try:
        return _Checker(schema).holds(value, schema, 0)
    except _NotToldError:
        return True


class _Checker:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._steps = 0
        self._scalars: dict[int, frozenset[Any]] = {}  # by the id of an enumeration: it can be long

    def holds(self, value: Any, schema: Any, depth: int) -> bool:
        self._steps += 1
        if self._steps > _STEPS or depth > _DEPTH:
            raise _NotToldError
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise _NotToldError
        if "$ref" in schema and not self.holds(value, referred(schema["$ref"], self._root), depth + 1):
            return False
        return (
            _is_of_kind(value, schema)
            and ("const" not in schema or _is_same(value, schema["const"]))
            and self._is_listed(value, schema.get("enum"))
            and self._alternatives_hold(value, schema, depth)
            and self._properties_hold(value, schema, depth)
            and self._items_hold(value, schema, depth)
        )

    def _is_listed(self, value: Any, listed: Any) -> bool:
        if not isinstance(listed, list):
            return True
        if isinstance(value, (dict, list)):
            self._steps += len(listed)
            return any(_is_same(value, one) for one in listed)
        scalars = self._scalars.get(id(listed))
        if scalars is None:
            scalars = frozenset(_scalar(one) for one in listed if not isinstance(one, (dict, list)))
            self._scalars[id(listed)] = scalars
        return _scalar(value) in scalars

    def _alternatives_hold(self, value: Any, schema: Mapping[str, Any], depth: int) -> bool:
        for key in ("anyOf", "oneOf"):
            options = schema.get(key)
            if not isinstance(options, list) or not options:
                continue
            if not any(self.holds(value, option, depth + 1) for option in options):
                return False
        every = schema.get("allOf")
        return not isinstance(every, list) or all(self.holds(value, one, depth + 1) for one in every)

    def _properties_hold(self, value: Any, schema: Mapping[str, Any], depth: int) -> bool:
        if not isinstance(value, dict):
            return True
        required = schema.get("required")
        if isinstance(required, list) and any(
            isinstance(name, str) and name not in value for name in required
        ):
            return False
        properties = schema.get("properties")
        known = properties if isinstance(properties, Mapping) else {}
        others = schema.get("additionalProperties")
        if others is None or schema.get("patternProperties"):
            others = True
        return all(self.holds(item, known.get(name, others), depth + 1) for name, item in value.items())

    def _items_hold(self, value: Any, schema: Mapping[str, Any], depth: int) -> bool:
        items = schema.get("items")
        if not isinstance(value, list) or not isinstance(items, (Mapping, bool)) or "prefixItems" in schema:
            return True
        return all(self.holds(item, items, depth + 1) for item in value)


def _is_of_kind(value: Any, schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type")
    if kinds is None:
        return True
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        classes = _KINDS.get(kind) if isinstance(kind, str) else None
        if classes is None:
            raise _NotToldError
        if not isinstance(value, classes) or (isinstance(value, bool) and kind != "boolean"):
            continue
        if kind != "integer" or not isinstance(value, float) or value.is_integer():
            return True
    return False


def _is_same(value: Any, other: Any) -> bool:
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_is_same, value, other))
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(_is_same(item, other[key]) for key, item in value.items())
    return _scalar(value) == _scalar(other)


def _scalar(value: Any) -> tuple[bool, Any]:
    """The value, so that it can be compared: in JSON, true is not 1."""
    return isinstance(value, bool), value
