"""What messages, documents and outputs of tools hold: a text, LLM Mesh's parts, or blocks.

Blocks are the lists that LangChain, OpenAI and Anthropic have as a message's `content`; DSS's clients pass them on as
they are (dataiku-api-client 15.2.0, `dataikuapi/dss/langchain`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from spcs_llm.domain import ImagePart, Part, TextPart
from spcs_llm.errors import QueryError

_TEXTS = ("text", "input_text", "output_text", "refusal")
# What a model thought, which is not handed back to it.
_THOUGHTS = ("reasoning", "reasoning_content", "thinking", "redacted_thinking")
_MIME_TYPES = ("imageMimeType", "mime_type", "mimeType", "media_type")
# Calls, and pieces of calls as a stream left them, that stand in the message's `toolCalls` as well.
_CALLS = (
    "tool_call", "tool_use", "tool_calls", "function_call", "invalid_tool_call", "tool_call_chunk", "input_json_delta",
)  # fmt: skip


def parts_of_content(content: Any, *, has_calls: bool = False) -> tuple[Part, ...]:
    """The parts of a message's `content`: a text, one block or a list of blocks.

    Args:
        content: As it came.
        has_calls: Whether the message has its tool calls apart, so that blocks of calls repeat them.

    Returns:
        The parts.

    Raises:
        QueryError: If a block is neither text nor image.
    """
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(content),)
    if isinstance(content, Mapping):
        content = [content]
    if isinstance(content, (list, tuple)):
        return parts_of_blocks(content, has_calls=has_calls)
    return (_json(content),)  # a number


def parts_of_blocks(blocks: Iterable[Any], *, has_calls: bool = False) -> tuple[Part, ...]:
    """The same for a list of LLM Mesh's parts or of blocks."""
    parts = [_part(block, has_calls) for block in blocks]
    return tuple(part for part in parts if part is not None)


def given_in(container: Mapping[str, Any], key: str) -> Any:
    """The value of a field; None where it is missing, or a blank text, which is what forms leave of an empty one."""
    value = container.get(key)
    return None if isinstance(value, str) and not value.strip() else value


def list_in(container: Mapping[str, Any], key: str) -> list[Any]:
    """The items of a field that is a list; none where it is empty.

    Args:
        container: What has the field.
        key: The field's name.

    Returns:
        The items.

    Raises:
        QueryError: If it is anything else.
    """
    value = given_in(container, key)
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise QueryError(f"'{key}' in the query must be a list.")
    return list(value)


def is_image(row: Any) -> bool:
    """Whether an embedding query or a document is an image, whatever text comes with it."""
    return isinstance(row, Mapping) and any(row.get(key) for key in ("inlineImage", "imageUrl", "image"))


def parts_of_output(output: Any) -> tuple[Part, ...]:
    """The parts of a tool's output. An image written as JSON would not be one for the model, and cost its letters.

    Args:
        output: Blocks of text and images, as MCP and LangChain have them, or any other JSON.

    Returns:
        The parts; what is neither text nor image is its JSON.

    Raises:
        QueryError: If it is nested too deeply.
    """
    if output is None:
        return ()
    if isinstance(output, str):
        return (TextPart(output),)
    if isinstance(output, Mapping) and any(_is_image_block(block) for block in _content_of(output)):
        # A result of MCP. Its `structuredContent` repeats what the content has, and images of it as well.
        rest = {key: value for key, value in output.items() if key not in ("content", "structuredContent")}
        return (*parts_of_output(_content_of(output)), *((_json(rest),) if rest else ()))
    blocks = output if isinstance(output, (list, tuple)) else ()
    parts = [_part(block, has_calls=False) if _is_shown(block) else None for block in blocks]
    if any(parts):
        return tuple(part or _json(block) for part, block in zip(parts, blocks))
    return (_json(output),)


def _json(output: Any) -> TextPart:
    if isinstance(output, str):
        return TextPart(output)
    try:
        return TextPart(json.dumps(output, ensure_ascii=False, default=str))
    except (ValueError, RecursionError):
        raise QueryError("A message of the query has a value that is nested too deeply.") from None


def _content_of(output: Mapping[str, Any]) -> list[Any] | tuple[Any, ...]:
    content = output.get("content")
    return content if isinstance(content, (list, tuple)) else ()


def _is_shown(block: Any) -> bool:
    """Whether a part of an output is a text or an image, and not a tool's own JSON that has a type, too."""
    kind = block.get("type") if isinstance(block, Mapping) else None
    return (
        isinstance(kind, str) and kind.lower() in _TEXTS and isinstance(block.get("text"), str)
    ) or _is_image_block(block)


def _is_image_block(block: Any) -> bool:
    kind = block.get("type") if isinstance(block, Mapping) else None
    if not isinstance(kind, str):
        return False
    if kind.lower() in ("image_url", "input_image"):
        return _image_url(block) is not None
    return (kind.lower() == "image" or _has_image_type(block)) and _image_data(block) is not None


def _part(block: Any, has_calls: bool) -> Part | None:
    if isinstance(block, str):
        return TextPart(block)
    kind = block.get("type") if isinstance(block, Mapping) else None
    if kind is None and isinstance(block, Mapping) and isinstance(block.get("text"), str):
        kind = "text"  # as Bedrock and Gemini have it
    if not isinstance(block, Mapping) or not isinstance(kind, str):
        raise QueryError(f"A message of the query has a part of an unknown type ({str(kind)[:30]!r}).")
    name = kind.lower()
    if name in _TEXTS:
        text = block.get("text") if block.get("text") is not None else block.get("refusal")
        return TextPart("") if text is None else _json(text)
    if name.startswith("image") or name == "input_image" or _has_image_type(block):
        return _image(block)
    if name in _THOUGHTS or (has_calls and name in _CALLS):
        return None
    raise QueryError(
        f"A message of the query has a part of an unknown type ({kind[:30]!r}).",
        "This model takes texts and images.",
    )


def _image(block: Mapping[str, Any]) -> ImagePart:
    """LLM Mesh's IMAGE_INLINE and IMAGE_URI; `image_url` of OpenAI; `image` of Anthropic, MCP, LangChain and Qwen."""
    source, data, url = _image_source(block), _image_data(block), block.get("image_url")
    detail = (isinstance(url, Mapping) and _first_text(url, "detail")) or _first_text(block, "detail")
    if data:
        return ImagePart(data=data, mime_type=_first_text(source, *_MIME_TYPES), detail=detail)
    uri = _image_url(block) or _first_text(source, "imageUrl", "url", "image")
    if not uri:
        raise QueryError("A message of the query has an image part without an image.")
    return ImagePart(uri=uri, detail=detail)


def _has_image_type(block: Mapping[str, Any]) -> bool:
    """Whether a block of another kind, such as a file, is an image by its MIME type."""
    return (_first_text(_image_source(block), *_MIME_TYPES) or "").lower().startswith("image/")


def _image_source(block: Mapping[str, Any]) -> Any:
    """What has the image: the block itself, Anthropic's source or MCP's embedded resource."""
    inner = (block.get("source"), block.get("resource"))
    return next((value for value in inner if isinstance(value, Mapping)), block)


def _image_data(block: Mapping[str, Any]) -> str | None:
    return _first_text(_image_source(block), "inlineImage", "base64", "data", "blob")


def _image_url(block: Mapping[str, Any]) -> str | None:
    url = block.get("image_url")
    uri = _first_text(url, "url") if isinstance(url, Mapping) else url
    return uri if isinstance(uri, str) else None


def _first_text(container: Any, *keys: str) -> str | None:
    return next((container[key] for key in keys if isinstance(container.get(key), str)), None)
