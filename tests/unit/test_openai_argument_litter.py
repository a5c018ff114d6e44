"""Marks of the model's format in the arguments of a call: taken off where that is certain, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from spcs_llm.protocols.openai.argument_litter import (
    behind_mark,
    with_its_end,
    without_marks,
    without_next_call,
)
from spcs_llm.protocols.openai.repeated_json import written_again

TAG = "</\uff5cDSML\uff5cparameter"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"path": {"type": "string"}, "a<b>": {}}}


@pytest.mark.parametrize(
    ("came", "left"),
    [
        ('[ARGS]{"a": 1}', '{"a": 1}'),
        ('\ufeff {"a": 1}', ' {"a": 1}'),
        ('{"a": "[ARGS]"}', '{"a": "[ARGS]"}'),
        ("[1]", "[1]"),
    ],
)
def test_what_stands_before_arguments_is_taken_off(came: str, left: str) -> None:
    assert behind_mark(came) == left


@pytest.mark.parametrize(
    ("came", "left"),
    [
        ('{"a": 1}\n<tool_call>{"name": "b"}', '{"a": 1}'),
        ('{"a": "<tool_call>"}', '{"a": "<tool_call>"}'),
        ('{"a": "<tool_call>"}\n```<tool_call>b', '{"a": "<tool_call>"}'),
        ('{"a": <tool_call>', '{"a": <tool_call>'),
    ],
)
def test_a_call_behind_the_arguments_is_taken_off(came: str, left: str) -> None:
    assert without_next_call(came) == left


@pytest.mark.parametrize(
    ("came", "ended"),
    [
        (f'{{"a": "b{TAG}', '{"a": "b"}'),
        (f'{{"a": "b{TAG}>', '{"a": "b"}'),
        (f'{{"a": {{"b": "c{TAG}', f'{{"a": {{"b": "c{TAG}'),
        ('{"a": "b</parameter', '{"a": "b</parameter'),
    ],
)
def test_a_tag_instead_of_the_end_is_the_end(came: str, ended: str) -> None:
    assert with_its_end(came) == ended


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ('{"path</arg_key>": 1}', '{"path": 1}'),
        ('{"a<b>": 1}', '{"a<b>": 1}'),
        ('{"other</arg_key>": 1}', '{"other</arg_key>": 1}'),
        ('{"path": 1, "path</arg_key>": 2}', '{"path": 1, "path</arg_key>": 2}'),
        ('{"<x>path": 1, "path</x>": 2}', '{"path": 1, "path</x>": 2}'),
        (f'{{"path": "b{TAG}>"}}', '{"path": "b"}'),
        (f'{{"path": "{TAG}> and more"}}', f'{{"path": "{TAG}> and more"}}'),
        ('{"path": "a</b>"}', '{"path": "a</b>"}'),
    ],
)
def test_marks_are_taken_off_declared_names_and_ends_of_values(arguments: str, left: str) -> None:
    assert without_marks(arguments, SCHEMA, may_quote=False) == left


def test_a_query_about_the_marks_keeps_them() -> None:
    arguments = f'{{"path": "b{TAG}>"}}'
    assert without_marks(arguments, SCHEMA, may_quote=True) == arguments
    assert without_marks(arguments, None, may_quote=True) == arguments


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('{"a": "b{"a": "b"}', '{"a": "b"}'),
        ('{"a": {"a": 1}', '{"a": {"a": 1}'),
        ('{"a": 1} or {"a": 2}', '{"a": 1} or {"a": 2}'),
        ("prose", "prose"),
    ],
)
def test_an_object_behind_its_own_beginning_is_read(text: str, read: str) -> None:
    assert written_again(text) == read
