"""LLM Mesh's queries and settings become requests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spcs_llm.domain import ImagePart, JsonFormat, Message, TextPart, ToolCall, ToolChoice, ToolResult
from spcs_llm.errors import QueryError
from spcs_llm.mesh.query import chat_request, embedding_settings, embedding_texts, reranking_query


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


CALL = {"function": {"name": "add", "arguments": "{}"}}


def ids(*made: Message) -> tuple[list[str], list[str]]:
    calls = [call.id for message in made for call in message.tool_calls]
    return calls, [result.call_id for message in made for result in message.tool_results]


def test_calls_without_ids_get_ids_that_differ_and_outputs_answer_them_in_order() -> None:
    calls, results = ids(
        *messages(
            {"role": "assistant", "toolCalls": [CALL]},
            {"role": "tool", "toolOutputs": [{"callId": None, "output": "1"}]},
            {"role": "assistant", "toolCalls": [CALL, {**CALL, "id": "call00001"}]},
            {"role": "tool", "toolOutputs": [{"output": "2"}, {"callId": "call00001", "output": "3"}]},
        )
    )
    assert len(set(calls)) == 3
    assert calls == results


def test_messages_of_the_function_role_answer_the_call_of_their_name() -> None:
    (_, told) = messages(
        {"role": "ai", "toolCalls": [CALL, {"id": "c2", "function": {"name": "now"}}]},
        {"role": "function", "name": "now", "content": "noon"},
    )
    assert told.tool_results == (ToolResult("c2", "noon"),)


@pytest.mark.parametrize(
    ("arguments", "handed_on"),
    [
        (None, {}),
        ("null", {}),
        ({"a": 1}, {"a": 1}),
        ('{"a": "x\ny"}', {"a": "x\ny"}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('{"a": 1}{"b": 2}', {"invalid_arguments": [{"a": 1}, {"b": 2}]}),
        ("{" * 100_000, {"invalid_arguments": "{" * 100_000}),
    ],
)
def test_arguments_in_a_history_are_a_json_object(arguments: Any, handed_on: Any) -> None:
    call = {"id": "c", "function": {"name": "add", "arguments": arguments}}
    (message,) = messages({"role": "assistant", "toolCalls": [call]})
    assert json.loads(message.tool_calls[0].arguments) == handed_on


def test_images_of_tool_outputs_come_after_the_last_output() -> None:
    picture = {"callId": "c1", "parts": [{"type": "IMAGE_INLINE", "inlineImage": "aGk="}]}
    made = messages(
        {"role": "assistant", "toolCalls": [{**CALL, "id": "c1"}, {**CALL, "id": "c2"}]},
        {"role": "tool", "toolOutputs": [picture]},
        {"role": "tool", "toolOutputs": [{"callId": "c2", "output": "2"}]},
        {"role": "user", "content": "So?"},
    )
    assert [message.role for message in made] == ["assistant", "tool", "tool", "user", "user"]
    assert made[3].parts[1:] == (ImagePart(data="aGk="),)
    assert made[1].tool_results[0].output


BLOCKS = [
    ({"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}}, TextPart("look")),
    ({"type": "input_text", "text": "look"}, TextPart("look")),
    ("look", TextPart("look")),
    ({"type": "image_url", "image_url": {"url": "https://x/a.png"}}, ImagePart(uri="https://x/a.png")),
    ({"type": "input_image", "image_url": "https://x/a.png"}, ImagePart(uri="https://x/a.png")),
    (
        {"type": "input_image", "image_url": "https://x/a.png", "detail": "low"},
        ImagePart(uri="https://x/a.png", detail="low"),
    ),
    (
        {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "high"}},
        ImagePart(uri="https://x/a.png", detail="high"),
    ),
    ({"type": "image", "url": "https://x/a.png"}, ImagePart(uri="https://x/a.png")),
    ({"type": "image", "base64": "aGk=", "mime_type": "image/png"}, ImagePart("aGk=", "image/png")),
    (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        ImagePart("aGk=", "image/png"),
    ),
]


@pytest.mark.parametrize(("block", "part"), BLOCKS)
def test_content_made_of_blocks_is_read_as_parts(block: Any, part: Any) -> None:
    assert messages({"role": "user", "content": [block]})[0].parts == (part,)
    assert messages({"role": "user", "content": [{"type": "text", "text": "a"}, block]})[0].parts[1] == part


def test_what_a_model_thought_and_calls_that_stand_apart_are_not_its_text() -> None:
    content = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "tool_use", "id": "c"},
        {"type": "text", "text": "a"},
    ]
    (message,) = messages({"role": "assistant", "content": content, "toolCalls": [{**CALL, "id": "c"}]})
    assert message.text == "a"


@pytest.mark.parametrize("kind", ["input_audio", "file", "video_url", "tool_use"])
def test_a_block_of_another_kind_is_refused_by_its_name(kind: str) -> None:
    with pytest.raises(QueryError, match=kind):
        messages({"role": "user", "content": [{"type": kind}]})


@pytest.mark.parametrize("message", [{"role": "user"}, {"role": "human", "content": None, "parts": []}])
def test_a_user_message_without_content_is_refused(message: Any) -> None:
    with pytest.raises(QueryError, match="no content"):
        messages(message)


@pytest.mark.parametrize(
    ("role", "ours"),
    [("human", "user"), ("AI", "assistant"), ("model", "assistant"), ("developer", "system")],
)
def test_roles_of_other_programs_are_understood(role: str, ours: str) -> None:
    assert messages({"role": role, "content": "x"}) == (Message(ours, (TextPart("x"),)),)


def test_log_probabilities_that_are_switched_off_have_no_count() -> None:
    assert sampling(logProbs=False, topLogProbs=3).top_log_probs is None
    assert sampling(topLogProbs=3).top_log_probs == 3


def test_settings_that_nothing_reads_are_named() -> None:
    query = {"messages": [{"role": "user", "content": "x"}]}
    settings = {
        "reasoningEffort": "high",
        "temperature": 0,
        "minP": 0.1,
        "off": None,
        "empty": "",
        "no name": 1,
    }
    assert chat_request(query, settings).unknown_settings == ("reasoningEffort", "minP")


def test_a_schema_nested_too_deep_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(900):
        schema = {"properties": {"a": schema}}
    query = {"messages": [{"role": "user", "content": "x"}]}
    for settings in (
        {"responseFormat": {"type": "json", "schema": schema}},
        {"tools": [{"function": {"name": "f", "parameters": schema}}]},
    ):
        with pytest.raises(QueryError, match="deep"):
            chat_request(query, settings)


def test_what_dss_keeps_for_itself_is_no_message() -> None:
    kept = {"role": "memoryFragment", "memoryFragment": {"signature": "s"}}
    assert messages(kept, {"role": "user", "content": "x"}) == (Message("user", (TextPart("x"),)),)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (None, "has no messages"),
        ({}, "has no messages"),
        ({"messages": []}, "has no messages"),
        ({"messages": [{"role": "memoryFragment"}]}, "has no messages"),
        ({"messages": ["hello"]}, "not an object"),
        ({"messages": [{"role": "judge", "content": "x"}]}, "unknown role"),
        ({"messages": [{"role": "user", "parts": [{"type": "VIDEO"}]}]}, "unknown type"),
        ({"messages": [{"role": "user", "parts": [{"type": "IMAGE_INLINE"}]}]}, "without an image"),
        ({"messages": [{"role": "user", "parts": "text"}]}, "must be a list"),
        ({"messages": [{"role": "tool", "toolOutputs": []}]}, "no tool outputs"),
        ({"messages": [{"role": "tool", "toolOutputs": [{"output": "x"}]}]}, "does not name its call"),
        ({"messages": [{"role": "assistant", "toolCalls": [{"id": "c"}]}]}, "does not name a function"),
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
        {"maxOutputTokens": 1e300},
        {"seed": -(2**63) - 1},
        {"seed": "9" * 5000},
        {"topK": "Infinity"},
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


def test_empty_fields_of_forms_ask_for_nothing() -> None:
    empty = dict.fromkeys(("temperature", "logProbs", "stopSequences", "tools", "toolChoice"), "")
    request = chat_request(
        {"messages": [{"role": "user", "content": "x", "parts": "", "toolCalls": ""}]}, empty
    )
    assert request == chat_request({"messages": [{"role": "user", "content": "x"}]}, {})


def test_a_text_that_is_nested_too_deeply_is_the_querys_mistake() -> None:
    deep: Any = None
    for _ in range(100_000):
        deep = [deep]
    for content in ([{"type": "text", "text": deep}], [{"type": "text", "text": {"a": deep}}]):
        with pytest.raises(QueryError, match="nested too deeply"):
            chat_request({"messages": [{"role": "user", "content": content}]}, {})


@pytest.mark.parametrize("seed", [2**63 - 1, -(2**53) - 1, 0])
def test_a_seed_keeps_all_of_its_digits(seed: int) -> None:
    """Seeds are integers of 64 bits (OpenAI API reference), of which a float has 53."""
    assert sampling(seed=seed).seed == seed
    assert sampling(seed=f" {seed} ").seed == seed


@pytest.mark.parametrize(
    ("given", "meant"), [("true", True), (" TRUE", True), ("False", None), (1, True), (0, None)]
)
def test_a_switch_may_come_as_a_text_or_a_number(given: Any, meant: bool | None) -> None:
    assert sampling(logProbs=given, topLogProbs=2) == sampling(logProbs=meant or False, topLogProbs=2)


def test_tool_choices_and_json_formats_are_read() -> None:
    query = {"messages": [{"role": "user", "content": "x"}]}
    made = chat_request(query, {"toolChoice": {"type": "tool_name", "name": "add"}})
    assert made.tool_choice == ToolChoice("tool", "add")
    assert chat_request(query, {"toolChoice": {"type": "any"}}).tool_choice == ToolChoice("required")
    assert chat_request(query, {"toolChoice": {"type": "AUTO"}}).tool_choice == ToolChoice("auto")
    named = {"type": "function", "function": {"name": "add"}}
    assert chat_request(query, {"toolChoice": named}).tool_choice == ToolChoice("tool", "add")
    made = chat_request(query, {"responseFormat": {"type": "json", "schema": None, "strict": True}})
    assert made.json_format == JsonFormat(None, True, None, None)
    assert chat_request(query, {"responseFormat": None}).json_format is None


def test_a_schema_may_be_written_as_text() -> None:
    """pydantic's `schema_json()` and `get_json_schema_and_parser` of dataiku-api-client 15.2.0 return texts."""
    query = {"messages": [{"role": "user", "content": "x"}]}
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    for written in (schema, json.dumps(schema), f" {json.dumps(schema)}\n"):
        made = chat_request(
            query,
            {
                "responseFormat": {"type": "json", "schema": written},
                "tools": [{"function": {"name": "f", "parameters": written}}],
            },
        )
        assert made.json_format == JsonFormat(schema, None, None, None)
        assert made.tools[0].parameters == schema


@pytest.mark.parametrize("odd", ["no schema", "7", 7, [1], True, "[" * 100_000])
def test_what_is_no_schema_is_refused_and_not_left_out(odd: Any) -> None:
    query = {"messages": [{"role": "user", "content": "x"}]}
    for settings in (
        {"responseFormat": {"type": "json", "schema": odd}},
        {"tools": [{"function": {"name": "f", "parameters": odd}}]},
    ):
        with pytest.raises(QueryError, match="not a JSON schema"):
            chat_request(query, settings)


def test_embedding_queries_come_in_two_shapes() -> None:
    assert embedding_texts({"text": "a"}) == (["a"], False)
    assert embedding_texts({"queries": [{"text": "a"}, {"text": "b"}]}) == (["a", "b"], True)
    assert embedding_texts({"queries": []}) == ([], True)


@pytest.mark.parametrize("query", [None, {}, {"text": None}, {"inlineImage": "aGk="}])
def test_an_embedding_query_without_text_is_refused(query: Any) -> None:
    with pytest.raises(QueryError):
        embedding_texts(query)


def test_of_a_batch_the_rows_without_a_text_fail_separately() -> None:
    rows, are_several = embedding_texts(
        {"queries": [{"text": "a"}, "b", {"text": "a caption", "inlineImage": "aGk="}]}
    )
    assert are_several
    assert rows[0] == "a"
    assert "no text" in str(rows[1])
    assert "image" in str(rows[2])


@pytest.mark.parametrize("image", [{"inlineImage": "aGk="}, {"imageUrl": "https://example.org/a.png"}])
def test_an_image_is_not_embedded_by_its_caption(image: dict[str, str]) -> None:
    with pytest.raises(QueryError, match="image"):
        embedding_texts({**image, "text": "a caption"})


@pytest.mark.parametrize(
    ("settings", "truncate"),
    [
        (None, False),
        ({}, False),
        ({"textOverflowMode": None}, False),
        ({"textOverflowMode": "FAIL"}, False),
        ({"textOverflowMode": "TRUNCATE"}, True),
        ({"textOverflowMode": "truncate"}, True),
    ],
)
def test_the_overflow_mode_of_embeddings_is_read(settings: Any, truncate: bool) -> None:
    assert embedding_settings(settings).truncate is truncate


def test_a_document_that_is_an_image_has_an_error_in_place_of_a_text() -> None:
    image = {"parts": [{"type": "TEXT", "text": "caption"}, {"type": "IMAGE_INLINE", "inlineImage": "aGk="}]}
    _, documents = reranking_query({"query": "q", "documents": [{"content": "d"}, image, "e"]})
    assert documents[::2] == ["d", "e"]
    assert "image" in str(documents[1])


@pytest.mark.parametrize(
    "document",
    [
        None,
        5,
        "",
        " \n",
        {},
        {"content": ""},
        {"parts": None},
        {"parts": []},
        {"parts": [{"type": "TEXT", "text": " "}]},
        {"parts": [{"type": "AUDIO"}]},
        {"parts": "text"},
    ],
)
def test_a_document_that_cannot_be_read_does_not_fail_the_others(document: Any) -> None:
    _, documents = reranking_query({"query": "q", "documents": ["d", document, "e"]})
    assert documents[::2] == ["d", "e"]
    assert isinstance(documents[1], QueryError)


@pytest.mark.parametrize("parts", [None, []])
def test_a_message_without_a_part_is_told_what_to_add(parts: Any) -> None:
    """As LangChain's adapter leaves it, and as the client's own `new_multipart_message().add()`."""
    with pytest.raises(QueryError) as refused:
        chat_request({"messages": [{"role": "user", "parts": parts}]}, {})
    assert refused.value.hint.startswith("Add a text or an image to the message.")


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
