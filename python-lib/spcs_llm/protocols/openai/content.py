"""What a message, or a piece of one, holds: its text and its reasoning, in whichever field or part they come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_THOUGHTS = ("thinking", "reasoning", "reasoning_content", "thought")
# In the order in which they are looked for: gateways send one under several names.
_REASONING = (
    "reasoning_content", "reasoning", "reasoning_text", "reasoning_details", "thinking", "thinking_blocks",
)  # fmt: skip
_PARTS = (*_THOUGHTS, "text", "output_text", "refusal", "reference")
_SAID = ("content", "refusal", *_REASONING, "tool_calls", "function_call", "text")
# The fields of a message beside its text that say something.
BESIDE_TEXT = ("tool_calls", "function_call", "refusal", *_REASONING)
_NOT_SAID = ("role", "audio", "annotations", "name", "id", "type", "index", "logprobs")


def text_and_reasoning(message: Mapping[str, Any], *, wants_json: bool = False) -> tuple[str, str]:
    """Reads what a message or delta says.

    Args:
        message: OpenAI's `message` or `delta`. Its `content` is a text, a part, or a list of parts.
        wants_json: Whether JSON was asked for, which some gateways give as it is and not as its text.

    Returns:
        The text and the reasoning, each empty where there is none. Without a content, OpenAI's `refusal` is the text.

    Raises:
        TypeError: If the content or the reasoning is of an unknown shape.
    """
    content = message.get("content")
    if isinstance(content, (int, float)):
        content = _spelled(content)
    reasoning = next((message[key] for key in _REASONING if _says_something(message.get(key))), "")
    if not isinstance(reasoning, str):
        reasoning = _joined(reasoning)
    if content is None or isinstance(content, str):
        return content or _joined(message.get("refusal")), reasoning
    if wants_json and content and not _is_made_of_parts(content):
        return json.dumps(content, ensure_ascii=False), reasoning
    text, thoughts = _parted(content)
    return text or _joined(message.get("refusal")), reasoning or thoughts


def has_nothing_known(piece: Mapping[str, Any]) -> bool:
    """Whether a message or delta has fields, but none that the API has."""
    return not any(key in piece for key in _SAID) and any(
        value for key, value in piece.items() if key not in _NOT_SAID
    )


def _says_something(value: Any) -> bool:
    return value not in (None, "", []) and not isinstance(value, bool)


def _is_made_of_parts(content: Any) -> bool:
    """Whether a content other than a text is OpenAI's part, or a list of them, and not a value of JSON."""
    parts = content if isinstance(content, list) else [content]
    return all(isinstance(part, Mapping) and _is_part(part) for part in parts)


def _is_part(part: Mapping[str, Any]) -> bool:
    if part.keys() == {"text"} and isinstance(part["text"], str):
        return part["text"].lstrip()[:1] in ("{", "[")  # a part without its kind, which holds JSON
    return part.get("type") in _PARTS


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
        for key in ("text", "content", "value", "refusal", "output_text", "summary", *_THOUGHTS):
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
