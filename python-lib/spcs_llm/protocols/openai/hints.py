"""Which setting or format of a chat a server refuses, in LLM Mesh's words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from spcs_llm.domain import ChatRequest, ImagePart
from spcs_llm.errors import BadRequest, RequestTooLarge, SpcsError
from spcs_llm.protocols.openai.dialect import SETTINGS
from spcs_llm.protocols.openai.images import are_read_as_text
from spcs_llm.protocols.openai.json_schema import maps_in
from spcs_llm.protocols.openai.refusal_words import (
    may_be_a_refusal,
    names,
    reason_of,
    refused_setting,
    refuses_format,
    refuses_tool_schema,
)
from spcs_llm.server_text.refusal_hints import CHECK_PROTOCOL, SEE_LOGS, is_about_length

_MOST_MAPS: Final = 5
_WORD_JSON: Final = re.compile(r"the word .{0,2}json", re.IGNORECASE)
_NOT_SET_UP: Final = re.compile(
    r"\b(guided|structured|grammar)\w{0,20}\b.{0,30}\b(not (set ?up|enabled|configured)|disabled)\b",
    re.IGNORECASE,
)
_COUNT: Final = re.compile(r"(?<!\d)\d{5,9}(?!\d)")
_CHANGE: Final = (
    "Change or remove the setting, or ask a DSS administrator to turn on 'Leave out refused settings'."
)


def explained(
    error: SpcsError, request: ChatRequest, payload: Mapping[str, Any], *, is_understood: bool
) -> SpcsError:
    """Says in LLM Mesh's words what of a query the server refuses.

    Args:
        error: The server's refusal or failure.
        request: What was asked.
        payload: The JSON that was refused.
        is_understood: Whether the server has answered before: then it speaks the protocol.

    Returns:
        A copy of the error whose message or hint says it, or the error itself when it may be no refusal.
    """
    if isinstance(error, RequestTooLarge) and any(message.has_images for message in request.messages):
        told = error.again()
        told.hint = "Send smaller images, or fewer of them."
        return told
    if not may_be_a_refusal(error):
        return error
    text = reason_of(error)
    told = error.again()
    if is_about_length(text):
        if are_read_as_text(payload, max(map(int, _COUNT.findall(text)), default=0)):
            told.hint = "Use a model that reads images: the server reads the image as text."
        return told
    setting = refused_setting(payload, text)
    refuses = isinstance(error, BadRequest) or error.status == 501
    if refuses and refuses_format(payload, text):
        told.message = f"The service refuses the JSON output or schema ('responseFormat'). {error.message}"
        told.hint = _about_schema(request, text)
    elif refuses and refuses_tool_schema(payload, text):
        is_demanded = payload.get("tool_choice") not in (None, "auto", "none")
        which = "that must be called ('toolChoice')" if is_demanded else "('tools')"
        told.message = f"The service refuses the schema of a tool {which}. {error.message}"
        told.hint = "Simplify the parameters of the tool" + (
            ", or let the model choose whether it calls one." if is_demanded else "."
        )
    elif refuses and "tool_choice" in payload and names(text, "tool_choice"):
        told.message = f"The service refuses the setting 'toolChoice'. {error.message}"
        told.hint = _CHANGE
    elif refuses and setting is not None:
        told.message = f"The service refuses the setting {SETTINGS[setting]!r}. {error.message}"
        told.hint = _CHANGE
    elif _is_about_address(request, text):
        told.hint = "The service cannot fetch the image from its address: send the image inline."
    elif is_understood and error.hint == CHECK_PROTOCOL:
        told.hint = SEE_LOGS
    return told


def _is_about_address(request: ChatRequest, text: str) -> bool:
    """Whether a text names the host of an image, which the service was to fetch."""
    parts = [part for message in request.messages for part in message.parts if isinstance(part, ImagePart)]
    return any(host in text for host in (urlsplit(part.uri or "").hostname for part in parts) if host)


def _about_schema(request: ChatRequest, text: str) -> str:
    if _WORD_JSON.search(text):
        return "Write the word JSON in the prompt."
    if _NOT_SET_UP.search(text):
        return (
            "Ask whoever runs the service to turn on structured output in the server, or set 'ifSupported' to accept"
            " prose."
        )
    schema = request.json_format.schema if request.json_format else None
    if not schema:
        return "Set 'ifSupported' to accept prose from a service that cannot do it."
    maps = maps_in(schema)
    simpler = "Simplify the schema, or set 'ifSupported' to accept prose from a service that cannot do it."
    if not maps:
        return simpler
    named = ", ".join(maps[:_MOST_MAPS])
    return f"Some servers do not accept objects whose properties can have any name (here: {named}). {simpler}"
