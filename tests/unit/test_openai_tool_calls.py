"""Tool calls in the pieces, names and arguments in which servers really send them."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from spcs_llm import lenient_json
from spcs_llm.domain import ChatRequest, Message, Sampling, TextPart, Tool, ToolCall, ToolChoice
from spcs_llm.errors import ModelError
from spcs_llm.protocols.openai import tool_calls
from spcs_llm.protocols.openai.protocol import OpenAIProtocol
from spcs_llm.protocols.openai.tool_calls import MAX_CALLS, ToolCalls
from spcs_llm.protocols.openai.tool_names import OfferedTools, is_plain, plain_names
from spcs_llm.query_context import QueryContext
from spcs_llm.tool_arguments import INVALID_ARGUMENTS, with_declared_kinds
from tests.growth import cpu_seconds, growth
from tests.unit.scripted_endpoint import DONE, ScriptedEndpoint, completion, delta, event, usage

USER = Message("user", (TextPart("a question"),))
TOOLS = (Tool("add"), Tool("now"), Tool("get_weather"), Tool("get"))
Calls = list[tuple[str, Any]]


def both_ways(body: Any, tools: tuple[Tool, ...] = TOOLS, **request: Any) -> Calls:
    """The calls, which must be the same whether the caller asks for a stream or not, and whole JSON objects."""
    asked = ChatRequest((USER,), tools=tools, **request)
    whole = OpenAIProtocol(ScriptedEndpoint(body)).chat(asked, QueryContext(10))
    *deltas, end = OpenAIProtocol(ScriptedEndpoint(body)).stream(asked, QueryContext(10))
    found: dict[int, list[str]] = {}
    for piece in (piece for each in deltas for piece in each.tool_calls):
        call = found.setdefault(piece.index, ["", "", ""])
        call[0] += piece.id or ""
        call[1] += piece.name or ""
        call[2] += piece.arguments
    assert sorted(found) == list(range(len(whole.tool_calls)))
    assert [tuple(call[1:]) for _, call in sorted(found.items())] == [
        (call.name, call.arguments) for call in whole.tool_calls
    ]
    assert end.finish_reason == whole.finish_reason
    ids = [call.id for call in whole.tool_calls]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    return [(call.name, json.loads(call.arguments)) for call in whole.tool_calls]


def piece(index: Any = None, id: Any = None, name: Any = None, arguments: Any = None) -> bytes:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    call = {key: value for key, value in (("index", index), ("id", id)) if value is not None}
    return delta(tool_calls=[{**call, "function": function}])


END = delta("tool_calls") + DONE
ONE = [("add", {"a": 1, "b": 2})]
TWO = [("add", {"a": 1}), ("add", {"a": 2})]

PIECES: dict[str, tuple[bytes, Calls]] = {
    # one call
    "the name after the arguments": (
        piece(0, None, None, '{"a": 1,') + piece(0, "c1") + piece(0, None, "add", ' "b": 2}'),
        ONE,
    ),
    "the name at the very end": (piece(0, "c1", None, '{"a": 1, "b": 2}') + piece(0, None, "add"), ONE),
    "the name in pieces": (
        piece(0, "c1", "get_") + piece(0, None, "wea") + piece(0, None, "ther", '{"city": "A"}'),
        [("get_weather", {"city": "A"})],
    ),
    "the name in pieces, the first of which is a tool": (
        piece(0, "c1", "get") + piece(0, None, "_weather") + piece(0, None, None, '{"city": "A"}'),
        [("get_weather", {"city": "A"})],
    ),
    "the name so far": (
        piece(0, "c1", "get_w")
        + piece(0, "c1", "get_weather")
        + piece(0, "c1", "get_weather", '{"city": "A"}'),
        [("get_weather", {"city": "A"})],
    ),
    "the arguments so far": (
        piece(0, "c1", "add", '{"a"')
        + piece(0, None, None, '{"a": 1,')
        + piece(0, None, None, '{"a": 1, "b": 2}'),
        ONE,
    ),
    "the arguments so far, with the name and the id": (
        piece(0, "c1", "add", '{"a"')
        + piece(0, "c1", "add", '{"a": 1')
        + piece(0, "c1", "add", '{"a": 1, "b": 2}'),
        ONE,
    ),
    "the whole call once more": (
        piece(0, "c1", "add", '{"a": 1,')
        + piece(0, None, None, ' "b": 2}')
        + piece(0, "c1", "add", '{"a": 1, "b": 2}'),
        ONE,
    ),
    "the whole arguments once more": (
        piece(0, "c1", "add", '{"a": 1,')
        + piece(0, None, None, ' "b": 2}')
        + piece(0, None, None, '{"a": 1, "b": 2}'),
        ONE,
    ),
    "a whole message after the pieces": (
        piece(0, "c1", "add", '{"a": 1,')
        + piece(0, None, None, ' "b": 2}')
        + event(
            {
                "choices": [
                    {
                        "message": {
                            "tool_calls": [
                                {"id": "c1", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
                            ]
                        },
                        "finish_reason": "tool_calls",
                    }
                ]
            }
        ),
        ONE,
    ),
    "a null before the calls of a whole message after the pieces": (
        piece(0, "c1", "add", '{"a": 1,')
        + event(
            {
                "choices": [
                    {
                        "message": {
                            "tool_calls": [
                                None,
                                {"function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}},
                            ]
                        },
                        "finish_reason": "tool_calls",
                    }
                ]
            }
        ),
        ONE,
    ),
    "an object nested in the same that lacks its last brace": (
        piece(0, "c1", "add", '{"a": {"a": 1}'),
        [("add", {INVALID_ARGUMENTS: '{"a": {"a": 1}'})],
    ),
    "the number of the event as index": (
        piece(0, "c1", "add", '{"a": 1,') + piece(1, "c1", None, ' "b":') + piece(2, "c1", None, " 2}"),
        ONE,
    ),
    "the number of the event as index, without ids": (
        piece(0, None, "add", '{"a": 1,') + piece(1, None, None, ' "b":') + piece(2, None, None, " 2}"),
        ONE,
    ),
    "a new id in each piece, without a name": (
        piece(0, "c1", "add", '{"a": 1,') + piece(0, "c2", None, ' "b": 2}'),
        ONE,
    ),
    "an empty name and id in each piece": (
        piece(0, "c1", "add", "") + piece(0, "", "", '{"a": 1,') + piece(0, "", "", ' "b": 2}'),
        ONE,
    ),
    "the name once more at the end": (
        piece(0, "c1", "add", '{"a": 1, "b": 2}') + piece(0, "c1", "add", ""),
        ONE,
    ),
    "an object nested in the same": (
        piece(0, "c1", "add", '{"a":') + piece(0, None, None, '{"a": 1}') + piece(0, None, None, "}"),
        [("add", {"a": {"a": 1}})],
    ),
    "brackets and quotes in a text": (
        piece(0, "c1", "add", '{"a": "}{') + piece(0, None, None, "\\") + piece(0, None, None, '"}]"}'),
        [("add", {"a": '}{"}]'})],
    ),
    "flat, without a function": (
        delta(tool_calls=[{"index": 0, "id": "c1", "name": "add", "arguments": {"a": 1, "b": 2}}]),
        ONE,
    ),
    "the older function_call": (
        delta(function_call={"name": "add", "arguments": ""})
        + delta(function_call={"arguments": '{"a": 1,'})
        + delta(function_call={"arguments": ' "b": 2}'}),
        ONE,
    ),
    "not in a list": (
        delta(tool_calls={"index": 0, "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}),
        ONE,
    ),
    "an index as text": (piece("0", "c1", "add", '{"a": 1,') + piece("0", None, None, ' "b": 2}'), ONE),
    "ids as numbers": (piece(0, 7, "add", '{"a": 1, "b": 2}'), ONE),
    # several
    "all numbered 0, without ids": (
        piece(0, None, "add", '{"a": 1}') + piece(0, None, "add", '{"a": 2}'),
        TWO,
    ),
    "all numbered 0, with empty ids": (
        piece(0, "", "add", '{"a": 1}') + piece(0, "", "add", '{"a": 2}'),
        TWO,
    ),
    "all numbered 0, of one id": (piece(0, "x", "add", '{"a": 1}') + piece(0, "x", "add", '{"a": 2}'), TWO),
    "all numbered 0, arguments in pieces": (
        piece(0, None, "add", "")
        + piece(0, None, None, '{"a":')
        + piece(0, None, None, " 1}")
        + piece(0, None, "add", "")
        + piece(0, None, None, '{"a": 2}'),
        TWO,
    ),
    "of one id, numbered": (piece(0, "x", "add", '{"a": 1}') + piece(1, "x", "add", '{"a": 2}'), TWO),
    "without numbers or ids": (
        piece(None, None, "add", '{"a": 1}') + piece(None, None, "add", '{"a": 2}'),
        TWO,
    ),
    "without numbers or ids, in pieces": (
        piece(None, None, "add", '{"a":')
        + piece(None, None, None, " 1}")
        + piece(None, None, "add", '{"a":')
        + piece(None, None, None, " 2}"),
        TWO,
    ),
    "the same call twice, without ids": (
        piece(0, None, "add", '{"a": 1}') + piece(0, None, "add", '{"a": 1}'),
        [("add", {"a": 1})] * 2,
    ),
    "of different tools, all numbered 0": (
        piece(0, None, "now", "{}") + piece(0, None, "add", '{"a": 1}'),
        [("now", {}), ("add", {"a": 1})],
    ),
    "without arguments, of different tools": (
        piece(0, "c1", "now") + piece(0, "c2", "get"),
        [("now", {}), ("get", {})],
    ),
    "without arguments, of one tool": (piece(0, "c1", "now") + piece(0, "c2", "now"), [("now", {})] * 2),
    "null for arguments, in a row": (
        piece(0, None, "now", "null") + piece(0, None, "get", "null"),
        [("now", {}), ("get", {})],
    ),
    "in one event": (
        delta(
            tool_calls=[
                {"index": 0, "id": "c1", "function": {"name": "add", "arguments": '{"a": 1}'}},
                {"index": 1, "id": "c2", "function": {"name": "add", "arguments": '{"a": 2}'}},
            ]
        ),
        TWO,
    ),
    "interleaved by id": (
        piece(None, "c1", "add", '{"a":')
        + piece(None, "c2", "add", '{"a":')
        + piece(None, "c1", None, " 1}")
        + piece(None, "c2", None, " 2}"),
        TWO,
    ),
    "an empty object before the arguments": (
        piece(0, "c1", "add", "{}") + piece(0, None, None, '{"a": 1, "b": 2}'),
        ONE,
    ),
    "an empty object after the arguments": (
        piece(0, "c1", "add", '{"a": 1, "b": 2}') + piece(0, None, None, "{}"),
        ONE,
    ),
    "two objects, which may be of two calls": (
        piece(0, "c1", "add", '{"a": 1}{"a": 1}'),
        [("add", {INVALID_ARGUMENTS: [{"a": 1}, {"a": 1}]})],
    ),
    "begun twice": (
        piece(0, "c1", "add", '{"a": ')
        + piece(0, None, None, '1{"a": ')
        + piece(0, None, None, '1, "b": 2}'),
        ONE,
    ),
    "begun, and whole with other blanks": (
        piece(0, "c1", "add", '{"a":1,')
        + piece(0, None, None, '"b":2')
        + piece(0, None, None, '{ "a" : 1, "b": 2}'),
        ONE,
    ),
    "begun twice, with something else": (
        piece(0, "c1", "add", '{"a": 2{"a": ') + piece(0, None, None, "1}"),
        [("add", {INVALID_ARGUMENTS: '{"a": 2{"a": 1}'})],
    ),
    "the text null as an id": (
        piece(0, "c1", "add")
        + piece(0, "null", "", '{"a": 1}')
        + piece(0, "c2", "add")
        + piece(0, "null", "", '{"a": 2}'),
        TWO,
    ),
    "unfinished, and another": (
        piece(0, "c1", "add", '{"a": 1') + piece(0, "c2", "now", "{}"),
        [("add", {INVALID_ARGUMENTS: '{"a": 1'}), ("now", {})],
    ),
    "nulls in place of a piece and of a function": (
        piece(0, "c1", "add")
        + delta(tool_calls=[None])
        + delta(tool_calls=[{"index": 0, "function": None}])
        + piece(0, None, None, '{"a": 1, "b": 2}'),
        ONE,
    ),
    "wrapped into one that there is not": (
        piece(
            0,
            "c1",
            "multi_tool_use.parallel",
            json.dumps(
                {"tool_uses": [{"recipient_name": "functions.add", "parameters": {"a": n}} for n in (1, 2)]}
            ),
        ),
        TWO,
    ),
}


@pytest.mark.parametrize(("body", "calls"), PIECES.values(), ids=PIECES.keys())
@pytest.mark.parametrize("end", [END, delta("stop"), delta(None) + DONE], ids=["tool_calls", "stop", "none"])
def test_pieces_belong_to_the_calls_they_are_of(body: bytes, calls: Calls, end: bytes) -> None:
    assert both_ways(body + end) == calls


NAMES: dict[str | None, str] = {
    "add": """add| add|add\\n|ADD|`add`|"add"|add()|functions.add|functions:add|tools.add|functions.add:0"""
    "|default_api.add",
    "get_weather": "get-weather|Get_Weather|functions.get_weather|get_weather\\t",
    None: "add_all|send.add|adder|please add|xadd|| |add numbers|get weather",
}
WITH_TAGS = [
    "add<|channel|>commentary",
    "add<|constrain|>json",
    "add</arg_value>",
    "<tool_call>add",
    "assistant<|channel|>commentary to=functions.add",
    "add<|message|>{",
    "<|tool_call|>add\n",
    "add\n<tool_call>",
]
CASES = [
    *(
        (name.replace("\\n", "\n").replace("\\t", "\t"), tool)
        for tool, names in NAMES.items()
        for name in names.split("|")
    ),
    *((name, "add") for name in WITH_TAGS),
    ("<|channel|>", None),
]


@pytest.mark.parametrize(("name", "tool"), CASES)
def test_a_name_is_the_one_offered_tool_that_it_clearly_is(name: str, tool: str | None) -> None:
    assert OfferedTools({"add", "get_weather"}).meant_by(name) == tool


PLAIN = {
    "search": "search",
    "Google Search": "Google_Search",
    "calendar.listEvents": "calendar_listEvents",
    "3d_view": "tool_3d_view",
    "_hidden": "tool_hidden",
}


@pytest.mark.parametrize(("name", "plain"), PLAIN.items())
def test_a_plain_name_is_near_to_the_tools_own(name: str, plain: str) -> None:
    assert plain_names([name]) == {name: plain}
    assert OfferedTools([name]).meant_by(plain) == name


ALIKE = [
    ("a.b", "a_b"),
    ("a b", "a.b"),
    ("x" * 65, "x" * 66, "x" * 64),
    ("天气", "新闻", ""),
    ("tool_1", "1", ".1"),
]


@pytest.mark.parametrize("names", ALIKE)
def test_plain_names_of_tools_that_are_alike_are_apart(names: tuple[str, ...]) -> None:
    found = plain_names(names)
    assert all(map(is_plain, found.values()))
    assert len(set(found.values())) == len(names)
    offered = OfferedTools(names)
    assert all(offered.meant_by(plain) == name for name, plain in found.items())


def test_names_of_earlier_calls_do_not_change_the_plain_names_of_tools() -> None:
    found = plain_names(["a.b"], ["a_b", "a b"])
    assert found["a.b"] == plain_names(["a.b"])["a.b"] == "a_b"
    assert all(map(is_plain, found.values()))


def test_a_name_that_may_be_two_tools_is_none_of_them() -> None:
    offered = OfferedTools({"Add", "add", "ADD"})
    assert offered.meant_by("aDD") is None
    assert offered.meant_by("add") == "add"


@pytest.mark.parametrize(
    "name", ["send_email", "functions.send_email", "send_email\n", "multi_tool_use.other"]
)
def test_a_tool_that_there_is_not_is_handed_on(name: str) -> None:
    """Agents tell the model so and go on; an error would end their run."""
    ((called, arguments),) = both_ways(piece(0, "c1", name, '{"to": "Ann"}') + END)
    assert called == name.strip()
    assert arguments == {"to": "Ann"}


ARGUMENTS: list[tuple[Any, Any]] = [
    ("null", {}),
    ("", {}),
    (" \n", {}),
    ("[]", {}),
    ({}, {}),
    ({"a": 1}, {"a": 1}),
    ('{"a": "x\ny\tz"}', {"a": "x\ny\tz"}),
    ('"{\\"a\\": 1}"', {"a": 1}),
    ('{"a": 1}\n', {"a": 1}),
    ('{"a": NaN}', {"a": None}),
    ('{"a": 1}}', {"a": 1}),
    ("{'a': True}", {"a": True}),
    ("SELECT 1", {INVALID_ARGUMENTS: "SELECT 1"}),
    ('{"a": "say "hi""}', {INVALID_ARGUMENTS: '{"a": "say "hi""}'}),
    ("[1, 2]", {INVALID_ARGUMENTS: "[1, 2]"}),
    (3, {INVALID_ARGUMENTS: "3"}),
    (True, {INVALID_ARGUMENTS: "true"}),
    ([1], {INVALID_ARGUMENTS: "[1]"}),
]


@pytest.mark.parametrize(("arguments", "expected"), ARGUMENTS, ids=lambda value: str(value)[:30])
def test_arguments_are_handed_on_as_an_object_whatever_they_are(arguments: Any, expected: Any) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": arguments}}
    for body in (
        completion("tool_calls", content=None, tool_calls=[call]),
        piece(0, "c1", "add", arguments) + END,
    ):
        assert both_ways(body) == [("add", expected)]


def test_whole_numbers_have_no_fraction_where_the_tool_declares_integers() -> None:
    """xAI's models write 120000.0 (lidge-jun/opencodex#1611), which strict readers of integers refuse."""
    number = {"type": "number"}
    whole = {"type": "integer"}
    schema = {
        "properties": {"a": whole, "b": {"type": "array", "items": whole}, "c": number, "d": whole, "e": {}}
    }
    told = '{"a": 120000.0, "b": [1.0, 2.5], "c": 2.0, "d": 1e300, "e": 3.0}'
    made = '{"a": 120000, "b": [1, 2.5], "c": 2.0, "d": 1e+300, "e": 3.0}'
    assert with_declared_kinds(told, schema) == made
    assert with_declared_kinds('{"c": 2.0}', schema) == '{"c": 2.0}'


def test_no_calls_of_a_caller_who_said_none() -> None:
    body = delta(content="Hi") + piece(0, "c1", "add", "{}") + END
    asked = ChatRequest((USER,), tools=TOOLS, tool_choice=ToolChoice("none"))
    answer = OpenAIProtocol(ScriptedEndpoint(body)).chat(asked, QueryContext(10))
    assert (answer.text, answer.tool_calls, answer.finish_reason) == ("Hi", (), "stop")
    assert answer.ignored_settings == ("toolChoice",)
    assert both_ways(body, tool_choice=ToolChoice("none")) == []


def test_a_call_in_place_of_an_answer_is_an_error_for_a_caller_who_said_none() -> None:
    with pytest.raises(ModelError, match="toolChoice"):
        both_ways(piece(0, "c1", "add", "{}") + END, tool_choice=ToolChoice("none"))


def test_a_nameless_call_is_of_the_tool_that_had_to_be_called() -> None:
    call = {"id": "c1", "function": {"arguments": '{"a": 1}'}}
    body = completion("stop", content=None, tool_calls=[call])
    assert both_ways(body, tool_choice=ToolChoice("tool", "add")) == [("add", {"a": 1})]


def test_a_nameless_call_is_of_the_only_tool() -> None:
    body = piece(0, "c1", "add", '{"a": 1}') + piece(1, None, None, '{"a": 2}') + END
    assert both_ways(body, tools=(Tool("add"),)) == TWO


@pytest.mark.parametrize(("limit", "is_cut"), [(9, True), (10, False), (None, False)])
def test_a_call_is_cut_short_where_the_tokens_are_used_up(limit: int | None, is_cut: bool) -> None:
    body = (
        piece(0, "c1", "add", '{"a": 1')
        + delta("tool_calls")
        + usage(prompt_tokens=3, completion_tokens=9)
        + DONE
    )
    sampling = Sampling(max_output_tokens=limit)
    if is_cut:
        with pytest.raises(ModelError, match="token limit in the middle of a call of the tool 'add'"):
            both_ways(body, sampling=sampling)
    else:
        assert both_ways(body, sampling=sampling) == [("add", {INVALID_ARGUMENTS: '{"a": 1'})]


def test_the_calls_of_one_answer_are_limited() -> None:
    body = b"".join(piece(n, f"c{n}", "now", "{}") for n in range(MAX_CALLS)) + END
    assert len(both_ways(body)) == MAX_CALLS
    with pytest.raises(ModelError, match="more than 128"):
        both_ways(piece(MAX_CALLS, "c", "now", "{}") + body)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "pieces",
    [
        [{"index": 0, "function": {"name": "add", "arguments": '"}'}}] * 20_000,
        [{"index": 0, "id": "x", "function": {"name": "add", "arguments": "{}"}}] * 20_000,
        [{"index": 0, "function": {"arguments": "a"}}] * 20_000,
        [{"function": {"arguments": "}"}}] * 20_000,
        [{"index": 0, "function": {"name": "a"}}] * 20_000,
        [{"index": n, "function": {"arguments": "{"}} for n in range(20_000)],
    ],
    ids=["quotes", "repeated", "letters", "brackets", "names", "numbered"],
)
def test_pieces_take_linear_time(pieces: list[Any]) -> None:
    """Ten times the pieces take about ten times as long, whatever they are."""

    def seconds(count: int) -> float:
        def gather() -> None:
            calls = ToolCalls({"add": None})
            with contextlib.suppress(ModelError):
                for each in pieces[:count]:
                    calls.add([each])
                    calls.heads()
                calls.finished(cut_short=False)

        return cpu_seconds(gather)

    assert growth(seconds, 2_000, 10, most=40) <= 40


def test_calls_hold_no_text_in_their_repr() -> None:
    assert "secret" not in repr(ToolCall("c1", "add", '{"a": "secret"}'))


# -- ids of earlier turns --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("call_0", None),
        ("functions.add:0", "functions.add:2"),
        ("functions.add:7", "functions.add:7"),
        ("x", "x"),
    ],
)
def test_an_id_of_an_earlier_turn_is_not_given_to_another_call(given: str, wanted: str | None) -> None:
    before = ("call_0", "functions.add:0", "functions.add:1")
    history = Message("assistant", tool_calls=tuple(ToolCall(id, "add", "{}") for id in before))
    asked = ChatRequest((USER, history, USER), tools=TOOLS)
    body = piece(0, given, "add", '{"a": 1}') + END
    (call,) = OpenAIProtocol(ScriptedEndpoint(body)).chat(asked, QueryContext(10)).tool_calls
    *deltas, _ = OpenAIProtocol(ScriptedEndpoint(body)).stream(asked, QueryContext(10))
    streamed = [piece.id for delta in deltas for piece in delta.tool_calls if piece.id]
    assert len(streamed) == 1
    for found in (call.id, *streamed):
        assert found not in before
        assert wanted is None or found == wanted


# -- what a hostile server may send ---------------------------------------------------------------------


def test_arguments_are_not_kept_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_calls, "_MAX_ARGUMENTS", 1000)
    assert both_ways(piece(0, "c1", "add", "{" + " " * 998 + "}") + END) == [("add", {})]
    body = (
        piece(0, "c1", "add", "{")
        + piece(0, arguments=" " * 100) * 9
        + piece(0, arguments=" " * 98 + "}")
        + END
    )
    assert both_ways(body) == [("add", {})]
    body = piece(0, "c1", "add", "{") + piece(0, arguments=" " * 100) * 10 + END
    with pytest.raises(ModelError, match="longer than arguments can be"):
        both_ways(body)


def test_arguments_of_too_many_parts_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lenient_json, "_MAX_PARTS", 1000)
    for parts, is_read in ((900, True), (1000, False)):
        body = piece(0, "c1", "add", '{"a":[' + "[]," * parts + "[]]}") + END
        ((_, arguments),) = both_ways(body)
        assert list(arguments) == (["a"] if is_read else [INVALID_ARGUMENTS])


def test_stubs_behind_a_long_call_cost_nothing() -> None:
    def cost(stubs: int) -> float:
        calls = ToolCalls({"add": None})
        calls.add({"index": 0, "id": "c1", "function": {"name": "add", "arguments": f"{{{LONG_LIST}}}"}})
        for at in range(1, stubs):
            calls.add({"index": at, "function": {"name": "add", "arguments": ""}})
        return cpu_seconds(lambda: calls.finished(cut_short=False))

    assert growth(cost, 2, 60, most=8.0) <= 8.0


LONG_LIST = '"a":[' + "1," * 30_000 + "1]"
