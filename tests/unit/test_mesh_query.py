"""LLM Mesh's queries and settings become requests."""

from __future__ import annotations

from typing import Any

import pytest

from spcs_llm.domain import ImagePart, JsonFormat, Message, TextPart, ToolCall, ToolChoice, ToolResult
from spcs_llm.errors import QueryError
from spcs_llm.mesh.query import chat_request, embedding_texts, reranking_query


def messages(*raw: Any) -> tuple[Message, ...]:
    return chat_request({"messages": list(raw)}, None).messages


def sampling(**settings: Any) -> Any:
    return chat_request({"messages": [{"role": "user", "content": "x"}]}, settings).sampling


def test_contents_and_parts_are_both_read() -> None:
    assert messages(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": None, "parts": [{"type": "TEXT", "text": "look"}]},
        {
            "role": "user",
            "content": "and",
            "parts": [{"type": "TEXT", "text": " here"}],
            "partOfExample": True,
        },
    ) == (
        Message("system", (TextPart("Be brief."),)),
        Message("user", (TextPart("look"),)),
        Message("user", (TextPart("and"), TextPart(" here"))),
    )


def test_images_come_inline_or_by_uri() -> None:
    (message,) = messages(
        {
            "role": "user",
            "content": "",
            "parts": [
                {"type": "TEXT", "text": ""},
                {"type": "IMAGE_INLINE", "inlineImage": "aGk=", "imageMimeType": None},
                {"type": "IMAGE_URI", "imageUrl": "https://example.org/a.png"},
            ],
        }
    )
    assert message.parts == (ImagePart(data="aGk="), ImagePart(uri="https://example.org/a.png"))


def test_tool_history_is_read_bundled_or_not() -> None:
    call = {"type": "function", "id": "c1", "function": {"name": "add", "arguments": ""}}
    outputs = [
        {"callId": "c1", "output": "42"},
        {"callId": "c2", "output": "", "parts": [{"type": "TEXT", "text": "rich"}]},
        {"callId": "c3", "output": {"sum": 3}},
    ]
    asked, told = messages(
        {"role": "assistant", "content": "Let me see", "toolCalls": [call]},
        {"role": "tool", "toolOutputs": outputs},
    )
    assert asked.tool_calls == (ToolCall("c1", "add", "{}"),)
    assert asked.text == "Let me see"
    assert told.tool_results == (
        ToolResult("c1", "42"),
        ToolResult("c2", "rich"),
        ToolResult("c3", '{"sum": 3}'),
    )


def test_what_dss_keeps_for_itself_is_no_message() -> None:
    kept = {"role": "memoryFragment", "memoryFragment": {"signature": "s"}}
    assert messages(kept, {"role": "user", "content": "x"}) == (Message("user", (TextPart("x"),)),)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (None, "has no messages"),
        ({}, "has no messages"),
        ({"messages": []}, "has no messages"),
        ({"messages": ["hello"]}, "is no object"),
        ({"messages": [{"role": "judge", "content": "x"}]}, "unknown role"),
        ({"messages": [{"role": "user", "parts": [{"type": "VIDEO"}]}]}, "unknown type"),
        ({"messages": [{"role": "user", "parts": [{"type": "IMAGE_INLINE"}]}]}, "without an image"),
        ({"messages": [{"role": "user", "parts": "text"}]}, "must be a list"),
        ({"messages": [{"role": "tool", "toolOutputs": []}]}, "no tool outputs"),
        ({"messages": [{"role": "tool", "toolOutputs": [{"output": "x"}]}]}, "does not name its call"),
        ({"messages": [{"role": "assistant", "toolCalls": [{"id": "c"}]}]}, "names no function"),
    ],
)
def test_a_query_that_is_none_is_refused_in_a_sentence(query: Any, words: str) -> None:
    with pytest.raises(QueryError, match=words):
        chat_request(query, {})


def test_settings_are_read_in_camel_case() -> None:
    made = sampling(
        maxOutputTokens=20.0, temperature=0, topP="0.9", topK=40, stopSequences=["END", ""], frequencyPenalty=0.1,
        presencePenalty=0.2, logitBias={"5": 1}, logProbs=True, topLogProbs=2, seed=7, unknown="ignored",
    )  # fmt: skip
    assert (made.max_output_tokens, made.temperature, made.top_p, made.top_k) == (20, 0.0, 0.9, 40)
    assert (made.stop_sequences, made.frequency_penalty, made.presence_penalty) == (("END",), 0.1, 0.2)
    assert (made.logit_bias, made.log_probs, made.top_log_probs, made.seed) == ({"5": 1.0}, True, 2, 7)


@pytest.mark.parametrize(
    "nothing", [{}, None, {"maxOutputTokens": None, "topK": 0, "stopSequences": None, "topP": ""}]
)
def test_absent_settings_are_left_to_the_service(nothing: Any) -> None:
    made = chat_request({"messages": [{"role": "user", "content": "x"}]}, nothing)
    assert made.sampling == type(made.sampling)()


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": "hot"},
        {"temperature": True},
        {"temperature": 10**400},
        {"maxOutputTokens": 1.5},
        {"logProbs": "yes"},
        {"stopSequences": 3},
        {"logitBias": [1]},
        {"toolChoice": {"type": "FUNCTION"}},
        {"responseFormat": {"type": "xml"}},
        {"tools": {}},
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_its_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(QueryError, match=next(iter(wrong))):
        sampling(**wrong)


def test_tool_choices_and_json_formats_are_read() -> None:
    query = {"messages": [{"role": "user", "content": "x"}]}
    made = chat_request(query, {"toolChoice": {"type": "tool_name", "name": "add"}})
    assert made.tool_choice == ToolChoice("tool", "add")
    assert chat_request(query, {"toolChoice": {"type": "any"}}).tool_choice == ToolChoice("required")
    made = chat_request(query, {"responseFormat": {"type": "json", "schema": None, "strict": True}})
    assert made.json_format == JsonFormat(None, True, None, None)
    assert chat_request(query, {"responseFormat": None}).json_format is None


def test_embedding_queries_come_in_two_shapes() -> None:
    assert embedding_texts({"text": "a"}) == (["a"], False)
    assert embedding_texts({"queries": [{"text": "a"}, {"text": "b"}]}) == (["a", "b"], True)
    assert embedding_texts({"queries": []}) == ([], True)


@pytest.mark.parametrize("query", [None, {}, {"text": None}, {"queries": ["a"]}, {"inlineImage": "aGk="}])
def test_an_embedding_query_without_text_is_refused(query: Any) -> None:
    with pytest.raises(QueryError):
        embedding_texts(query)


def test_reranking_queries_come_in_two_shapes() -> None:
    new = {
        "queryParts": [{"type": "TEXT", "text": "q"}],
        "documents": [{"parts": [{"type": "TEXT", "text": "d"}]}],
    }
    old = {"query": "q", "documents": [{"content": "d"}]}
    assert reranking_query(new) == reranking_query(old) == ("q", ["d"])


@pytest.mark.parametrize("query", [None, {}, {"query": " ", "documents": []}, {"query": "q"}])
def test_a_reranking_query_that_lacks_something_is_refused(query: Any) -> None:
    with pytest.raises(QueryError):
        reranking_query(query)
