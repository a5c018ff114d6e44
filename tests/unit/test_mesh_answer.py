"""Answers become what LLM Mesh takes: JSON in UTF-8, whole characters, finite numbers, sensible counts."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spcs_llm.domain import (
    ChatAnswer,
    ChatDelta,
    ChatRequest,
    Message,
    TextPart,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from spcs_llm.mesh.answer import ChunkWriter, completion_response
from spcs_llm.usage import chat_usage, ranking_usage, said_in, text_bytes, text_usage

SMILE = "\N{GRINNING FACE}"
HIGH, LOW = "\ud83d", "\ude00"


def sent(response: Any) -> Any:
    """The response as it arrives: what cannot be written raises."""
    return json.loads(json.dumps(response, allow_nan=False, ensure_ascii=False).encode())


def completed(answer: ChatAnswer, usage: Usage = Usage()) -> Any:  # noqa: B008
    return sent(completion_response(answer, usage, 0.0))


def streamed(*deltas: ChatDelta) -> list[Any]:
    writer = ChunkWriter()
    chunks = [chunk for delta in deltas for chunk in writer.chunks(delta)]
    return [sent(item)["chunk"] for item in [*chunks, *writer.end()]]


def test_halves_of_characters_are_joined_or_replaced() -> None:
    call = ToolCall("c" + HIGH, "f", f'{{"a": "{HIGH}"}}')
    response = completed(ChatAnswer(f"a{HIGH}{LOW}b{LOW}", tool_calls=(call,), reasoning=HIGH))
    assert response["text"] == f"a{SMILE}b�"
    assert json.loads(response["toolCalls"][0]["function"]["arguments"]) == {"a": "�"}


@given(st.text(st.characters(categories=["L", "Cs", "N"]) | st.just(SMILE)), st.lists(st.integers(0, 40)))
def test_pieces_make_the_text_that_they_are_pieces_of(text: str, cuts: list[int]) -> None:
    utf_16 = text.encode("utf-16-le", "surrogatepass")
    units = [utf_16[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(utf_16), 2)]
    places = sorted({0, len(units), *(cut for cut in cuts if cut < len(units))})
    pieces = ["".join(units[begin:end]) for begin, end in zip(places, places[1:])]
    expected = completed(ChatAnswer("".join(units)))["text"]
    assert "".join(chunk["text"] for chunk in streamed(*(ChatDelta(piece) for piece in pieces))) == expected


def test_pieces_of_arguments_and_reasoning_are_joined_apart() -> None:
    chunks = streamed(
        ChatDelta(
            reasoning=HIGH, tool_calls=(ToolCallDelta(0, "c", "f", HIGH), ToolCallDelta(1, "d", "f", "x"))
        ),
        ChatDelta(
            reasoning=LOW, tool_calls=(ToolCallDelta(1, arguments="y"), ToolCallDelta(0, arguments=LOW))
        ),
    )
    arguments: dict[int, str] = {}
    for chunk in chunks:
        for call in chunk.get("toolCalls", ()):
            arguments[call["index"]] = arguments.get(call["index"], "") + call["function"]["arguments"]
    thoughts = [
        part["text"] for chunk in chunks for made in chunk.get("artifacts", ()) for part in made["parts"]
    ]
    assert arguments == {0: SMILE, 1: "xy"}
    assert "".join(thoughts) == SMILE


def test_each_chunk_has_a_text() -> None:
    call = ToolCallDelta(0, "c", "f", "{}")
    chunks = streamed(
        ChatDelta(reasoning="hm\n"), ChatDelta("a"), ChatDelta(tool_calls=(call,)), ChatDelta(reasoning="so")
    )
    assert [chunk["text"] for chunk in chunks] == ["", "a", "", ""]


def test_a_line_of_reasoning_that_does_not_end_is_handed_on_in_parts() -> None:
    chunks = streamed(*(ChatDelta(reasoning="thought ") for _ in range(5_000)))
    parts = [part["text"] for chunk in chunks for made in chunk["artifacts"] for part in made["parts"]]
    assert "".join(parts) == "thought " * 5_000
    assert 5 < len(parts) < 50


def test_log_probabilities_are_finite() -> None:
    entry = {"token": "a" + LOW, "logprob": -math.inf, "top_logprobs": [{"token": "b", "logprob": math.nan}]}
    expected = [{"token": "a�", "logprob": -9999.0, "top_logprobs": [{"token": "b", "logprob": None}]}]
    assert completed(ChatAnswer("a", log_probs=(entry,)))["logProbs"] == expected
    (chunk,) = streamed(ChatDelta("a", log_probs=(entry,)))
    assert chunk["logProbs"] == expected


@pytest.mark.parametrize("count", [-1, 2**31, 10**5000], ids=["negative", "too large", "huge"])
def test_counts_that_are_none_are_left_out(count: int) -> None:
    response = completed(ChatAnswer("a"), Usage(count, 2, count))
    assert "promptTokens" not in response
    assert response["completionTokens"] == 2


@pytest.mark.parametrize(
    ("reason", "told"), [("stop", "STOP"), ("x" * 99, None), ("admin\nlogged in", None), (None, None)]
)
def test_finish_reasons_are_of_a_list(reason: str | None, told: str | None) -> None:
    assert completed(ChatAnswer("a", finish_reason=reason)).get("finishReason") == told


@pytest.mark.parametrize(
    ("texts", "chunks"),
    [
        (["Hi\n"], ["Hi", "\n"]),
        (["Hi\n", "\n", "you"], ["Hi", "\n\nyou"]),
        (["Hi\n\nHu", "man nature"], ["Hi", "\n\nHuman nature"]),
        (["E", "N"], ["EN"]),
        (["no end"], ["no end"]),
    ],
)
def test_what_may_begin_a_stop_sequence_waits_and_is_never_lost(texts: list[str], chunks: list[str]) -> None:
    writer = ChunkWriter(("\n\nHuman:", "END"))
    items = [item for text in texts for item in writer.chunks(ChatDelta(text=text))]
    assert [item["chunk"]["text"] for item in [*items, *writer.end()]] == chunks


# -- counts that a service does not give ------------------------------------------------------------------

QUESTION = ChatRequest((Message("user", (TextPart("Hello there"),)),))


def test_counts_of_zero_beside_a_text_are_estimated() -> None:
    usage = chat_usage(Usage(0, 0, 0), QUESTION, "Hi there")
    assert usage.estimated
    assert usage.prompt_tokens
    assert usage.completion_tokens
    assert chat_usage(Usage(5, 0, 5), QUESTION, "Hi").prompt_tokens == 5
    assert chat_usage(Usage(5, 0, 5), QUESTION, "") == Usage(5, 0, 5)
    assert text_usage(0, "a text").estimated


@pytest.mark.parametrize(
    "text", ["a\r\nb", "x\t" * 500, "\\alpha{\\beta}" * 100, 'C:\\"a"', "ä\N{GRINNING FACE}"]
)
def test_the_bytes_of_a_text_in_a_request_are_no_fewer_than_it_takes(text: str) -> None:
    assert text_bytes(text) >= len(json.dumps(text, ensure_ascii=False).encode())


def test_a_count_of_characters_is_none_of_tokens() -> None:
    text = "The quick brown fox jumps over the lazy dog."
    assert text_usage(len(text), text).estimated
    assert not text_usage(len(text) // 4, text).estimated
    assert text_usage(3, "abc") == Usage(3, None, 3)  # may be three tokens
    characters = Usage(2 * len(text) + 6)
    assert ranking_usage([characters], "abc", [text, text]).estimated
    assert not ranking_usage([Usage(20)], "abc", [text, text]).estimated


def test_estimates_count_reasoning_calls_results_and_tools() -> None:
    long = "The quick brown fox jumps over the lazy dog. " * 20
    plain = chat_usage(Usage(), QUESTION, "a").prompt_tokens or 0
    for more in (
        Message("assistant", tool_calls=(ToolCall("c", "f", json.dumps({"a": long})),)),
        Message("tool", tool_results=(ToolResult("c", long),)),
    ):
        request = ChatRequest((*QUESTION.messages, more))
        assert (chat_usage(Usage(), request, "a").prompt_tokens or 0) > plain + 100
    offered = ChatRequest(QUESTION.messages, tools=(Tool("f", long),))
    assert (chat_usage(Usage(), offered, "a").prompt_tokens or 0) > plain + 100
    for answer in (ChatAnswer("a", reasoning=long), ChatAnswer("a", tool_calls=(ToolCall("c", "f", long),))):
        assert (chat_usage(Usage(), QUESTION, said_in(answer)).completion_tokens or 0) > 100
