"""What is sent to `/v1/chat/completions` for what LLM Mesh asks."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from spcs_llm.domain import (
    ChatRequest,
    ImagePart,
    JsonFormat,
    Message,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from spcs_llm.errors import QueryError
from spcs_llm.protocols.openai.dialect import Dialect
from spcs_llm.protocols.openai.json_schema import LIMITS
from spcs_llm.protocols.openai.request import chat_payload

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n....").decode()
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}


def text(role: str, content: str, **more: Any) -> Message:
    return Message(role, (TextPart(content),), **more)


AS_OPENAI_HAS_IT = Dialect()


def payload(*messages: Message, dialect: Dialect = AS_OPENAI_HAS_IT, **request: Any) -> dict[str, Any]:
    return chat_payload(ChatRequest(messages or (text("user", "hi"),), **request), dialect, "m1")


def test_a_bare_query_asks_for_a_stream_with_usage_and_nothing_else() -> None:
    assert payload() == {
        "model": "m1",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_server_without_a_list_of_models_is_sent_no_model() -> None:
    assert "model" not in chat_payload(ChatRequest((text("user", "hi"),)), Dialect(), None)


SAMPLING = [
    (Sampling(max_output_tokens=5), {"max_tokens": 5}),
    (Sampling(temperature=0.0), {"temperature": 0.0}),
    (Sampling(top_p=0.9), {"top_p": 0.9}),
    (Sampling(top_k=40), {"top_k": 40}),
    (Sampling(stop_sequences=("a", "b")), {"stop": ["a", "b"]}),
    (Sampling(frequency_penalty=0.5), {"frequency_penalty": 0.5}),
    (Sampling(presence_penalty=-0.5), {"presence_penalty": -0.5}),
    (Sampling(logit_bias={"50256": -100}), {"logit_bias": {"50256": -100}}),
    (Sampling(logit_bias={}), {}),
    (Sampling(log_probs=True, top_log_probs=3), {"logprobs": True, "top_logprobs": 3}),
    (Sampling(top_log_probs=3), {"logprobs": True, "top_logprobs": 3}),
    (Sampling(log_probs=False), {}),
    (Sampling(seed=7), {"seed": 7}),
]


@pytest.mark.parametrize(("sampling", "expected"), SAMPLING)
def test_sampling_settings(sampling: Sampling, expected: dict[str, Any]) -> None:
    bare = payload()
    assert {k: v for k, v in payload(sampling=sampling).items() if k not in bare} == expected


FORMS = [
    (Dialect(whole=True), {"max_tokens": 5, "temperature": 1}),
    (
        Dialect(token_limit="max_completion_tokens", whole=True),
        {"max_completion_tokens": 5, "temperature": 1},
    ),
    (Dialect(left_out=frozenset({"temperature"}), whole=True), {"max_tokens": 5}),
    (Dialect(left_out=frozenset({"max_tokens"}), whole=True), {"temperature": 1}),
    (Dialect(stream_options=False), {"stream": True, "max_tokens": 5, "temperature": 1}),
]


@pytest.mark.parametrize(("dialect", "expected"), FORMS)
def test_what_a_server_was_found_not_to_take_is_not_sent(dialect: Dialect, expected: dict[str, Any]) -> None:
    sent = payload(dialect=dialect, sampling=Sampling(max_output_tokens=5, temperature=1))
    assert {k: v for k, v in sent.items() if k not in ("model", "messages")} == expected


def test_top_log_probs_go_where_log_probs_go() -> None:
    sent = payload(
        dialect=Dialect(left_out=frozenset({"logprobs"})), sampling=Sampling(log_probs=True, top_log_probs=2)
    )
    assert "logprobs" not in sent
    assert "top_logprobs" not in sent


# -- messages ------------------------------------------------------------------------------------------

CALL = ToolCall("c1", "add", '{"a":1}')
SENT_CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}


def test_tool_outputs_that_come_bundled_are_sent_one_by_one() -> None:
    results = (ToolResult("c1", "42"), ToolResult("c2", "43"))
    assert payload(Message("tool", tool_results=results))["messages"] == [
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "tool", "tool_call_id": "c2", "content": "43"},
    ]


def test_a_tool_message_without_outputs_is_the_querys_mistake() -> None:
    with pytest.raises(QueryError, match="tool outputs"):
        payload(Message("tool"))


def test_assistant_messages_in_a_row_become_one() -> None:
    sent = payload(
        text("user", "q"),
        text("assistant", "one"),
        text("assistant", "two"),
        Message("assistant", tool_calls=(CALL,)),
    )
    assert sent["messages"][1:] == [{"role": "assistant", "content": "one\ntwo", "tool_calls": [SENT_CALL]}]


def test_other_messages_in_a_row_stay_apart() -> None:
    assert len(payload(text("user", "a"), text("user", "b"))["messages"]) == 2


@pytest.mark.parametrize(("dialect", "content"), [(Dialect(), None), (Dialect(null_content=False), "")])
def test_a_tool_call_without_text_has_no_content(dialect: Dialect, content: Any) -> None:
    [message] = payload(Message("assistant", tool_calls=(CALL,)), dialect=dialect)["messages"]
    assert message == {"role": "assistant", "content": content, "tool_calls": [SENT_CALL]}


@pytest.mark.parametrize("arguments", ["", "  "])
def test_empty_arguments_of_a_past_call_are_an_empty_object(arguments: str) -> None:
    [message] = payload(Message("assistant", tool_calls=(ToolCall("c1", "now", arguments),)))["messages"]
    assert message["tool_calls"][0]["function"]["arguments"] == "{}"


# -- images --------------------------------------------------------------------------------------------

IMAGES = [
    (b"\x89PNG\r\n\x1a\nrest", "image/png"),
    (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
    (b"GIF89arest", "image/gif"),
    (b"RIFF\x00\x00\x00\x00WEBPrest", "image/webp"),
]


@pytest.mark.parametrize(("data", "mime_type"), IMAGES)
@pytest.mark.parametrize("claimed", [None, "image/png", "text/plain"])
def test_the_type_of_an_inline_image_is_that_of_its_bytes(
    data: bytes, mime_type: str, claimed: str | None
) -> None:
    encoded = base64.b64encode(data).decode()
    image = ImagePart(data=encoded, mime_type=claimed)
    assert payload(Message("user", (TextPart("look"), image)))["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": f"data:{mime_type};base64,{encoded}"}},
            ],
        }
    ]


@pytest.mark.parametrize(
    ("image", "url"),
    [
        (ImagePart(uri="https://example.org/a.png"), "https://example.org/a.png"),
        (ImagePart(uri=f"data:image/jpeg;base64,{PNG}"), f"data:image/png;base64,{PNG}"),
        (ImagePart(data=f"data:image/png;base64,{PNG}"), f"data:image/png;base64,{PNG}"),
        (ImagePart(data=f"{PNG[:8]}\n{PNG[8:]}\n"), f"data:image/png;base64,{PNG}"),
    ],
    ids=["by URI", "data URI", "data URI as data", "base64 with line ends"],
)
def test_other_ways_to_give_an_image(image: ImagePart, url: str) -> None:
    [message] = payload(Message("user", (image,)))["messages"]
    assert message["content"][0]["image_url"]["url"] == url


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (ImagePart(data=base64.b64encode(b"hello").decode()), "PNG"),
        (ImagePart(data=""), "PNG"),
        (ImagePart(data="not base64!"), "base64"),
        (ImagePart(data="é"), "base64"),
        (ImagePart(uri="file:///etc/passwd"), "http"),
        (ImagePart(), "http"),
    ],
)
def test_an_image_that_is_none_is_the_querys_mistake(image: ImagePart, complaint: str) -> None:
    with pytest.raises(QueryError, match=complaint) as caught:
        payload(Message("user", (image,)))
    assert "passwd" not in str(caught.value)


# -- tools ---------------------------------------------------------------------------------------------


def test_tools_are_sent_with_what_they_say() -> None:
    tools = (Tool("add", "adds", SCHEMA, strict=True), Tool("now"))
    assert payload(tools=tools)["tools"] == [
        {
            "type": "function",
            "function": {"name": "add", "description": "adds", "parameters": SCHEMA, "strict": True},
        },
        {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
    ]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice("auto"), "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("tool", "add"), {"type": "function", "function": {"name": "add"}}),
    ],
)
def test_every_tool_choice(choice: ToolChoice, sent: Any) -> None:
    assert payload(tools=(Tool("add"),), tool_choice=choice)["tool_choice"] == sent


@pytest.mark.parametrize(
    ("choice", "strict"),
    [
        (None, (None, False)),
        (ToolChoice("auto"), (None, False)),
        (ToolChoice("none"), (None, False)),
        (ToolChoice("required"), (True, False)),
        (ToolChoice("tool", "add"), (True, False)),
        (ToolChoice("tool", "now"), (None, False)),
    ],
)
def test_a_tool_that_must_be_called_is_held_to_its_schema(
    choice: ToolChoice | None, strict: tuple[bool | None, bool | None]
) -> None:
    tools = payload(tools=(Tool("add"), Tool("now", strict=False)), tool_choice=choice)["tools"]
    assert tuple(tool["function"].get("strict") for tool in tools) == strict


def test_a_tool_choice_without_tools_is_not_sent() -> None:
    assert "tool_choice" not in payload(tool_choice=ToolChoice("auto"))


@pytest.mark.parametrize("name", ["sub", None])
def test_the_choice_of_a_tool_that_is_not_offered_is_the_querys_mistake(name: str | None) -> None:
    with pytest.raises(QueryError, match="tool choice"):
        payload(tools=(Tool("add"),), tool_choice=ToolChoice("tool", name))


# -- formats -------------------------------------------------------------------------------------------

FORMATS = [
    (JsonFormat(), Dialect(), {"type": "json_object"}),
    (
        JsonFormat(SCHEMA),
        Dialect(),
        {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
    ),
    (
        JsonFormat(SCHEMA, strict=True),
        Dialect(),
        {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}},
    ),
    (JsonFormat(SCHEMA), Dialect(schema_form="json_object"), {"type": "json_object", "schema": SCHEMA}),
    (JsonFormat(SCHEMA), Dialect(schema_form="value"), {"type": "json", "value": SCHEMA}),
    (JsonFormat(), Dialect(schema_form="value"), {"type": "json", "value": {"type": "object"}}),
    (
        JsonFormat(SCHEMA),
        Dialect(schema_closed=True),
        {
            "type": "json_schema",
            "json_schema": {
                "name": "answer",
                "schema": {**SCHEMA, "required": ["a"], "additionalProperties": False},
            },
        },
    ),
    (
        JsonFormat(SCHEMA),
        Dialect(schema_without=LIMITS),
        {
            "type": "json_schema",
            "json_schema": {
                "name": "answer",
                "schema": {"type": "object", "properties": {"a": {"type": "integer"}}},
            },
        },
    ),
]


def test_schemas_of_tools_go_without_what_the_server_does_not_know() -> None:
    dialect = Dialect(tools_without=frozenset({"minimum"}))
    tools = payload(tools=(Tool("add", None, SCHEMA), Tool("now")), dialect=dialect)["tools"]
    assert [tool["function"]["parameters"] for tool in tools] == [
        {"type": "object", "properties": {"a": {"type": "integer"}}},
        {"type": "object", "properties": {}},
    ]


@pytest.mark.parametrize(("json_format", "dialect", "sent"), FORMATS)
def test_formats(json_format: JsonFormat, dialect: Dialect, sent: Any) -> None:
    assert payload(json_format=json_format, dialect=dialect)["response_format"] == sent


def test_a_format_that_a_server_lacks_is_not_sent() -> None:
    assert "response_format" not in payload(json_format=JsonFormat(), dialect=Dialect(without_format=True))
