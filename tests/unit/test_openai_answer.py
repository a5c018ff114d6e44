"""Answers of servers that speak OpenAI's API: streamed or whole, good or bad."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from spcs_llm.domain import (
    ChatAnswer,
    ChatDelta,
    ChatEnd,
    ChatRequest,
    Message,
    TextPart,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from spcs_llm.errors import (
    BadRequest,
    ModelError,
    NetworkError,
    RequestTooLarge,
    ServiceBusy,
    ServiceDown,
    ServiceError,
    SpcsError,
)
from spcs_llm.protocols.openai.protocol import OpenAIProtocol
from spcs_llm.query_context import QueryContext
from tests.unit.scripted_endpoint import (
    CHUNK,
    DONE,
    ScriptedEndpoint,
    completion,
    delta,
    event,
    said,
    usage,
)

SECRET = "my dog is called Bartholomew"
HELLO = ChatRequest((Message("user", (TextPart(SECRET),)),), tools=(Tool("add"), Tool("now")))


def protocol_after_a_stream(answer: Any) -> OpenAIProtocol:
    """A protocol that knows of the server that it can stream, and so puts no blame on that."""
    protocol = OpenAIProtocol(ScriptedEndpoint(said("before"), answer))
    protocol.chat(HELLO, QueryContext(10))
    return protocol


def chat(answer: Any) -> ChatAnswer:
    return protocol_after_a_stream(answer).chat(HELLO, QueryContext(10))


def stream(answer: Any) -> list[ChatDelta | ChatEnd]:
    return list(protocol_after_a_stream(answer).stream(HELLO, QueryContext(10)))


def call_piece(
    index: int | None, id: str | None = None, name: str | None = None, arguments: Any = None
) -> bytes:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    piece: dict[str, Any] = {"function": function}
    piece.update({key: value for key, value in (("index", index), ("id", id)) if value is not None})
    return delta(tool_calls=[piece])


# -- texts ---------------------------------------------------------------------------------------------


def test_a_stream_is_passed_on_piece_by_piece_with_one_end() -> None:
    assert stream(said("Par", "is") + usage(prompt_tokens=3, completion_tokens=2)) == [
        ChatDelta("Par"),
        ChatDelta("is"),
        ChatEnd("stop", Usage(), (), "m1"),
    ]


def test_the_usage_comes_after_the_last_choice() -> None:
    body = delta(content="a") + delta("stop") + usage(prompt_tokens=3, completion_tokens=2) + DONE
    assert stream(body)[-1] == ChatEnd("stop", Usage(3, 2, 5), (), "m1")


ANSWERS: dict[str, tuple[Any, ChatAnswer]] = {
    "streamed": (said("Par", "is"), ChatAnswer("Paris", "stop", model="m1")),
    "whole, in spite of being asked for as a stream": (
        completion(content="Paris"),
        ChatAnswer("Paris", "stop", model="m1"),
    ),
    "whole, after blanks that keep the connection alive": (
        [b"\n", b" \n", json.dumps(completion(content="Paris")).encode()],
        ChatAnswer("Paris", "stop", model="m1"),
    ),
    "content null": (delta(content=None) + delta("stop"), ChatAnswer("", "stop", model="m1")),
    "a refusal in place of a content": (
        delta(content=None, refusal="I will not.") + delta("stop"),
        ChatAnswer("I will not.", "stop", model="m1"),
    ),
    "content as parts": (
        completion(content=[{"type": "text", "text": "Par"}, {"type": "text", "text": "is"}]),
        ChatAnswer("Paris", "stop", model="m1"),
    ),
    "without a finish reason, but with [DONE]": (
        delta(content="a") + DONE,
        ChatAnswer("a", None, model="m1"),
    ),
    "without [DONE], but with a finish reason": (
        delta(content="a") + delta("length"),
        ChatAnswer("a", "length", model="m1"),
    ),
    "[DONE] with blanks": (delta(content="a") + b"data:  [DONE] \n\n", ChatAnswer("a", None, model="m1")),
    "the whole message beside an empty delta": (
        delta(content="a")
        + event({"choices": [{"delta": {}, "message": {"content": "a"}, "finish_reason": "stop"}]}),
        ChatAnswer("a", "stop", model="m1"),
    ),
    "cut after its finish reason": (
        [delta(content="a") + delta("stop"), NetworkError("cut")],
        ChatAnswer("a", "stop", model="m1"),
    ),
    "an empty finish reason": (completion("", content="a"), ChatAnswer("a", None, model="m1")),
    "a finish reason that nobody knows": (
        completion("[31mred", content="a"),
        ChatAnswer("a", None, model="m1"),
    ),
    "a byte that is not UTF-8": (
        delta(content="a").replace(b'"a"', b'"a\xff"') + delta("stop"),
        ChatAnswer("a\ufffd", "stop", model="m1"),
    ),
    "an engine's word for it": (completion("eos_token", content="a"), ChatAnswer("a", "stop", model="m1")),
    "reasoning": (
        delta(reasoning="I th") + delta(reasoning="ink") + delta(content="a") + delta("stop"),
        ChatAnswer("a", "stop", reasoning="I think", model="m1"),
    ),
    "reasoning by its earlier name": (
        completion(content="a", reasoning_content="I think"),
        ChatAnswer("a", "stop", reasoning="I think", model="m1"),
    ),
    "reasoning under both names is one": (
        completion(content="a", reasoning_content="I think", reasoning="I think"),
        ChatAnswer("a", "stop", reasoning="I think", model="m1"),
    ),
    "a second choice that nobody asked for": (
        event({**CHUNK, "choices": [{"index": 1, "delta": {"content": "b"}}]}) + said("a"),
        ChatAnswer("a", "stop", model="m1"),
    ),
    "events that are not OpenAI's": (
        b": comment\n\n"
        + event("", "ping")
        + event("{}", "ping")
        + event("1732406400", "ping")
        + event("hm", "keepalive")
        + said("a"),
        ChatAnswer("a", "stop", model="m1"),
    ),
    "an error that is null": (
        event({**CHUNK, "error": None, "choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}),
        ChatAnswer("a", "stop", model="m1"),
    ),
    "unknown fields": (
        {**completion(content="a", refusal=None, audio=None), "timings": {"x": 1}},
        ChatAnswer("a", "stop", model="m1"),
    ),
}


@pytest.mark.parametrize(("body", "expected"), ANSWERS.values(), ids=ANSWERS.keys())
def test_answers(body: Any, expected: ChatAnswer) -> None:
    assert chat(body) == expected


def test_an_answer_is_the_same_wherever_its_bytes_are_split() -> None:
    body = said("é", "€", "😀 \r\n") + usage(total_tokens=3)
    whole = chat(body)
    assert whole.text == "é€😀 \r\n"
    for at in range(1, len(body)):
        assert chat([body[:at], body[at:]]) == whole, at


def test_log_probs_are_handed_on_token_by_token() -> None:
    tokens: list[dict[str, Any]] = [
        {"token": t, "logprob": -0.1, "bytes": None, "top_logprobs": []} for t in "ab"
    ]
    body = delta(content="a", logprobs={"content": tokens[:1]}) + delta(
        content="b", logprobs={"content": tokens[1:]}
    )
    pieces = stream(body + delta("stop"))
    assert [d.log_probs for d in pieces[:-1]] == [(tokens[0],), (tokens[1],)]
    assert chat(body + delta("stop")).log_probs == tuple(tokens)


USAGES: list[tuple[Any, Usage]] = [
    (None, Usage()),
    ({}, Usage()),
    ("many", Usage()),
    ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, Usage(3, 2, 5)),
    ({"prompt_tokens": 3.0, "completion_tokens": 2}, Usage(3, 2, 5)),
    ({"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}, Usage(3, None, 3)),
    ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Usage()),
    ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 0}, Usage(3, 2, 5)),
    ({"input_tokens": 3, "output_tokens": 2}, Usage(3, 2, 5)),
    ({"prompt_tokens": 2**63, "completion_tokens": 10**400, "total_tokens": 2**31}, Usage()),
    ({"prompt_tokens": "3", "completion_tokens": True, "total_tokens": -1}, Usage()),
    (
        {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
        Usage(3, 2, 5, cached_tokens=1, reasoning_tokens=2),
    ),
    ({"total_tokens": 9, "prompt_tokens_details": None}, Usage(total_tokens=9)),
]


@pytest.mark.parametrize(("reported", "expected"), USAGES)
def test_usage_as_the_service_reports_it(reported: Any, expected: Usage) -> None:
    assert chat({**completion(content="a"), "usage": reported}).usage == expected
    assert (
        chat(delta(content="a") + delta("stop") + event({"choices": [], "usage": reported})).usage == expected
    )


# -- tool calls ----------------------------------------------------------------------------------------

ADD = ToolCall("c1", "add", '{"a": 1}')
NOW = ToolCall("c2", "now", "{}")
END = delta("tool_calls") + DONE
CALLS: dict[str, tuple[Any, tuple[ToolCall, ...]]] = {
    "in pieces": (
        call_piece(0, "c1", "add", "")
        + call_piece(0, arguments='{"a"')
        + call_piece(0, arguments=": 1}")
        + END,
        (ADD,),
    ),
    "interleaved": (
        call_piece(0, "c1", "add", '{"a"')
        + call_piece(1, "c2", "now", "{")
        + call_piece(0, arguments=": 1}")
        + call_piece(1, arguments="}")
        + END,
        (ADD, NOW),
    ),
    "without indexes": (
        call_piece(None, "c1", "add", '{"a"')
        + call_piece(None, arguments=": 1}")
        + call_piece(None, "c2", "now", "{}")
        + END,
        (ADD, NOW),
    ),
    "without indexes, each piece with its id": (
        call_piece(None, "c1", "add", '{"a"')
        + call_piece(None, "c2", "now", "{}")
        + call_piece(None, "c1", arguments=": 1}")
        + END,
        (ADD, NOW),
    ),
    "all numbered 0": (
        call_piece(0, "c1", "add", '{"a": 1}') + call_piece(0, "c2", "now", "{}") + END,
        (ADD, NOW),
    ),
    "numbered from 1": (
        call_piece(1, "c1", "add", '{"a": 1}') + call_piece(2, "c2", "now", "{}") + END,
        (ADD, NOW),
    ),
    "with id and name in every piece": (
        call_piece(0, "c1", "add", '{"a"') + call_piece(0, "c1", "add", ": 1}") + END,
        (ADD,),
    ),
    "with the name and a new id in every piece": (
        call_piece(0, "c1", "add", "")
        + call_piece(0, "c7", "add", '{"a"')
        + call_piece(0, "c8", "add", ": 1}")
        + call_piece(0, "c9", "add", "")
        + END,
        (ADD,),
    ),
    "of one tool, all numbered 0": (
        call_piece(0, "c1", "now", "")
        + call_piece(0, "", arguments="{}")
        + call_piece(0, "c2", "now", "")
        + call_piece(0, "", arguments="{}")
        + END,
        (replace(NOW, id="c1"), NOW),
    ),
    "with empty ids after the first": (
        call_piece(0, "c1", "add", '{"a"') + call_piece(0, "", "", ": 1}") + END,
        (ADD,),
    ),
    "with arguments as an object": (call_piece(0, "c1", "add", {"a": 1}) + END, (ADD,)),
    "without arguments": (call_piece(0, "c2", "now") + END, (NOW,)),
    "with blank arguments": (call_piece(0, "c2", "now", " ") + END, (NOW,)),
    "whole": (
        completion(
            "tool_calls",
            content=None,
            tool_calls=[
                {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
                {"id": "c2", "type": "function", "function": {"name": "now", "arguments": ""}},
            ],
        ),
        (ADD, NOW),
    ),
}


@pytest.mark.parametrize("index", [{"index": 0}, {}], ids=["equal indexes", "no index"])
def test_whole_calls_are_never_put_together(index: dict[str, int]) -> None:
    calls = [{**index, "function": {"name": "add", "arguments": f'{{"a": {number}}}'}} for number in (1, 2)]
    first, second = chat(completion("tool_calls", content=None, tool_calls=calls)).tool_calls
    assert (first.arguments, second.arguments) == ('{"a": 1}', '{"a": 2}')
    assert first.id != second.id


@pytest.mark.parametrize(("body", "expected"), CALLS.values(), ids=CALLS.keys())
def test_tool_calls(body: Any, expected: tuple[ToolCall, ...]) -> None:
    answer = chat(body)
    assert answer.tool_calls == expected
    assert answer.finish_reason == "tool_calls"


@pytest.mark.parametrize(("body", "expected"), CALLS.values(), ids=CALLS.keys())
def test_streamed_tool_calls_add_up_by_index(body: Any, expected: tuple[ToolCall, ...]) -> None:
    calls: dict[int, list[Any]] = {}
    for piece in stream(body)[:-1]:
        for part in piece.tool_calls:
            call = calls.setdefault(part.index, [None, None, ""])
            call[0], call[1], call[2] = call[0] or part.id, call[1] or part.name, call[2] + part.arguments
    assert sorted(calls) == list(range(len(expected)))
    assert tuple(ToolCall(id, name, args.strip()) for id, name, args in calls.values()) == expected


def test_a_calls_name_is_passed_on_at_once_and_its_arguments_when_they_are_whole() -> None:
    """Nobody can use half of them, and what they are shows at their end only."""
    body = (
        call_piece(0, "c1", "add", "")
        + call_piece(0, arguments='{"a"')
        + call_piece(0, arguments=": 1")
        + call_piece(0, arguments="}")
        + END
    )
    assert [piece.tool_calls for piece in stream(body)[:-1]] == [
        (ToolCallDelta(0, "c1", "add", ""),),
        (ToolCallDelta(0, arguments='{"a": 1}'),),
    ]


def test_a_call_without_an_id_is_given_one_that_every_template_takes() -> None:
    [one], [other] = (chat(call_piece(0, None, "now", "{}") + END).tool_calls for _ in range(2))
    assert one.id.isalnum()
    assert len(one.id) == 9
    assert one.id != other.id


@pytest.mark.parametrize("reason", ["stop", None])
def test_an_answer_with_calls_ends_for_its_calls(reason: str | None) -> None:
    assert chat(call_piece(0, "c2", "now", "{}") + delta(reason) + DONE).finish_reason == "tool_calls"


BAD_CALLS = {
    "arguments cut at the token limit": (call_piece(0, "c", "add", '{"a') + delta("length"), "token limit"),
    "no name": (call_piece(0, "c", None, "{}") + END, "without naming it"),
    "calls that are a number": (delta(tool_calls=3) + END, "unknown structure"),
    "calls that are texts": (delta(tool_calls=["add"]) + END, "unknown structure"),
    "more calls than anybody runs": (
        delta(tool_calls=[{"index": i, "function": {"name": "add", "arguments": SECRET}} for i in range(200)])
        + END,
        "more than 128",
    ),
}


@pytest.mark.parametrize(("body", "complaint"), BAD_CALLS.values(), ids=BAD_CALLS.keys())
@pytest.mark.parametrize("way", [chat, stream])
def test_bad_tool_calls_are_errors_of_the_model(body: bytes, complaint: str, way: Any) -> None:
    with pytest.raises(ModelError, match=complaint) as caught:
        way(body)
    assert SECRET not in str(caught.value)


# -- errors --------------------------------------------------------------------------------------------

TOLD = {"message": "the context is full", "type": "invalid_request_error", "code": 400}
ERRORS: dict[str, tuple[Any, type[Exception], str]] = {
    "an error as data": (delta(role="assistant") + event({"error": TOLD}), BadRequest, "context is full"),
    "an error event": (event({"error": TOLD}, "error"), BadRequest, "context is full"),
    "an error in mid-stream": (
        delta(content="a") + event({"error": TOLD}),
        ModelError,
        "end.*context is full",
    ),
    "an error event in mid-stream": (delta(content="a") + event("full", "error"), ModelError, "end.*full"),
    "an error event without an envelope": (event(TOLD, "error"), BadRequest, "context is full"),
    "an error event that is no JSON": (event("out of memory", "error"), ServiceError, "out of memory"),
    "an error event that is a JSON text": (event('"full"', "error"), ServiceError, "error: full"),
    "llama.cpp's earlier error field": (
        b"error: " + json.dumps(TOLD).encode() + b"\n\n" + DONE,
        BadRequest,
        "context is full",
    ),
    "an error as text": (
        event({"error": "the GPU is gone", "error_type": "generation"}),
        ServiceError,
        "GPU is gone",
    ),
    "TGI's overload": (
        event({"error": "Model is overloaded", "error_type": "overloaded"}),
        ServiceBusy,
        "overloaded",
    ),
    "TGI's refusal": (
        event({"error": "`top_p` must be < 1.0", "error_type": "validation"}),
        BadRequest,
        "top_p",
    ),
    "TGI's error object": (
        event({"error": {"message": "`top_p` must be < 1.0", "http_status_code": 422}}),
        BadRequest,
        "top_p",
    ),
    "LiteLLM's status as a text": (
        event({"error": {"message": "slow down", "type": "None", "param": "None", "code": "429"}}),
        ServiceBusy,
        "slow down",
    ),
    "an error beside choices": (
        event({"error": TOLD, "choices": [{"delta": {"content": "a"}}]}),
        BadRequest,
        "context",
    ),
    "vLLM's earlier error object": (
        {"object": "error", "message": "too long", "type": "BadRequestError", "code": 400},
        BadRequest,
        "too long",
    ),
    "FastChat's error": (event({"text": "gone wrong", "error_code": 50001}), ServiceError, "gone wrong"),
    "an error in a whole answer": ({"error": TOLD}, BadRequest, "context is full"),
    "an error without a text": ({"error": {"code": 500}}, ServiceError, "error"),
    "too many requests": ({"error": {"message": "slow down", "code": 429}}, ServiceBusy, "slow down"),
    "a rate limit in words": (
        {"error": {"message": "slow", "type": "rate_limit_error"}},
        ServiceBusy,
        "slow",
    ),
    "overload": ({"error": {"message": "try later", "code": 503}}, ServiceDown, "try later"),
    "too large": ({"error": {"message": "large", "code": 413}}, RequestTooLarge, "large"),
    "the engine gave up": (delta(content="a") + delta("abort") + DONE, ModelError, "stopped in the middle"),
    "cut before anything but the role": (delta(role="assistant"), NetworkError, "stopped in the middle"),
    "cut in the middle": (delta(content="a"), NetworkError, "stopped in the middle"),
    "cut within an event": (delta(content="a") + b'data: {"choices"', NetworkError, "stopped in the middle"),
    "no choices in a stream": (usage(total_tokens=1) + DONE, ModelError, "has no choice"),
    "no choices": ({"choices": []}, ModelError, "has no choice"),
    "choices missing": ({"id": "x"}, ModelError, "not a chat completion"),
    "choices that are none": (event({"choices": 7}) + DONE, ModelError, "unknown structure"),
    "a choice that is null": ({"choices": [None]}, ModelError, "unknown structure"),
    "a message that is a text": ({"choices": [{"message": "x"}]}, ModelError, "unknown structure"),
    "calls of a whole answer that are a number": (
        {"choices": [{"message": {"tool_calls": 5}}]},
        ModelError,
        "unknown structure",
    ),
    "an error within a choice": (
        delta(content="a")
        + event({"choices": [{"delta": {}, "finish_reason": "error", "error": TOLD}]})
        + DONE,
        ModelError,
        "end.*context is full",
    ),
    "an error within a choice without a finish reason": (
        event({"choices": [{"delta": {"content": ""}, "error": TOLD}]}) + DONE,
        BadRequest,
        "context is full",
    ),
    "an error within the finish reason": (
        delta(content="a")
        + event(
            {"choices": [{"delta": {}, "finish_reason": {"type": "abort", "message": "KV cache is full"}}]}
        )
        + DONE,
        ModelError,
        "end.*KV cache is full",
    ),
    "a list": ([b"[1, 2]"], ModelError, "not a chat completion"),
    "half a JSON object": ([b'{"choices": [{"mess'], ModelError, "JSON"),
    "an event that is no JSON": (event("{nonsense"), ModelError, "not JSON"),
    "an event that is not UTF-8": (b'data: {"a": "\xff"\n\n', ModelError, "not JSON"),
    "an event that is no object": (event("[1]"), ModelError, "not a JSON object"),
    "an event that is nested too deeply": (event("[" * 100_000), ModelError, "not JSON"),
    "rubbish": (b"hello\nworld\n\n", ModelError, "neither JSON nor an event stream"),
}


@pytest.mark.parametrize(("body", "kind", "complaint"), ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize("way", [chat, stream])
def test_what_is_no_answer_is_a_clear_error(
    body: Any, kind: type[Exception], complaint: str, way: Any
) -> None:
    with pytest.raises(kind, match=complaint) as caught:
        way(body)
    assert type(caught.value) is kind


@pytest.mark.parametrize("text", [SECRET, f"Traceback\n  File x\nValueError: cannot say: {SECRET}"])
@pytest.mark.parametrize("said_before", [b"", delta(content=SECRET[:14]) + delta(content=SECRET[14:])])
def test_an_error_quotes_neither_the_query_nor_the_answer(text: str, said_before: bytes) -> None:
    with pytest.raises(SpcsError, match="error") as caught:
        stream(said_before + event({"error": {"message": text}}))
    assert "Bartholomew" not in str(caught.value)
    assert "File" not in str(caught.value)


def test_an_error_does_not_quote_an_answer_that_the_query_does_not_have() -> None:
    with pytest.raises(ModelError, match="cannot go on") as caught:
        stream(
            delta(content="the code is 4711-4712")
            + event({"error": "cannot go on after: the code is 4711-4712"})
        )
    assert "4711" not in str(caught.value)


# -- the stream's own life -----------------------------------------------------------------------------


def test_abandoning_a_stream_closes_the_connection() -> None:
    endpoint = ScriptedEndpoint([delta(content="a"), delta(content="b"), delta("stop")])
    pieces = OpenAIProtocol(endpoint).stream(HELLO, QueryContext(10))
    assert next(pieces) == ChatDelta("a")
    assert endpoint.streams[0].state == "open"
    pieces.close()
    assert endpoint.streams[0].state == "closed early"


def test_an_error_in_mid_stream_closes_the_connection() -> None:
    endpoint = ScriptedEndpoint([delta(content="a"), NetworkError("cut")])
    with pytest.raises(NetworkError, match="cut"):
        list(OpenAIProtocol(endpoint).stream(HELLO, QueryContext(10)))
    assert endpoint.streams[0].state == "closed early"


def test_the_connection_is_done_with_before_the_end_is_told() -> None:
    endpoint = ScriptedEndpoint(said("a"))
    pieces = OpenAIProtocol(endpoint).stream(HELLO, QueryContext(10))
    assert next(pieces) == ChatDelta("a")
    assert isinstance(next(pieces), ChatEnd)
    assert endpoint.streams[0].state == "done"


def test_the_first_delta_does_not_wait_for_the_second() -> None:
    endpoint = ScriptedEndpoint([delta(content="a"), NetworkError("not to be read yet")])
    assert next(OpenAIProtocol(endpoint).stream(HELLO, QueryContext(10))) == ChatDelta("a")


def test_no_text_is_in_a_repr() -> None:
    body = (
        delta(content=SECRET, reasoning=SECRET) + call_piece(0, "c", "add", json.dumps({"a": SECRET})) + END
    )
    assert SECRET not in repr((stream(body), chat(body)))
