"""What a server refuses is judged by what the request holds, and what is learnt of it is as wide as its cause."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from spcs_llm.domain import (
    ChatRequest,
    JsonFormat,
    Message,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from spcs_llm.errors import BadRequest, NetworkError, ServiceError, SpcsError
from spcs_llm.protocols.openai.lessons import LESSON_SECONDS, Lessons
from spcs_llm.protocols.openai.protocol import OpenAIProtocol
from spcs_llm.query_context import QueryContext
from tests.unit.scripted_endpoint import ScriptedEndpoint, completion, delta, event, refusal, said

USER, SYSTEM = Message("user", (TextPart("a question"),)), Message("system", (TextPart("be brief"),))
CALLED = Message("assistant", tool_calls=(ToolCall("call_0fypS1hVX4711", "add", "{}"),))
RESULT = Message("tool", tool_results=(ToolResult("call_0fypS1hVX4711", "3"),))
TOOLS = (Tool("add"),)
PLAIN = ChatRequest((USER,))
WITH_TOOLS = ChatRequest((USER,), tools=TOOLS)
WITH_BOTH = ChatRequest((USER,), tools=TOOLS, sampling=Sampling(log_probs=True))
HISTORY = ChatRequest((USER, CALLED, RESULT), tools=TOOLS)
Payload = dict[str, Any]


class Choosy(ScriptedEndpoint):
    """A server that refuses what `refuses` is true of, with one error, and answers everything else."""

    def __init__(self, refuses: Callable[[Payload], bool], error: SpcsError, answer: str = "Hi") -> None:
        super().__init__(None)
        self._refuses, self._error, self._text = refuses, error, answer

    def _answer(self, http_request: Any) -> Any:
        if http_request.path == "/v1/models":
            return super()._answer(http_request)
        self.asked.append(http_request)
        if self._refuses(http_request.payload):
            raise self._error.again()
        log_probs = {"content": [{"token": "Hi", "logprob": -0.1}]}
        if http_request.payload.get("stream"):
            return delta(content=self._text, logprobs=log_probs) + delta("stop")
        body = completion(content=self._text)
        body["choices"][0]["logprobs"] = log_probs
        return body


def failure(text: str) -> ServiceError:
    return ServiceError(f"The service fails (HTTP 500): {text}", status=500)


def ask(protocol: OpenAIProtocol, request: ChatRequest, way: str) -> str:
    if way == "whole":
        return protocol.chat(request, QueryContext(10)).text
    *deltas, _ = protocol.stream(request, QueryContext(10))
    return "".join(piece.text for piece in deltas)


def streams(payload: Payload) -> bool:
    return "stream" in payload


def roles(payload: Payload) -> list[str]:
    return [message["role"] for message in payload["messages"]]


def alternates(payload: Payload) -> bool:
    return all(role == ("user", "assistant")[at % 2] for at, role in enumerate(roles(payload)))


def short(payload: Payload) -> bool:
    return all(
        len(message["tool_call_id"]) == 9 for message in payload["messages"] if message["role"] == "tool"
    )


def null(payload: Payload) -> bool:
    return any(message["content"] is None for message in payload["messages"])


NO_ROLES = (SYSTEM, USER, USER)
REFUSALS: dict[str, tuple[Callable[[Payload], bool], SpcsError, ChatRequest]] = {
    "tools with a stream, llama.cpp's failure": (
        lambda p: streams(p) and "tools" in p,
        failure("Cannot use tools with stream"),
        WITH_TOOLS,
    ),
    "tools with a stream, not implemented": (
        lambda p: streams(p) and "tools" in p,
        ServiceError("Streaming tool calls is not implemented", status=501),
        WITH_TOOLS,
    ),
    "tools with a stream, other words": (
        lambda p: streams(p) and "tools" in p,
        refusal("tool calls are only available when stream is false"),
        WITH_TOOLS,
    ),
    "tools with a stream, no words": (
        lambda p: streams(p) and "tools" in p,
        failure("Internal Server Error"),
        WITH_TOOLS,
    ),
    "a format with a stream": (
        lambda p: streams(p) and "response_format" in p,
        refusal("response_format is not supported with streaming"),
        ChatRequest((USER,), json_format=JsonFormat(if_supported=True)),
    ),
    "null content, in words of Rust": (
        null,
        refusal("messages[1].content: invalid type: null, expected a string"),
        HISTORY,
    ),
    "null content, in words of Python": (
        null,
        failure("'NoneType' object has no attribute 'strip'"),
        HISTORY,
    ),
    "null content, in words of a template": (
        null,
        failure("Error rendering prompt with jinja template"),
        HISTORY,
    ),
    "null content, in no words": (null, failure("Internal Server Error"), HISTORY),
    "null content, refused in no words": (null, refusal("Bad Request"), HISTORY),
    "a system message": (
        lambda p: "system" in roles(p),
        refusal("System role not supported"),
        ChatRequest((SYSTEM, USER)),
    ),
    "a system message, as a failure": (
        lambda p: "system" in roles(p),
        failure("jinja2.exceptions.TemplateError: System role not supported"),
        ChatRequest((SYSTEM, USER)),
    ),
    "a system message, by its kind": (
        lambda p: "system" in roles(p),
        refusal("Only user and assistant roles are supported!"),
        ChatRequest((SYSTEM, USER)),
    ),
    "a system message, in no words": (
        lambda p: "system" in roles(p),
        refusal("Bad Request"),
        ChatRequest((SYSTEM, USER)),
    ),
    "turns that do not alternate": (
        lambda p: not alternates(p),
        refusal("Conversation roles must alternate user/assistant/user/assistant/..."),
        ChatRequest(NO_ROLES),
    ),
    "turns that do not alternate, after the user": (
        lambda p: not alternates(p),
        failure("After the optional system message, conversation roles must alternate"),
        ChatRequest((USER, USER)),
    ),
    "ids that are too long": (
        lambda p: not short(p),
        refusal("Tool call id was call_0fypS1hVX4711 but must be a-z, A-Z, 0-9, with a length of 9."),
        HISTORY,
    ),
    "a strict tool": (
        lambda p: "strict" in str(p["tools"]),
        refusal("tools.0.function.strict: Extra inputs are not permitted"),
        ChatRequest((USER,), tools=TOOLS, tool_choice=ToolChoice("tool", "add"), json_format=None),
    ),
    "a strict tool where any must be called": (
        lambda p: "strict" in str(p["tools"]),
        refusal("tools.0.function.strict: Extra inputs are not permitted"),
        ChatRequest((USER,), tools=TOOLS, tool_choice=ToolChoice("required")),
    ),
    "a strict tool whose schema is not closed": (
        lambda p: "strict" in str(p["tools"]),
        refusal("Invalid schema for function 'add': 'additionalProperties' is required to be false"),
        ChatRequest((USER,), tools=TOOLS, tool_choice=ToolChoice("tool", "add")),
    ),
    "a choice of tools": (
        lambda p: "tool_choice" in p,
        refusal("tool_choice: Extra inputs are not permitted"),
        ChatRequest((USER,), tools=TOOLS, tool_choice=ToolChoice("auto")),
    ),
    "no choice of tools": (
        lambda p: "tool_choice" in p or "tools" in p,
        refusal("unknown field 'tool_choice'"),
        ChatRequest((USER,), tools=TOOLS, tool_choice=ToolChoice("none")),
    ),
}


@pytest.mark.parametrize(("refuses", "error", "request_"), REFUSALS.values(), ids=REFUSALS.keys())
@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_a_refusal_is_answered_by_another_form_that_is_remembered(
    refuses: Callable[[Payload], bool], error: SpcsError, request_: ChatRequest, way: str
) -> None:
    endpoint = Choosy(refuses, error)
    protocol = OpenAIProtocol(endpoint)
    assert ask(protocol, request_, way) == "Hi"
    first = len(endpoint.payloads)
    assert first <= 3
    assert ask(protocol, request_, way) == "Hi"
    assert len(endpoint.payloads) == first + 1, "it was remembered"


def test_what_one_combination_cannot_do_others_still_do() -> None:
    endpoint = Choosy(
        lambda p: streams(p) and "tools" in p and "logprobs" in p,
        refusal("logprobs is not supported with tools + stream"),
    )
    protocol = OpenAIProtocol(endpoint)
    for request in (
        WITH_BOTH,
        PLAIN,
        WITH_TOOLS,
        ChatRequest((USER,), sampling=Sampling(log_probs=True)),
        WITH_BOTH,
    ):
        assert ask(protocol, request, "whole") == "Hi"
    assert [streams(p) for p in endpoint.payloads] == [True, False, True, True, True, False]


def test_a_lesson_ends() -> None:
    now = [0.0]
    endpoint = Choosy(streams, refusal("Streaming is not supported"))
    protocol = OpenAIProtocol(endpoint, lessons=Lessons(clock=lambda: now[0]))
    for _ in range(2):
        ask(protocol, PLAIN, "whole")
    now[0] = LESSON_SECONDS + 1
    ask(protocol, PLAIN, "whole")
    assert [streams(p) for p in endpoint.payloads] == [True, False, False, True, False]


def test_lessons_can_be_shared() -> None:
    endpoint, lessons = Choosy(streams, refusal("Streaming is not supported")), Lessons()
    for _ in range(2):
        ask(OpenAIProtocol(endpoint, lessons=lessons), PLAIN, "whole")
    assert [streams(p) for p in endpoint.payloads] == [True, False, False]


EMPTY = b""


def test_one_empty_stream_teaches_nothing_and_two_in_a_row_do() -> None:
    whole = completion(content="Hi")
    endpoint = ScriptedEndpoint(EMPTY, whole, said("a"), EMPTY, whole, EMPTY, whole, whole)
    protocol = OpenAIProtocol(endpoint)
    assert [ask(protocol, PLAIN, "whole") for _ in range(5)] == ["Hi", "a", "Hi", "Hi", "Hi"]
    assert [streams(p) for p in endpoint.payloads] == [True, False, True, True, False, True, False, False]


def test_a_refusal_of_the_words_costs_one_more_request_once_and_none_later() -> None:
    endpoint = Choosy(lambda p: "a question" in str(p), refusal("these words are forbidden"))
    protocol = OpenAIProtocol(endpoint)
    for _ in range(3):
        with pytest.raises(BadRequest, match="forbidden"):
            ask(protocol, PLAIN, "whole")
    assert [streams(p) for p in endpoint.payloads] == [True, False, True, True]


def test_a_failure_of_a_plain_chat_is_no_refusal() -> None:
    endpoint = Choosy(lambda p: True, failure("CUDA error"))
    with pytest.raises(ServiceError, match="CUDA"):
        ask(OpenAIProtocol(endpoint), PLAIN, "whole")
    assert len(endpoint.payloads) == 1


@pytest.mark.parametrize(
    "text", ["upstream stream timed out, please retry", "the stream was interrupted, try again"]
)
def test_a_passing_failure_of_a_stream_teaches_nothing(text: str) -> None:
    endpoint = ScriptedEndpoint(refusal(text), completion(content="Hi"), said("a"))
    protocol = OpenAIProtocol(endpoint)
    assert [ask(protocol, PLAIN, "whole") for _ in range(2)] == ["Hi", "a"]
    assert [streams(p) for p in endpoint.payloads] == [True, False, True]


VALUES: list[tuple[str, bool]] = [
    ("temperature: Extra inputs are not permitted", True),
    ("Unsupported parameter: 'temperature'", True),
    ("unknown field `temperature`", True),
    ("temperature is not supported", True),
    ("temperature 0.1 is not supported", False),
    ("'temperature' does not support 0.1 with this model", False),
    ("`temperature` must be strictly positive", False),
    ("temperature is not supported with tools", False),
    ("temperature: Input should be less than or equal to 0.05", False),
]


@pytest.mark.parametrize(("text", "is_lasting"), VALUES)
def test_a_field_is_left_out_for_good_only_where_the_field_is_refused(text: str, is_lasting: bool) -> None:
    endpoint = Choosy(lambda p: p.get("temperature") == 0.1, refusal(text))
    protocol = OpenAIProtocol(endpoint, drop_refused_settings=True)
    for temperature in (0.1, 0.7):
        ask(protocol, ChatRequest((USER,), sampling=Sampling(temperature=temperature)), "whole")
    assert [p.get("temperature") for p in endpoint.payloads] == [0.1, None, None if is_lasting else 0.7]


# -- what streams lose -----------------------------------------------------------------------------------

CALL = {"id": "c1", "function": {"name": "add", "arguments": '{"a": 1}'}}
DEMANDING = (Tool("add", parameters={"type": "object", "required": ["a"]}),)
LOST: dict[str, tuple[bytes, ChatRequest]] = {
    "an empty stream": (delta(role="assistant") + delta("stop"), WITH_TOOLS),
    "nothing but [DONE]": (b"data: [DONE]\n\n", WITH_TOOLS),
    "a broken event": (b'data: {"choices":[{"ind\n\ndata: [DONE]\n\n', WITH_TOOLS),
    "an error in the first event": (event({"error": {"message": "no stream here", "code": 500}}), WITH_TOOLS),
    "the reason of calls, and a blank": (delta(content="\n") + delta("tool_calls"), WITH_TOOLS),
    "a call without its arguments": (
        delta(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "add", "arguments": ""}}])
        + delta("tool_calls"),
        ChatRequest((USER,), tools=DEMANDING),
    ),
    "arguments without their beginning": (
        delta(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "add", "arguments": '"a": 1}'}}])
        + delta("tool_calls"),
        WITH_TOOLS,
    ),
    "a call without its name": (
        delta(tool_calls=[{"index": 0, "id": "c1", "function": {"arguments": '{"a": 1}'}}])
        + delta("tool_calls"),
        WITH_TOOLS,
    ),
}


@pytest.mark.parametrize(("stream", "request_"), LOST.values(), ids=LOST.keys())
def test_what_a_stream_lost_is_asked_for_whole_once(stream: bytes, request_: ChatRequest) -> None:
    endpoint = ScriptedEndpoint(
        stream, completion("tool_calls", content=None, tool_calls=[CALL]), said("next")
    )
    protocol = OpenAIProtocol(endpoint)
    answer = protocol.chat(request_, QueryContext(10))
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [("add", '{"a": 1}')]
    assert [streams(p) for p in endpoint.payloads] == [True, False]
    protocol.chat(PLAIN, QueryContext(10))
    assert streams(endpoint.payloads[-1])


def test_what_the_whole_answer_lacks_as_well_is_not_asked_for_again() -> None:
    endpoint = ScriptedEndpoint(said("Hi"), completion(content="Hi"), said("Hi"))
    protocol = OpenAIProtocol(endpoint)
    request = ChatRequest((USER,), sampling=Sampling(log_probs=True))
    for _ in range(3):
        assert protocol.chat(request, QueryContext(10)).ignored_settings == ("logProbs",)
    assert [streams(p) for p in endpoint.payloads] == [True, False, True, True]


def test_a_streamed_answer_is_kept_where_the_whole_cannot_be_had() -> None:
    endpoint = ScriptedEndpoint(said("Hi"), NetworkError("silent"))
    request = ChatRequest((USER,), sampling=Sampling(log_probs=True))
    answer = OpenAIProtocol(endpoint).chat(request, QueryContext(10))
    assert (answer.text, answer.ignored_settings) == ("Hi", ("logProbs",))


# -- what was taken and not obeyed -----------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
IGNORED: dict[str, tuple[Any, ChatRequest, tuple[str, ...]]] = {
    "a limit of tokens": (
        {**completion(content="many words"), "usage": {"prompt_tokens": 3, "completion_tokens": 200}},
        ChatRequest((USER,), sampling=Sampling(max_output_tokens=5)),
        ("maxOutputTokens",),
    ),
    "a limit of tokens that was kept": (
        {**completion("length", content="many words"), "usage": {"prompt_tokens": 3, "completion_tokens": 6}},
        ChatRequest((USER,), sampling=Sampling(max_output_tokens=5)),
        (),
    ),
    "a stop sequence": (
        completion(content="one END two"),
        ChatRequest((USER,), sampling=Sampling(stop_sequences=("END",))),
        ("stopSequences",),
    ),
    "a stop sequence that ends the answer": (
        completion(content="one END"),
        ChatRequest((USER,), sampling=Sampling(stop_sequences=("END",))),
        (),
    ),
    "a tool that had to be called": (
        completion(content="Hello!"),
        ChatRequest((USER,), tools=TOOLS, tool_choice=ToolChoice("required")),
        ("toolChoice",),
    ),
    "a schema": (
        completion(content='{"town": 7}'),
        ChatRequest((USER,), json_format=JsonFormat(SCHEMA)),
        ("responseFormat",),
    ),
    "a schema that was kept": (
        completion(content='{"city": "Paris"}'),
        ChatRequest((USER,), json_format=JsonFormat(SCHEMA)),
        (),
    ),
    "JSON, where prose will do": (
        completion(content="In Paris."),
        ChatRequest((USER,), json_format=JsonFormat(if_supported=True)),
        ("responseFormat",),
    ),
    "JSON, cut at the limit": (
        completion("length", content='{"ci'),
        ChatRequest((USER,), json_format=JsonFormat()),
        (),
    ),
}


@pytest.mark.parametrize(("body", "request_", "ignored"), IGNORED.values(), ids=IGNORED.keys())
def test_what_a_server_took_and_did_not_obey_is_named(
    body: Any, request_: ChatRequest, ignored: tuple[str, ...]
) -> None:
    assert OpenAIProtocol(ScriptedEndpoint(body)).chat(request_, QueryContext(10)).ignored_settings == ignored
    *_, end = OpenAIProtocol(ScriptedEndpoint(body)).stream(request_, QueryContext(10))
    assert end.ignored_settings == ignored


def test_prose_in_place_of_json_is_an_error_of_the_model() -> None:
    endpoint = ScriptedEndpoint(completion(content="In Paris."))
    with pytest.raises(SpcsError, match=r"JSON \('responseFormat'\)") as caught:
        OpenAIProtocol(endpoint).chat(ChatRequest((USER,), json_format=JsonFormat(SCHEMA)), QueryContext(10))
    assert caught.value.place == "model"
