"""Token counts where a service gives none, and the bytes that a query takes in a request: estimates."""

from __future__ import annotations

import json
from collections.abc import Sequence

from spcs_llm.domain import ChatAnswer, ChatDelta, ChatRequest, Tool, Usage
from spcs_llm.token_estimate import estimate_tokens

_ESCAPED = '\n\r\t"\\'
_TOKENS_AROUND_A_MESSAGE = 4
_CERTAINLY_FEWER_TOKENS = 20  # than characters


def chat_usage(usage: Usage, request: ChatRequest, said: str) -> Usage:
    """The service's own counts of a chat, completed by estimates where it gives none.

    A count of zero beside a text is none: gateways write zeros where they do not count.

    Args:
        usage: What the service counted.
        request: The chat.
        said: All that the model wrote: text, reasoning, and tool calls by name and arguments.

    Returns:
        The counts, in tokens.
    """
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if prompt and (completion or (completion == 0 and not said)):
        return usage
    prompt = prompt or _prompt_tokens(request)
    completion = completion or estimate_tokens(said)
    return Usage(
        prompt,
        completion,
        prompt + completion,
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        estimated=True,
    )


def said_in(answer: ChatAnswer | ChatDelta) -> str:
    """All that the model wrote in an answer or a piece of one."""
    calls = "".join(f"{call.name or ''}{call.arguments}" for call in answer.tool_calls)
    return f"{answer.reasoning or ''}{answer.text}{calls}"


def _prompt_tokens(request: ChatRequest) -> int:
    texts = [message.text for message in request.messages]
    texts += [f"{call.name}{call.arguments}" for message in request.messages for call in message.tool_calls]
    texts += [result.output for message in request.messages for result in message.tool_results]
    texts += [_definition(tool) for tool in request.tools]
    return sum(map(estimate_tokens, texts)) + _TOKENS_AROUND_A_MESSAGE * len(request.messages)


def _definition(tool: Tool) -> str:
    return json.dumps([tool.name, tool.description, tool.parameters], default=str)


def text_usage(tokens: int | None, text: str) -> Usage:
    """The usage of an embedding.

    Args:
        tokens: What the service counted; None if it did not.
        text: The text that was embedded.

    Returns:
        That count, or an estimate for the text.
    """
    if (tokens and not _are_characters(tokens, len(text))) or (tokens == 0 and not text):
        return Usage(prompt_tokens=tokens, total_tokens=tokens)
    estimate = estimate_tokens(text)
    return Usage(prompt_tokens=estimate, total_tokens=estimate, estimated=True)


def ranking_usage(usages: Sequence[Usage], question: str, documents: Sequence[str]) -> Usage:
    """The usage of a ranking that took several requests.

    Args:
        usages: What the service counted for each request.
        question: The query's text.
        documents: The documents that were ranked.

    Returns:
        The sum of the counts, or an estimate where a request has none.
    """
    counts = [
        usage.prompt_tokens if usage.prompt_tokens is not None else usage.total_tokens for usage in usages
    ]
    total = sum(count or 0 for count in counts)
    characters = len(documents) * len(question) + sum(map(len, documents))
    if counts and all(counts) and not _are_characters(total, characters):
        return Usage(prompt_tokens=total, total_tokens=total)
    estimate = len(documents) * estimate_tokens(question) + sum(map(estimate_tokens, documents))
    return Usage(prompt_tokens=estimate, total_tokens=estimate, estimated=True)


def _are_characters(tokens: int, characters: int) -> bool:
    """Whether a count of tokens is one of characters, as Infinity gives it unless it is told otherwise."""
    return tokens == characters and characters >= _CERTAINLY_FEWER_TOKENS


def text_bytes(text: str) -> int:
    """Bytes that a text takes in a request's JSON, about."""
    return len(text.encode("utf-8", "replace")) + sum(map(text.count, _ESCAPED)) + 16


def chat_bytes(request: ChatRequest) -> int:
    """Bytes that a chat's messages take in a request's JSON, about."""
    return sum(text_bytes(message.text) + 64 for message in request.messages)
