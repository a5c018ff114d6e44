"""LLM Mesh's queries and settings as our requests.

Shapes: dataiku-api-client 15.2.0, `dataikuapi/dss/llm.py`; Dataiku's developer guide, "LLM Mesh". All keys are
optional there, and unknown ones are ignored here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from spcs_llm.domain import (
    ChatRequest,
    ImagePart,
    JsonFormat,
    Message,
    Part,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from spcs_llm.errors import QueryError

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
# What DSS keeps in a conversation for itself: nothing in them is for the model.
_ROLES_OF_DSS = ("memoryFragment", "toolValidationRequests", "toolValidationResponses")


def chat_request(query: Any, settings: Any) -> ChatRequest:
    """The request in a completion query and its settings. Raises QueryError that says what is wrong with it."""
    messages = query.get("messages") if isinstance(query, Mapping) else None
    if not isinstance(messages, (list, tuple)) or not messages:
        raise QueryError("The query has no messages.")
    settings = settings if isinstance(settings, Mapping) else {}
    return ChatRequest(
        messages=tuple(_message(message) for message in messages if not _is_for_dss(message)),
        sampling=_sampling(settings),
        tools=tuple(_tool(tool) for tool in _list(settings, "tools")),
        tool_choice=_tool_choice(settings.get("toolChoice")),
        json_format=_json_format(settings.get("responseFormat")),
    )


def embedding_texts(query: Any) -> tuple[list[str], bool]:
    """The texts of an embedding query, and whether it is of the batch form. Raises QueryError.

    A query is `{"text"}`; plugins also meet `{"queries": [{"text"}]}`, which is answered in kind.
    """
    if isinstance(query, Mapping) and isinstance(query.get("queries"), (list, tuple)):
        return [_embedding_text(row) for row in query["queries"]], True
    return [_embedding_text(query)], False


def reranking_query(query: Any) -> tuple[str, list[str]]:
    """The query's text and those of its documents, in both forms that clients send. Raises QueryError."""
    if not isinstance(query, Mapping):
        raise QueryError("The query is no reranking query.")
    question = _ranked_text(query, "queryParts", "query")
    if not question.strip():
        raise QueryError("The reranking query has no text.")
    documents = query.get("documents")
    if not isinstance(documents, (list, tuple)):
        raise QueryError("The reranking query has no documents.")
    return question, [_ranked_text(document, "parts", "content") for document in documents]


# -- messages ---------------------------------------------------------------------------------------------


def _is_for_dss(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") in _ROLES_OF_DSS


def _message(message: Any) -> Message:
    if not isinstance(message, Mapping):
        raise QueryError("A message of the query is no object.")
    role = _ROLES.get(str(message.get("role") or "user").lower())
    if role is None:
        raise QueryError(f"The query has a message of an unknown role ({str(message.get('role'))[:30]!r}).")
    if role == "tool":
        return Message("tool", tool_results=_tool_results(message))
    calls = tuple(_tool_call(call, at) for at, call in enumerate(_list(message, "toolCalls")))
    return Message(role, _parts(message), calls)


def _parts(message: Mapping[str, Any]) -> tuple[Part, ...]:
    content = message.get("content")
    parts: list[Part] = [] if content is None else [TextPart(_text(content))]
    parts.extend(_part(part) for part in _list(message, "parts"))
    return tuple(part for part in parts if part != TextPart(""))  # servers refuse an empty part beside others


def _part(part: Any) -> Part:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "TEXT":
        return TextPart(_text(part.get("text")))
    if kind == "IMAGE_INLINE" and isinstance(part.get("inlineImage"), str):
        mime_type = part.get("imageMimeType")
        return ImagePart(
            data=part["inlineImage"], mime_type=mime_type if isinstance(mime_type, str) else None
        )
    if kind == "IMAGE_URI" and isinstance(part.get("imageUrl"), str):
        return ImagePart(uri=part["imageUrl"])
    if kind in ("IMAGE_INLINE", "IMAGE_URI"):
        raise QueryError("A message of the query has an image part without an image.")
    raise QueryError(f"A message of the query has a part of an unknown type ({str(kind)[:30]!r}).")


def _tool_call(call: Any, at: int) -> ToolCall:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise QueryError("A tool call in the query names no function.")
    arguments = function.get("arguments")
    if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
        arguments = "{}"
    elif not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    return ToolCall(str(call.get("id") or f"call_{at}"), function["name"], arguments)


def _tool_results(message: Mapping[str, Any]) -> tuple[ToolResult, ...]:
    """DSS bundles the results of several calls in one message."""
    results = tuple(_tool_result(output) for output in _list(message, "toolOutputs"))
    if not results:
        raise QueryError("A tool message of the query has no tool outputs.")
    return results


def _tool_result(output: Any) -> ToolResult:
    if not isinstance(output, Mapping) or not output.get("callId"):
        raise QueryError("A tool output in the query does not name its call.")
    texts = [_text(output.get("output"))]
    for part in map(_part, _list(output, "parts")):
        if not isinstance(part, TextPart):
            raise QueryError(
                "A tool output in the query is an image: only text can be handed back to the model."
            )
        texts.append(part.text)
    return ToolResult(str(output["callId"]), "\n".join(text for text in texts if text))


def _embedding_text(row: Any) -> str:
    if isinstance(row, Mapping) and row.get("text") is None and row.get("inlineImage"):
        raise QueryError("The query asks for the embedding of an image: this model embeds text.")
    if not isinstance(row, Mapping) or not isinstance(row.get("text"), str):
        raise QueryError("The embedding query has no text.")
    return str(row["text"])


def _ranked_text(item: Any, parts_key: str, text_key: str) -> str:
    """Client 15 sends parts, client 14.3 a text."""
    if not isinstance(item, Mapping):
        raise QueryError("A document of the reranking query is no object.")
    parts = [_part(part) for part in _list(item, parts_key)]
    if not all(isinstance(part, TextPart) for part in parts):
        raise QueryError("The reranking query holds an image: this model ranks text.")
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    return "\n".join(texts) if texts else _text(item.get(text_key))


# -- settings ---------------------------------------------------------------------------------------------


def _sampling(settings: Mapping[str, Any]) -> Sampling:
    return Sampling(
        max_output_tokens=_positive(settings, "maxOutputTokens"),
        temperature=_number(settings, "temperature"),
        top_p=_number(settings, "topP"),
        top_k=_positive(settings, "topK"),
        stop_sequences=_stop_sequences(settings.get("stopSequences")),
        frequency_penalty=_number(settings, "frequencyPenalty"),
        presence_penalty=_number(settings, "presencePenalty"),
        logit_bias=_logit_bias(settings),
        log_probs=_flag(settings, "logProbs"),
        top_log_probs=_positive(settings, "topLogProbs"),
        seed=_whole(settings, "seed"),
    )


def _number(settings: Mapping[str, Any], name: str) -> float | None:
    value = settings.get(name)
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise QueryError(f"The setting {name} must be a number.")
    return number


def _whole(settings: Mapping[str, Any], name: str) -> int | None:
    number = _number(settings, name)
    if number is None:
        return None
    if number != int(number):
        raise QueryError(f"The setting {name} must be a whole number.")
    return int(number)


def _positive(settings: Mapping[str, Any], name: str) -> int | None:
    """A count; forms leave 0 or less for none."""
    number = _whole(settings, name)
    return number if number is not None and number > 0 else None


def _flag(settings: Mapping[str, Any], name: str) -> bool | None:
    value = settings.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise QueryError(f"The setting {name} must be true or false.")


def _stop_sequences(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)) or not all(isinstance(item, str) for item in values):
        raise QueryError("The setting stopSequences must be a list of texts.")
    return tuple(item for item in values if item)


def _logit_bias(settings: Mapping[str, Any]) -> Mapping[str, float] | None:
    value = settings.get("logitBias")
    if not value:
        return None
    if not isinstance(value, Mapping):
        raise QueryError("The setting logitBias must map tokens to numbers.")
    biases = {str(token): _number({"logitBias": bias}, "logitBias") for token, bias in value.items()}
    return {token: bias for token, bias in biases.items() if bias is not None}


def _tool(tool: Any) -> Tool:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise QueryError("A tool in the settings names no function.")
    description, parameters, strict = (function.get(key) for key in ("description", "parameters", "strict"))
    return Tool(
        function["name"],
        description if isinstance(description, str) else None,
        parameters if isinstance(parameters, Mapping) else None,
        strict if isinstance(strict, bool) else None,
    )


def _tool_choice(value: Any) -> ToolChoice | None:
    if not value:
        return None
    kind = value.get("type") if isinstance(value, Mapping) else value
    if kind in ("auto", "none", "required"):
        return ToolChoice(kind)
    if kind == "any":
        return ToolChoice("required")
    if kind == "tool_name" and isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return ToolChoice("tool", value["name"])
    raise QueryError("The setting toolChoice must be auto, none, required or tool_name with a name.")


def _json_format(value: Any) -> JsonFormat | None:
    if not value:
        return None
    kind = value.get("type") if isinstance(value, Mapping) else value
    if kind == "text":
        return None
    if kind != "json" or not isinstance(value, Mapping):
        raise QueryError("The setting responseFormat must be of type json.")
    schema = value.get("schema")
    if schema is not None and not isinstance(schema, Mapping):
        raise QueryError("The schema of the setting responseFormat is no JSON schema: it must be an object.")
    flags = [value.get(key) for key in ("strict", "compatible", "ifSupported")]
    return JsonFormat(schema or None, *(flag if isinstance(flag, bool) else None for flag in flags))


# -- plain values -----------------------------------------------------------------------------------------


def _list(container: Mapping[str, Any], key: str) -> list[Any]:
    value = container.get(key)
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise QueryError(f"'{key}' in the query must be a list.")
    return list(value)


def _text(value: Any) -> str:
    """Text as it is; results of tools come as JSON too."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
