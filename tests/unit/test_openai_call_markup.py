"""Calls in the model's own words: taken out of texts where they came as calls, and out of no others."""

from __future__ import annotations

import pytest

from spcs_llm.protocols.openai.call_markup import CallMarkup

NAMES = {"add", "get_weather"}
CALL = '<tool_call>{"name": "add"}</tool_call>'
CASES = [
    (CALL, ""),
    (f"Let me add.{CALL}", "Let me add."),
    (f"Both:{CALL}\n{CALL}\n", "Both:"),
    (f"First {CALL}then more.", "First then more."),
    ("Cut <tool_call><function=add>", "Cut "),
    ("Only a mark <tool_call>", "Only a mark "),
    ("<|tool_calls_section_begin|>functions.add:0<|tool_calls_section_end|>", ""),
    ("Tags: <tool_call> and </tool_call>.", "Tags: <tool_call> and </tool_call>."),
    (f"<tool_call>x</tool_call>{CALL}", "<tool_call>x</tool_call>"),
    ("a < b <tool", "a < b <tool"),
    ("<<tool_call", "<<tool_call"),
    ("Sum:\n<function=add>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>", "Sum:\n"),
    ("<|python_tag|>add.call(a=1)", ""),
    ('Sum:[TOOL_CALLS]add[ARGS]{"a": 1}', "Sum:"),
    ("[TOOL_CALLS] begins a call. [TOOL", "[TOOL_CALLS] begins a call. [TOOL"),
    ('{"name": "add", "parameters": {"a": 1}}', ""),
    (' [{"type": "function", "function": {"name": "add", "arguments": "{}"}}]', ""),
    ('{"name": "other", "parameters": {"a": 1}}', '{"name": "other", "parameters": {"a": 1}}'),
    ('{"name": "add"}', '{"name": "add"}'),
    ('{"na', '{"na'),
    ("[1, 2]", "[1, 2]"),
    ('functools[{"name": "add", "arguments": {"a": 1}}]', ""),
    (
        'functools[{"name": "other", "arguments": {"a": 1}}]',
        'functools[{"name": "other", "arguments": {"a": 1}}]',
    ),
    ("functools is a module.", "functools is a module."),
    ("func", "func"),
    ('\n[add(a=1), get_weather(city="A")]', ""),
    ("[add(a=1)] adds.", "[add(a=1)] adds."),
    ("[add] is one.", "[add] is one."),
    ("[other(a=1)]", "[other(a=1)]"),
    ("<||DSML||tool_calls>add</||DSML||tool_calls>", ""),
    ("<start_function_call>call:add{a:1}<end_function_call>", ""),
    (" \n", " \n"),
    ("", ""),
]


def read(text: str, size: int, *, is_called: bool) -> str:
    markup = CallMarkup(NAMES)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    said = "".join(map(markup.part, pieces))
    assert not said or text.startswith(said)
    rest = markup.flush(is_called=is_called)
    assert not markup.is_waiting
    return said + rest


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize(("text", "left"), CASES)
def test_a_call_that_came_as_one_is_none_of_the_text(text: str, left: str, size: int) -> None:
    assert read(text, size, is_called=True) == left


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("text", [text for text, _ in CASES])
def test_a_text_without_a_call_stays_as_it_is(text: str, size: int) -> None:
    assert read(text, size, is_called=False) == text


@pytest.mark.parametrize(
    ("text", "has_call"),
    [
        (CALL, True),
        ("<tool_call>other</tool_call>", False),
        ("add", False),
        ("<tool_call>add", True),
        ('{"', True),
    ],
)
def test_a_call_that_is_only_text_is_noticed(text: str, has_call: bool) -> None:
    markup = CallMarkup(NAMES)
    markup.part(text)
    markup.flush(is_called=False)
    assert markup.has_call is has_call


def test_marks_without_end_take_no_time() -> None:
    markup = CallMarkup(NAMES)
    for _ in range(200_000):
        markup.part("<tool_call>")
    assert len(markup.flush(is_called=False)) == 200_000 * len("<tool_call>")
