"""What streamed answers are known to lose, and the whole answer may have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from spcs_llm.domain import ChatRequest
from spcs_llm.protocols.openai.answer_end import AnswerEnd
from spcs_llm.protocols.openai.growing_answer import GrowingAnswer
from spcs_llm.protocols.openai.obedience import is_json, json_behind_thoughts

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def lost_part(
    request: ChatRequest, payload: Mapping[str, Any], answer: GrowingAnswer, end: AnswerEnd
) -> str | None:
    """Finds the first thing that an answer lacks.

    Args:
        request: What was asked.
        payload: The request's JSON.
        answer: What came.
        end: The answer's end; of an answer that is still under way, what is known of it by now.

    Returns:
        "calls", "calls in the text", "arguments", "readable arguments", "characters", "JSON" or "logprobs"; None if
        nothing is known to be lost.
    """
    message = answer.message
    if request.tools and (end.lost_calls or end.says_nothing):
        return "calls"
    if message.has_call_in_text and answer.finish_reason != "length":
        return "calls in the text"
    if _lacks_arguments(request, end):
        return "arguments"
    if message.calls.lost_a_part:
        return "readable arguments"
    if _lost_characters(payload, answer):
        return "characters"
    if _lacks_json(payload, answer, end):
        return "JSON"
    if "logprobs" in payload and message.text and not message.log_probs:
        return "logprobs"
    return None


def _lacks_arguments(request: ChatRequest, end: AnswerEnd) -> bool:
    """Whether a call has no arguments at all, although its tool demands some."""
    empty = {call.name for call in end.calls if call.arguments == "{}"}
    return any(
        tool.name in empty and tool.parameters is not None and tool.parameters.get("required")
        for tool in request.tools
    )


def _lost_characters(payload: Mapping[str, Any], answer: GrowingAnswer) -> bool:
    """Whether characters were replaced, as in streams whose server decodes each token by itself."""
    if answer.message.has_halves:
        return False  # a gateway cut it in two, and has it no otherwise
    text = answer.message.text
    if answer.finish_reason == "length":
        text = text.rstrip(_REPLACEMENT)  # the limit has cut a character
    return _REPLACEMENT in text and _REPLACEMENT not in json.dumps(payload, ensure_ascii=False)


def _lacks_json(payload: Mapping[str, Any], answer: GrowingAnswer, end: AnswerEnd) -> bool:
    """Whether an answer that is not cut short is not JSON, though the server was asked for it."""
    text = answer.message.text
    if "response_format" not in payload or answer.finish_reason not in (None, "stop"):
        return False
    return bool(text) and not end.calls and not is_json(json_behind_thoughts(text)[0])
