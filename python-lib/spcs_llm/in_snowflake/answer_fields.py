"""The fields of a JSON schema as columns: their types, and what an answer must have to fill them.

Names of fields are users' text: a statement reads them from the table of settings, as elements of an array.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spcs_llm.schema_reference import referred

_DIGITS = 38  # of a NUMBER; JSON has integers of any width
# Type of JSON schema -> type of the column, and the names that TYPEOF has for such values.
_TYPES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "string": ("VARCHAR", ("VARCHAR",)),
    "integer": (f"NUMBER({_DIGITS}, 0)", ("INTEGER",)),
    "number": ("FLOAT", ("INTEGER", "DECIMAL", "DOUBLE")),
    "boolean": ("BOOLEAN", ("BOOLEAN",)),
    "array": ("ARRAY", ("ARRAY",)),
    "object": ("OBJECT", ("OBJECT",)),
}


class UnfitSchema(ValueError):
    """A schema that cannot become columns; the message says why, to follow the field's label."""


@dataclass(frozen=True)
class AnswerField:
    """A field of an answer, and its column.

    Attributes:
        name: The field's name, which is the column's as well.
        json_type: Its type in the schema.
        nullable: Whether it may be null.
        required: Whether it must be there.
        choices: The values that it may have; None for any.
    """

    name: str
    json_type: str
    nullable: bool = False
    required: bool = False
    choices: tuple[Any, ...] | None = None

    @property
    def column_type(self) -> str:
        """The type of the column."""
        return _TYPES[self.json_type][0]


def read_fields(text: str) -> tuple[AnswerField, ...]:
    """Reads a JSON schema.

    Args:
        text: A schema of an object with properties; it may stand inside of `{"name": …, "schema": …}`.

    Returns:
        A field for each property.

    Raises:
        UnfitSchema: If it is not such a schema.
    """
    schema = read_schema(text)
    properties = schema.get("properties")
    if schema.get("type", "object") != "object" or not isinstance(properties, dict) or not properties:
        raise UnfitSchema("must be the schema of an object with 'properties': each becomes a column")
    required = schema.get("required")
    needed = required if isinstance(required, list) else []
    return tuple(_field(name, property, name in needed, schema) for name, property in properties.items())


def read_schema(text: str) -> dict[str, Any]:
    """The schema by itself.

    Args:
        text: What was typed.

    Returns:
        The schema.

    Raises:
        UnfitSchema: If the text is not a JSON object.
    """
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        raise UnfitSchema("is not JSON") from None
    if isinstance(schema, dict) and isinstance(schema.get("schema"), dict):
        schema = schema["schema"]
    if not isinstance(schema, dict):
        raise UnfitSchema("must be a JSON object")
    return schema


def _field(name: str, schema: Any, required: bool, root: Mapping[str, Any]) -> AnswerField:
    if not isinstance(schema, dict):
        raise UnfitSchema(f"describes '{name}' with what is not a JSON object")
    try:
        ways = [(_types(way), _choices(way)) for way in _alternatives(schema, root, set())]
    except RecursionError:
        ways = []
    listed = [kind for types, _ in ways for kind in types]
    known = [kind for place, kind in enumerate(listed) if kind != "null" and kind not in listed[:place]]
    if len(known) != 1 or not isinstance(known[0], str) or known[0] not in _TYPES:
        raise UnfitSchema(f"must give '{name}' one type of {', '.join(_TYPES)}, or such a type and null")
    choices = [choices for types, choices in ways if types != ["null"]]
    return AnswerField(
        name,
        known[0],
        "null" in listed,
        required,
        None if None in choices else tuple(choice for some in choices for choice in some or ()),
    )


def _alternatives(schema: Any, root: Mapping[str, Any], seen: set[str]) -> list[Mapping[str, Any]]:
    """What a value may be described by, one for each way: without references, each of which is followed once."""
    if not isinstance(schema, dict):
        return [{}]
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference in seen:
            return []
        seen.add(reference)
        return _alternatives(referred(reference, root), root, seen)
    for name in ("anyOf", "oneOf", "allOf"):
        ways = schema.get(name)
        if "type" not in schema and isinstance(ways, list) and (name != "allOf" or len(ways) == 1):
            return [found for way in ways for found in _alternatives(way, root, seen)]
    return [schema]


def _types(schema: Mapping[str, Any]) -> list[Any]:
    types = schema.get("type")
    choices = _choices(schema)
    if types is None and choices is not None:
        return sorted({_type_of(choice) for choice in choices})
    return types if isinstance(types, list) else [types]


def _choices(schema: Mapping[str, Any]) -> tuple[Any, ...] | None:
    if "const" in schema:
        return (schema["const"],)
    choices = schema.get("enum")
    return tuple(choices) if isinstance(choices, list) else None


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return {str: "string", int: "integer", float: "number"}.get(type(value), "object")


def names_json(fields: Sequence[AnswerField]) -> str:
    """What the table of settings holds: each field's name and choices."""
    return json.dumps([{"name": field.name, "choices": list(field.choices or ())} for field in fields])


def value(position: int, parsed: str, fields: str) -> str:
    """The expression for a field's value, as VARIANT.

    Args:
        position: The field's position.
        parsed: The expression for the answer, as VARIANT.
        fields: The expression for what `names_json` gave, as VARIANT.

    Returns:
        An expression.
    """
    return f"GET({parsed}, {_described(fields, position, 'name')}::VARCHAR)"


def _described(fields: str, position: int, what: str) -> str:
    """What `names_json` says of a field."""
    return f"GET(GET({fields}, {position}), '{what}')"


def problem(fields: Sequence[AnswerField], parsed: str, values: Sequence[str], names: str) -> str:
    """The expression for what is wrong with an answer.

    Args:
        fields: The fields.
        parsed: The column of the answer, as VARIANT.
        values: The column of each field's value, as VARIANT.
        names: The column of what `names_json` gave, as VARIANT.

    Returns:
        An expression of type VARCHAR: a sentence, or NULL for a good answer.
    """
    cases = [f"WHEN {parsed} IS NULL OR TYPEOF({parsed}) <> 'OBJECT' THEN 'The answer is not a JSON object.'"]
    for position, (field, found) in enumerate(zip(fields, values)):
        name, choices = (_described(names, position, what) for what in ("name", "choices"))
        cases += _cases(field, found, name, choices)
    return "CASE " + " ".join(cases) + " ELSE NULL END"


def _cases(field: AnswerField, found: str, name: str, choices: str) -> list[str]:
    told = f"'The field ' || {name}::VARCHAR || "
    absent, null = f"TYPEOF({found}) IS NULL", f"TYPEOF({found}) = 'NULL_VALUE'"
    kinds = ", ".join(f"'{kind}'" for kind in (*_TYPES[field.json_type][1], "NULL_VALUE"))
    cases = [
        f"WHEN TYPEOF({found}) NOT IN ({kinds}) THEN {told}' is not of type {field.json_type}.'",
    ]
    if field.json_type == "integer":
        digits = f"LENGTH(LTRIM({found}::VARCHAR, '-'))"
        cases.append(f"WHEN {digits} > {_DIGITS} THEN {told}' has more than {_DIGITS} digits.'")
    if field.required:
        cases.append(f"WHEN {absent} THEN {told}' is missing.'")
    if not field.nullable:
        cases.append(f"WHEN {null} THEN {told}' is null.'")
    if field.choices is not None:
        allowed = f"ARRAY_CONTAINS({found}, {choices}::ARRAY)"
        cases.append(
            f"WHEN TYPEOF({found}) <> 'NULL_VALUE' AND NOT {allowed} THEN {told}' is none of its choices.'"
        )
    return cases
