"""What of a chat a protocol may not support, refused where an answer given without it would mislead."""

from __future__ import annotations

from spcs_llm.domain import ChatRequest
from spcs_llm.errors import QueryError
from spcs_llm.protocol_choices import titles_with


def refuse_tools(request: ChatRequest) -> None:
    """Refuses a chat that has tools or calls of tools.

    A query that offers tools counts on a model that may call them: an answer given without knowing of them would look
    like a decision to do without. Only the choice `none` says that the answer is the same.

    Args:
        request: The chat.

    Raises:
        QueryError: If the chat offers tools that may be called, or has tool calls in its history.
    """
    choice = request.tool_choice.mode if request.tool_choice is not None else "auto"
    if choice in ("required", "tool") or (request.tools and choice != "none"):
        raise _unsupported(
            "The query has tools, which the model's 'Service protocol' does not support.", "tools"
        )
    if any(message.role == "tool" or message.tool_calls for message in request.messages):
        raise _unsupported(
            "The query has tool calls in its history, which the model's 'Service protocol' does not support.",
            "tools",
        )


def refuse_images(request: ChatRequest) -> None:
    """Refuses a chat that has images.

    Args:
        request: The chat.

    Raises:
        QueryError: If one of its messages has an image.
    """
    if any(message.has_images for message in request.messages):
        raise _unsupported(
            "The query has an image, and the model's 'Service protocol' takes only text.", "images"
        )


def refuse_json(request: ChatRequest) -> None:
    """Refuses a chat that asks for JSON output.

    Args:
        request: The chat.

    Raises:
        QueryError: If it has a JSON format, and does not allow it to be ignored (`ifSupported`).
    """
    if request.json_format is not None and not request.json_format.if_supported:
        raise _unsupported(
            "The query asks for JSON output, which this service cannot guarantee.", "json_output"
        )


def _unsupported(message: str, capability: str) -> QueryError:
    others = " or ".join(titles_with(capability))
    return QueryError(
        message,
        "Use another model, or ask a DSS administrator to serve this one with a server that supports it and to choose"
        f" {others} as 'Service protocol'.",
    )
