"""Token counts of answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spcs_llm.domain import LARGEST_COUNT, Usage

_KNOWN = (
    "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens",
    "prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details",
)  # fmt: skip


def usage_of(usage: Any, *, has_answer: bool = False) -> Usage:
    """Reads OpenAI's `usage`.

    Args:
        usage: `{"prompt_tokens", "completion_tokens", "total_tokens", …}`, or `input_tokens` and `output_tokens`.
        has_answer: Whether something was answered, which takes more than no tokens. No prompt takes none.

    Returns:
        The token counts. What is missing or no count is None.
    """
    if not isinstance(usage, dict):
        return Usage()
    prompt = _count(usage, "prompt_tokens", "input_tokens") or None
    completion = _count(usage, "completion_tokens", "output_tokens")
    if completion == 0 and has_answer:
        completion = None
    total = _count(usage, "total_tokens") or None
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    completion_details = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    reasoning = _count(completion_details, "reasoning_tokens")
    if prompt is not None and completion is not None:
        if total is not None and reasoning == total - prompt - completion:
            completion += reasoning  # xAI's API counts them beside the answer; they are answered, too
        total = max(total or 0, prompt + completion)
    return Usage(
        prompt,
        completion,
        total,
        cached_tokens=_count(details, "cached_tokens"),
        reasoning_tokens=reasoning,
    )


def usage_of_answer(body: Mapping[str, Any]) -> Usage:
    """Reads what an answer with embeddings or a ranking counts.

    Args:
        body: The answer's JSON.

    Returns:
        The token counts of `usage`, or those that Cohere's API, and LiteLLM in its form, have under `meta`.
    """
    told = [body.get("usage")]
    meta = body.get("meta")
    if isinstance(meta, Mapping):
        told += [meta.get("tokens"), meta.get("billed_units")]
    usages = (usage_of(each) for each in told)
    return next((usage for usage in usages if usage.prompt_tokens or usage.total_tokens), Usage())


def usage_within(body: Mapping[str, Any]) -> Any:
    """The usage in an event's field of the server's own, such as Groq's `x_groq`; None if there is none."""
    for name, value in body.items():
        if name.startswith("x_") and isinstance(value, Mapping) and value.get("usage"):
            return value["usage"]
    return None


def with_later(before: Any, usage: Any) -> Any:
    """Puts the usages together that several events of one answer tell: some count the prompt first, the answer last.

    Args:
        before: What the earlier ones told; None if there were none.
        usage: A later one. Its zeros replace nothing.

    Returns:
        All that is known, in the form of `usage`. What no count is read from is left out.
    """
    if not isinstance(usage, dict):
        return before
    known = {name: usage[name] for name in _KNOWN if name in usage}
    if not isinstance(before, dict):
        return known
    return {**before, **{name: value for name, value in known.items() if value}}


def _count(counts: Any, *names: str) -> int | None:
    for name in names:
        value = counts.get(name) if isinstance(counts, dict) else None
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= LARGEST_COUNT:
            return int(value)
    return None
