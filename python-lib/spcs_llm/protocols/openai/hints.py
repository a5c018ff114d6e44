"""What to do about a refused chat, by what the server says: in LLM Mesh's words, where the query can be changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from spcs_llm.domain import ChatRequest
from spcs_llm.errors import BadRequest, SpcsError
from spcs_llm.protocols.openai.dialect import SETTINGS
from spcs_llm.protocols.openai.json_schema import maps_in
from spcs_llm.protocols.openai.refusals import (
    TOO_LONG,
    may_be_a_refusal,
    refused_setting,
    refuses_format,
)

_I: Final = re.IGNORECASE
_ABOUT_PROTOCOL: Final = "Check that 'Service protocol' suits the service"
_MOST_MAPS: Final = 5
_HINTS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (
        TOO_LONG,
        "Shorten the prompt, its documents or the conversation, or ask for fewer output tokens. How much fits is set"
        " where the model is served (vLLM: --max-model-len).",
    ),
    (
        re.compile(
            r"enable-auto-tool-choice|tool-call-parser|--jinja|support(s|ed)? (for )?(tools?|function)"
            r"|tools? (use|calling|calls?)?\W{0,3}(is|are) (not|disabled)|does not support tools",
            _I,
        ),
        "The server is not set up to call tools. vLLM needs --enable-auto-tool-choice and the --tool-call-parser of the"
        " model, llama.cpp --jinja.",
    ),
    (
        re.compile(r"single tool.?call|one tool.?call|parallel tool", _I),
        "The model's chat template takes one tool call at a time: serve the model with another template.",
    ),
    (
        re.compile(r"tool.?call.?id|length of 9", _I),
        "The model's chat template wants ids of tool calls in a form of its own: hand back the ids that the model's"
        " calls had.",
    ),
    (
        re.compile(r"image|vision|multi.?modal|mmproj|unsupported content part", _I),
        "The model reads no images, or not so many: choose one that does, or leave them out.",
    ),
    (
        re.compile(r"\broles?\b|alternat|system (message|prompt)|first message", _I),
        "The model's chat template takes another order of roles: begin with the user, let user and assistant take"
        " turns, or serve the model with another template.",
    ),
    (
        re.compile(r"template|jinja", _I),
        "The model's chat template cannot render this conversation: serve the model with another one.",
    ),
)


def explained(
    error: SpcsError, request: ChatRequest, payload: Mapping[str, Any], *, is_understood: bool
) -> SpcsError:
    """`error` with a hint that suits its reason, naming in LLM Mesh's words what of the query is refused.

    Args:
        error: The server's refusal or failure.
        request: What was asked.
        payload: The JSON that was refused.
        is_understood: Whether the server has answered before: then it speaks the protocol.
    """
    if not may_be_a_refusal(error):
        return error
    text = error.server_text
    told = error.again()
    setting = refused_setting(payload, text)
    hint = next((hint for words, hint in _HINTS if words.search(text)), None)
    if isinstance(error, BadRequest) and refuses_format(payload, text):
        told.message = f"The service refuses the JSON output or schema ('responseFormat'). {error.message}"
        told.hint = _about_schema(request)
    elif (
        isinstance(error, BadRequest)
        and setting is not None
        and (hint is None or TOO_LONG.search(text) is None)
    ):
        told.message = f"The service refuses the setting {SETTINGS[setting]!r}. {error.message}"
        told.hint = "Change it or leave it out, or let settings that the service refuses be dropped."
    elif hint is not None:
        told.hint = hint
    elif is_understood and error.hint.startswith(_ABOUT_PROTOCOL):
        told.hint = ""
    return told


def _about_schema(request: ChatRequest) -> str:
    maps = maps_in(request.json_format.schema) if request.json_format and request.json_format.schema else []
    simpler = "Simplify the schema, or set 'ifSupported' to go without where a service cannot do it."
    if not maps:
        return simpler
    named = ", ".join(maps[:_MOST_MAPS])
    return f"Some servers take no objects with any names of properties (here: {named}). {simpler}"
