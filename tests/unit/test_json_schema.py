"""Schemas, made easier on the engines that hold a model to them: nothing that the caller's schema forbids."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spcs_llm.errors import QueryError
from spcs_llm.protocols.openai.json_schema import (
    DEEPEST,
    check_depth,
    closed,
    limits_in,
    maps_in,
    with_kinds_told,
    with_one_type,
    without_limits,
)
from spcs_llm.protocols.openai.schema_check import is_of_schema

MAP = {"type": "object", "additionalProperties": {"type": "string"}}

LIMITED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "limits go": ({"type": "string", "pattern": "a+", "maxLength": 3}, {"type": "string"}),
    "a property that is named like a limit stays": (
        {"type": "object", "properties": {"pattern": {"type": "string", "pattern": "a"}}},
        {"type": "object", "properties": {"pattern": {"type": "string"}}},
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
    "maps stay open": (
        {"properties": {"tags": MAP, "code": {"type": "string", "pattern": "a"}}, "required": ["tags"]},
        {"properties": {"tags": MAP, "code": {"type": "string"}}, "required": ["tags"]},
    ),
    "an object of anything stays one": ({"type": "object", "minProperties": 1}, {"type": "object"}),
    "what need not be there need not be there": (
        {"properties": {"status": {"enum": ["open"], "default": "open"}}},
        {"properties": {"status": {"enum": ["open"]}}},
    ),
}


@pytest.mark.parametrize(("schema", "expected"), LIMITED.values(), ids=LIMITED.keys())
def test_limits_on_values_can_be_taken_off(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert without_limits(schema) == expected
    assert limits_in(expected) == frozenset()
    jsonschema.Draft202012Validator.check_schema(expected)


def test_only_the_keywords_that_are_named_are_taken_off() -> None:
    schema = {"type": "string", "pattern": "a", "maxLength": 3, "format": "date"}
    assert without_limits(schema, frozenset({"format", "type"})) == {
        "type": "string",
        "pattern": "a",
        "maxLength": 3,
    }


CLOSED: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "all properties are required and none may be null": (
        {"properties": {"a": {"type": "string"}, "b": {"enum": ["x"]}}, "required": ["a"]},
        {
            "properties": {"a": {"type": "string"}, "b": {"enum": ["x"]}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    ),
    "maps stay open": ({"type": "object", "properties": {"m": MAP}, "additionalProperties": True}, None),
    "an object without properties stays open": ({"type": "object"}, None),
    "a map stays open": (MAP, None),
}


@pytest.mark.parametrize(("schema", "expected"), CLOSED.values(), ids=CLOSED.keys())
def test_objects_of_known_properties_can_be_closed(schema: dict[str, Any], expected: Any) -> None:
    assert closed(schema) == (schema if expected is None else expected)


def test_properties_of_any_names_are_told() -> None:
    schema = {
        "properties": {"tags": MAP, "more": {"type": "object"}, "name": {"type": "string"}},
        "$defs": {"line": {"type": "object", "properties": {"extra": {"additionalProperties": True}}}},
    }
    assert maps_in(schema) == ["extra", "tags", "more"]


KINDS = st.sampled_from(
    [
        {"type": "string"},
        {"type": "integer", "minimum": 3},
        {"type": ["string", "null"], "maxLength": 2},
        {"enum": ["x", 1, None]},
        {"const": True},
        {},
        MAP,
    ]
)
SCHEMAS = st.recursive(
    KINDS,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries(
            {
                "type": st.just("object"),
                "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
                "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
            },
            optional={"additionalProperties": st.one_of(st.booleans(), inner)},
        ),
    ),
    max_leaves=6,
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.sampled_from(["x", "", "yes"]), st.integers(0, 5), st.just(1.5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)
    ),
    max_leaves=6,
)


def holds(value: Any, schema: dict[str, Any]) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.exhaustive
@given(SCHEMAS, VALUES)
@settings(max_examples=400, deadline=None)
def test_what_obeys_a_closed_schema_obeys_the_callers(schema: dict[str, Any], value: Any) -> None:
    if holds(value, closed(schema)):
        assert holds(value, schema)


@pytest.mark.exhaustive
@given(SCHEMAS, VALUES)
@settings(max_examples=400, deadline=None)
def test_the_check_agrees_with_a_validator_about_shapes(schema: dict[str, Any], value: Any) -> None:
    bare = without_limits(schema)
    assert is_of_schema(value, bare) == holds(value, bare)


CHECKED = [
    ({"type": "integer"}, 1.0, True),
    ({"type": "integer"}, True, False),
    ({"type": "no kind"}, 1, True),
    ({"$ref": "#/$defs/d", "$defs": {"d": {"type": "string"}}}, 1, False),
    ({"$ref": "#/$defs/d", "$defs": {"d": {"type": "string"}}}, "a", True),
    ({"$ref": "https://example.org/schema"}, 1, True),
    ({"$ref": "#"}, 1, True),
    ({"enum": ["a"]}, "b", False),
    ({"enum": [1, [1], {"a": 0}]}, 1.0, True),
    ({"enum": [1, [1], {"a": 0}]}, True, False),
    ({"enum": [1, [1], {"a": 0}]}, [True], False),
    ({"enum": [1, [1], {"a": 0}]}, {"a": False}, False),
    ({"enum": [1, [1], {"a": 0}]}, {"a": 0}, True),
    ({"const": True}, 1, False),
    ({"allOf": [{"type": "string"}, {"const": "a"}]}, "b", False),
    ({"oneOf": [{"type": "string"}, {"type": "null"}]}, 3, False),
    ({"items": {"type": "string"}}, ["a", 1], False),
    ({"prefixItems": [{"type": "string"}], "items": False}, ["a"], True),
    ({"patternProperties": {"^a": {}}, "additionalProperties": False}, {"ab": 1}, True),
]


@pytest.mark.parametrize(("schema", "value", "expected"), CHECKED)
def test_shapes_are_checked(schema: dict[str, Any], value: Any, expected: bool) -> None:
    assert is_of_schema(value, schema) is expected


class Counted(str):
    """A text that counts how often one of its kind is compared."""

    __slots__ = ()
    comparisons = 0

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return super().__eq__(other)

    def __hash__(self) -> int:
        return super().__hash__()


def test_a_long_enumeration_costs_a_long_answer_little() -> None:
    """A user chooses both, and the process is everybody's: it took a second for every thousand values."""
    words = [Counted(number) for number in range(30_000)]
    answer = [Counted(number) for number in range(25_000, 30_000)]
    assert is_of_schema(answer, {"items": {"enum": words}})
    lists = {"items": {"enum": [[word] for word in words]}}
    assert is_of_schema([[word] for word in answer], lists)  # not told: there is too much to compare
    assert Counted.comparisons < 100_000


@pytest.mark.parametrize(
    "schema", [{"properties": 3}, {"items": [1]}, {"anyOf": "x"}, {"$defs": []}, {"required": 1}]
)
def test_nonsense_is_left_for_the_server_to_refuse(schema: dict[str, Any]) -> None:
    assert without_limits(schema) == schema
    assert closed(schema) == schema
    assert maps_in(schema) == []
    assert is_of_schema({"a": [1]}, schema) in (True, False)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "maxLength": 3}
    for _ in range(levels // 2):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def test_a_schema_as_deep_as_is_allowed_can_be_rewritten_and_checked() -> None:
    schema = nested(DEEPEST - 2)
    check_depth(schema, "The schema")
    assert "maxLength" not in str(without_limits(schema))
    assert closed(schema) != schema
    assert maps_in(schema) == []
    assert is_of_schema({"a": {"a": 1}}, schema) is False


@pytest.mark.parametrize("levels", [DEEPEST + 2, 900, 100_000])
def test_a_schema_that_is_nested_too_deeply_is_the_querys_mistake(levels: int) -> None:
    with pytest.raises(QueryError, match="nested more than 128 levels"):
        check_depth(nested(levels), "The schema")


ALL_KINDS = ["string", "number", "boolean", "object", "array", "null"]
TOLD = [
    ({"type": "object"}, {"type": "object"}),
    ({"description": "Any"}, {"type": ALL_KINDS, "description": "Any"}),
    ({"properties": {"a": True}}, {"properties": {"a": {"type": ALL_KINDS}}}),
    ({"properties": {"a": {}}}, {"properties": {"a": {"type": ALL_KINDS}}}),
    ({"type": "array", "items": True}, {"type": "array", "items": {"type": ALL_KINDS}}),
    (
        {"anyOf": [True, {"title": "A"}, {"type": "null"}]},
        {"anyOf": [{"type": ALL_KINDS}, {"type": ALL_KINDS, "title": "A"}, {"type": "null"}]},
    ),
    ({"enum": [1]}, {"enum": [1]}),
    ({"type": "object", "additionalProperties": True}, {"type": "object", "additionalProperties": True}),
]


ONE_TYPE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"type": ["string", "null"]}, {"type": "string"}),
    ({"type": ["string", "integer", "null"]}, {"type": ["string", "integer", "null"]}),
    ({"type": ["null"]}, {"type": ["null"]}),
    ({"properties": {"type": {"type": ["null", "object"]}}}, {"properties": {"type": {"type": "object"}}}),
    ({"enum": ["string", "null"]}, {"enum": ["string", "null"]}),
]


@pytest.mark.parametrize(("schema", "named"), ONE_TYPE)
def test_a_type_or_null_becomes_the_type(schema: dict[str, Any], named: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)
    assert with_one_type(schema) == named
    assert schema == before


@pytest.mark.parametrize(("schema", "told"), TOLD)
def test_parts_that_allow_any_value_name_all_kinds(schema: dict[str, Any], told: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)
    assert with_kinds_told(schema) == told
    assert with_kinds_told(told) == told
    assert schema == before
