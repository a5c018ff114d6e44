"""Why answers end, in OpenAI's words: servers and gateways have their own for the same."""

from __future__ import annotations

import re
from typing import Any, Final

ERROR: Final = "error"  # of an engine that gave up; never handed on

_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "stop": (
        "stop",
        "eos",
        "eos_token",
        "stop_sequence",
        "stop_token",
        "stop_str",
        "end_turn",
        "end",
        "ended",
        "done",
        "complete",
        "completed",
        "finished",
        "success",
    ),
    "length": (
        "length",
        "max_tokens",
        "max_token",
        "max_length",
        "max_output_tokens",
        "max_new_tokens",
        "max_completion_tokens",
        "model_length",
        "model_context_window_exceeded",
        "context_length",
        "token_limit",
        "limit",
        "truncated",
        "incomplete",
        "repetition",  # vLLM's, of a model that goes round in a loop
    ),
    "tool_calls": (
        "tool_calls",
        "tool_call",
        "tool_use",
        "tool",
        "function_call",
        "function_calls",
        "functions",
    ),
    "content_filter": (
        "content_filter",
        "content_filtered",
        "content_filtering",
        "safety",
        "recitation",
        "blocklist",
        "prohibited_content",
        "guardrail",
        "guardrail_intervened",
        "refusal",
        "moderation",
        "sensitive",
        "spii",
    ),
    ERROR: (
        "error",
        "abort",
        "aborted",
        "failed",
        "failure",
        "cancelled",
        "canceled",
        "internal_error",
        "network_error",
        "server_error",
        "timeout_error",
        "timeout",
        "timed_out",
        "capacity",
        "interrupted",
        "preempted",
        "insufficient_system_resource",
        "malformed_function_call",
        "malformed_response",
        "missing_thought_signature",
        "too_many_tool_calls",
        "unexpected_tool_call",
    ),
}
_MEANING: Final = {word: reason for reason, words in _WORDS.items() for word in words}
_LONGEST: Final = 64
_SHOWN: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{_LONGEST}}}")


def finish_reason_of(value: Any) -> str | None:
    """OpenAI's word for a finish reason, ERROR for one of failure, or None for a word that nobody knows."""
    if isinstance(value, dict):  # SGLang's own, and Dynamo's
        value = ERROR if value.get("error") else value.get("type")
    if not isinstance(value, str) or len(value) > _LONGEST:
        return None
    word = value.strip().lower().replace("-", "_").replace(" ", "_").rpartition(".")[2]
    return _MEANING.get(word.removeprefix("image_"))  # Gemini has some words twice


def word_in(value: Any) -> str:
    """A finish reason that may be shown: letters, digits, underscores and dashes; "" for any other."""
    return value if isinstance(value, str) and _SHOWN.fullmatch(value) else ""


def tells_the_end(value: Any) -> bool:
    """Whether a choice's finish reason says that the answer is at its end, by whatever word."""
    return bool(value) and value not in ("null", "None", "none")
