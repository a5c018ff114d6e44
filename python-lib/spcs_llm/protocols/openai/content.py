"""What a message, or a piece of one, holds: its text and its reasoning, in whichever field or part they come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_THOUGHTS = ("thinking", "reasoning", "reasoning_content", "thought")
_REASONING = ("reasoning_content", "reasoning")
_SAID = ("content", "refusal", "reasoning_content", "reasoning", "tool_calls", "function_call", "text")
_NOT_SAID = ("role", "audio", "annotations", "name", "id", "type", "index", "logprobs")


def text_and_reasoning(message: Mapping[str, Any]) -> tuple[str, str]:
    """Reads what a message or delta says.

    Args:
        message: OpenAI's `message` or `delta`. Its `content` is a text, a part, or a list of parts.

    Returns:
        The text and the reasoning, each empty where there is none. Without a content, OpenAI's `refusal` is the text.

    Raises:
        TypeError: If the content or the reasoning is of an unknown shape.
    """
    content = message.get("content")
    if isinstance(content, (int, float)):
        content = _spelled(content)
    reasoning = next((message[key] for key in _REASONING if message.get(key) not in (None, "", [])), "")
    if not isinstance(reasoning, str):
        reasoning = _joined(reasoning)
    if content is None or isinstance(content, str):
        return content or _joined(message.get("refusal")), reasoning
    text, thoughts = _parted(content)
    return text or _joined(message.get("refusal")), reasoning or thoughts


def has_nothing_known(piece: Mapping[str, Any]) -> bool:
    """Whether a message or delta has fields, but none that the API has."""
    return not any(key in piece for key in _SAID) and any(
        value for key, value in piece.items() if key not in _NOT_SAID
    )


def _parted(content: Any) -> tuple[str, str]:
    """Text and reasoning of a content that is a part or a list of parts, of whatever kinds."""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in [content] if isinstance(content, Mapping) else _list(content):
        if isinstance(part, Mapping) and part.get("type") in _THOUGHTS:
            thoughts.append(_joined(part.get("text") or part.get(part["type"]) or part.get("summary")))
        else:
            texts.append(_joined(part))
    return "".join(texts), "".join(thoughts)


def _joined(value: Any, depth: int = 8) -> str:
    """The text of a value: itself, or what stands under the names by which servers have it."""
    if value is None or not depth:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return _spelled(value)
    if isinstance(value, Mapping):
        for key in ("text", "content", "value", "refusal", "output_text", *_THOUGHTS):
            if value.get(key):
                return _joined(value[key], depth - 1)
        return ""
    return "".join(_joined(item, depth - 1) for item in _list(value))


def _spelled(value: float) -> str:
    """A number, true or false as JSON has it: gateways read a token that looks like one as what it looks like."""
    return json.dumps(value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value
