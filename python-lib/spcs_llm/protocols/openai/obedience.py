"""Whether an answer shows that the server took a setting and did not obey it.

Servers accept fields that they do not know, engines run without the backend that a schema needs, and proxies lose
settings on the way: with success each time. What an answer proves is named, as what was never sent is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from spcs_llm.domain import ChatRequest, ToolCall, Usage
from spcs_llm.lenient_json import is_costly
from spcs_llm.protocols.openai.images import are_read_as_text
from spcs_llm.protocols.openai.opening import DASHES, THOUGHT_ENDS
from spcs_llm.protocols.openai.repeated_json import written_again, written_once
from spcs_llm.protocols.openai.schema_check import is_of_schema

_NOTHING: Final = object()
_CUT: Final = ("length", "content_filter")
_FENCED: Final = re.compile(r"^```[A-Za-z0-9]{0,20}[ \t]*$", re.MULTILINE)
_MORE_TOKENS: Final = 8  # over the limit, as some count the tokens that end an answer


def disobeyed(
    request: ChatRequest,
    payload: Mapping[str, Any],
    *,
    text: str,
    calls: Sequence[ToolCall],
    log_probs: Sequence[Any],
    usage: Usage,
    finish_reason: str | None,
) -> Iterator[str]:
    """Finds the settings of a request that its answer shows to have been ignored.

    Args:
        request: What was asked.
        payload: The JSON that was sent: what is not in it was not ignored by the server.
        text: The answer's text.
        calls: The answer's tool calls.
        log_probs: The answer's tokens with their log probabilities.
        usage: The answer's token counts.
        finish_reason: Why the answer ended, in OpenAI's words; None if that is unknown.

    Yields:
        The names of the settings, in LLM Mesh's words.
    """
    sampling = request.sampling
    tokens = usage.completion_tokens
    limit = sampling.max_output_tokens
    if limit is not None and tokens is not None and tokens > limit + max(_MORE_TOKENS, limit // 10):
        yield "maxOutputTokens"
    # Some servers leave the sequence itself at the end.
    if "stop" in payload and any(text.partition(stop)[2].strip() for stop in sampling.stop_sequences):
        yield "stopSequences"
    if "logprobs" in payload and text and not log_probs:
        yield "logProbs"
    if usage.prompt_tokens is not None and are_read_as_text(payload, usage.prompt_tokens):
        yield "images"
    if finish_reason in _CUT:
        return
    choice = request.tool_choice
    if choice is not None and choice.mode in ("required", "tool"):
        names = {call.name for call in calls}
        if not names or (choice.mode == "tool" and names != {choice.name}):
            yield "toolChoice"
    if "response_format" in payload and not calls and not is_as_formatted(text, request):
        yield "responseFormat"


def is_as_formatted(text: str, request: ChatRequest) -> bool:
    """Whether a text is the JSON that the request asks for; True where it asks for none."""
    wanted = request.json_format
    if wanted is None:
        return True
    value = json_in(text)
    if value is _NOTHING:
        return False
    return (
        is_of_schema(value, wanted.schema) if wanted.schema is not None else isinstance(value, (dict, list))
    )


def is_json(text: str) -> bool:
    """Whether a text is JSON that Python can read."""
    return json_in(text) is not _NOTHING


def json_in(text: str) -> Any:
    """The value of a text that is JSON; `_NOTHING` for any other, and for one that it would be too costly to read."""
    if is_costly(text):
        return _NOTHING
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NOTHING


def json_behind_thoughts(text: str) -> tuple[str, str]:
    """Parts thoughts whose beginning a chat template has written from the JSON that follows their end.

    Args:
        text: The text of an answer that was to be JSON.

    Returns:
        The JSON and the thoughts before it; the text, and nothing, where it is something else.
    """
    end = max((text.rfind(mark) + len(mark) for mark in THOUGHT_ENDS if mark in text), default=0)
    behind = fenced_json(text[end:].strip()) if end and not is_json(text) else ""
    if not is_json(behind):
        return fenced_json(text), ""
    mark = next(mark for mark in THOUGHT_ENDS if text.endswith(mark, 0, end))
    return behind, text[: end - len(mark)].strip()


def fenced_json(text: str) -> str:
    """The JSON that a text holds in its only fence, behind its own beginning or more than once, or else the text."""
    if is_json(text):
        return text
    text = DASHES.sub("", text, count=1)
    fences = list(_FENCED.finditer(text))
    if len(fences) != 2:
        return written_once(written_again(text))
    within = text[fences[0].end() : fences[1].start()].strip()
    return within if is_json(within) else text
