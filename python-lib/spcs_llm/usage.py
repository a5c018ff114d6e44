"""Token counts where a service gives none, and the bytes that a query takes in a request: estimates."""

from __future__ import annotations

from collections.abc import Sequence

from spcs_llm.domain import ChatRequest, Usage
from spcs_llm.token_estimate import estimate_tokens

_TOKENS_AROUND_A_MESSAGE = 4


def chat_usage(usage: Usage, request: ChatRequest, text: str) -> Usage:
    """The service's own counts of a chat, completed by estimates where it gives none.

    Args:
        usage: What the service counted.
        request: The chat.
        text: Its answer.
    """
    if usage.prompt_tokens is not None and usage.completion_tokens is not None:
        return usage
    prompt = sum(estimate_tokens(message.text) + _TOKENS_AROUND_A_MESSAGE for message in request.messages)
    prompt = usage.prompt_tokens if usage.prompt_tokens is not None else prompt
    completion = usage.completion_tokens if usage.completion_tokens is not None else estimate_tokens(text)
    return Usage(
        prompt,
        completion,
        prompt + completion,
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        estimated=True,
    )


def text_usage(tokens: int | None, text: str) -> Usage:
    """The usage of an embedding: `tokens` as the service counted them, or an estimate for `text`."""
    if tokens is not None:
        return Usage(prompt_tokens=tokens, total_tokens=tokens)
    estimate = estimate_tokens(text)
    return Usage(prompt_tokens=estimate, total_tokens=estimate, estimated=True)


def ranking_usage(usages: Sequence[Usage], question: str, documents: Sequence[str]) -> Usage:
    """The usage of a ranking that took several requests: the sum of their `usages`, or an estimate."""
    counts = [
        usage.prompt_tokens if usage.prompt_tokens is not None else usage.total_tokens for usage in usages
    ]
    if counts and None not in counts:
        total = sum(count for count in counts if count is not None)
        return Usage(prompt_tokens=total, total_tokens=total)
    estimate = len(documents) * estimate_tokens(question) + sum(map(estimate_tokens, documents))
    return Usage(prompt_tokens=estimate, total_tokens=estimate, estimated=True)


def text_bytes(text: str) -> int:
    """Bytes that a text takes in a request's JSON, about."""
    return len(text.encode("utf-8", "replace")) + text.count("\n") + text.count('"') + 16


def chat_bytes(request: ChatRequest) -> int:
    """The same for a chat's messages."""
    return sum(text_bytes(message.text) + 64 for message in request.messages)
