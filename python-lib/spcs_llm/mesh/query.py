"""LLM Mesh's queries and settings as our requests.

Shapes: dataiku-api-client 15.2.0, `dataikuapi/dss/llm.py`; Dataiku's developer guide, "LLM Mesh". All keys are
optional there, and unknown ones are ignored here.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Union

from spcs_llm.domain import (
    SAMPLING_SETTINGS,
    ChatRequest,
    EmbeddingSettings,
    ImagePart,
    JsonFormat,
    Message,
    Part,
    Sampling,
    TextPart,
    Tool,
    ToolChoice,
)
from spcs_llm.errors import QueryError
from spcs_llm.mesh.content import given_in, is_image, list_in, parts_of_blocks, parts_of_content
from spcs_llm.mesh.tool_history import tool_history

Text = Union[str, QueryError]  # of a row, or why the row has none

# LLM Mesh's roles, OpenAI's, and the names that LangChain, LlamaIndex and Gemini have for them.
_ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "ai": "assistant", "model": "assistant",
    "tool": "tool", "function": "tool",
}  # fmt: skip
# What DSS keeps in a conversation for itself: nothing in them is for the model.
_ROLES_OF_DSS = ("memoryFragment", "toolValidationRequests", "toolValidationResponses")
_OF_DSS = ("context", "guardrails")
# The settings that a query of each kind may have.
_SETTINGS = {
    "chat": frozenset((*SAMPLING_SETTINGS.values(), "tools", "toolChoice", "responseFormat", *_OF_DSS)),
    "embed": frozenset(("textOverflowMode", *_OF_DSS)),
    "rerank": frozenset(_OF_DSS),
}
_IS_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_MAX_UNKNOWN = 16  # names told: what a query calls its settings goes into DSS's log
_LARGEST_WHOLE = 2**63 - 1  # servers read 64 bits
_MAX_DEPTH = 100  # of a schema. Writing and comparing nested values takes a part of Python's stack a level.


def chat_request(query: Any, settings: Any) -> ChatRequest:
    """Reads a completion query and its settings.

    Args:
        query: LLM Mesh's dict.
        settings: LLM Mesh's dict.

    Returns:
        The request.

    Raises:
        QueryError: If something is wrong with it; it says what.
    """
    messages = query.get("messages") if isinstance(query, Mapping) else None
    messages = messages if isinstance(messages, (list, tuple)) else ()
    messages = [message for message in messages if not _is_for_dss(message)]
    if not messages:
        raise QueryError("The query has no messages.")
    settings = settings if isinstance(settings, Mapping) else {}
    return ChatRequest(
        messages=_messages(messages),
        sampling=_sampling(settings),
        tools=tuple(_tool(tool) for tool in list_in(settings, "tools")),
        tool_choice=_tool_choice(settings.get("toolChoice")),
        json_format=_json_format(settings.get("responseFormat")),
        unknown_settings=unknown_settings("chat", settings),
    )


def embedding_texts(query: Any) -> tuple[list[Text], bool]:
    """Reads an embedding query: `{"text"}`, or the batch form `{"queries": [{"text"}]}`, which is answered in kind.

    Args:
        query: LLM Mesh's dict.

    Returns:
        The texts, and whether the query has the batch form. In a batch, a row without a text that can be embedded has
        its error instead.

    Raises:
        QueryError: If a single query has no such text.
    """
    if isinstance(query, Mapping) and isinstance(query.get("queries"), (list, tuple)):
        return [_row(row) for row in query["queries"]], True
    return [_embedding_text(query)], False


def embedding_settings(settings: Any) -> EmbeddingSettings:
    """The settings of an embedding query. LLM Mesh's `textOverflowMode` is FAIL (the default) or TRUNCATE."""
    mode = settings.get("textOverflowMode") if isinstance(settings, Mapping) else None
    return EmbeddingSettings(truncate=isinstance(mode, str) and mode.strip().upper() == "TRUNCATE")


def reranking_query(query: Any) -> tuple[str, list[Text]]:
    """Reads a reranking query, in both forms that clients send.

    Args:
        query: LLM Mesh's dict.

    Returns:
        The query's text and those of its documents. A document without a text has its error instead.

    Raises:
        QueryError: If the query has no text or no documents.
    """
    if not isinstance(query, Mapping):
        raise QueryError("The query is not a reranking query.")
    question = _ranked_text(query, "queryParts", "query")
    if not question.strip():
        raise QueryError("The reranking query has no text.")
    documents = query.get("documents")
    if not isinstance(documents, (list, tuple)):
        raise QueryError("The reranking query has no documents.")
    return question, [_document(document) for document in documents]


# -- messages ---------------------------------------------------------------------------------------------


def _is_for_dss(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") in _ROLES_OF_DSS


def _messages(messages: Sequence[Any]) -> tuple[Message, ...]:
    roles = [_role(message) for message in messages]
    history = tool_history(list(zip(roles, messages)))
    made: list[Message] = []
    # LangChain's adapter sends a text, which may have its calls among its blocks, and the calls as two messages.
    calls_behind = [calls for calls, _, _ in history[1:]] + [()]
    for role, message, (calls, results, images), behind in zip(roles, messages, history, calls_behind):
        if role == "tool":
            made.append(Message("tool", tool_results=results))
        else:
            has_calls = bool(calls or (role == "assistant" and behind))
            made.append(Message(role, _parts(role, message, has_calls=has_calls), calls))
        if images:
            made.append(Message("user", images))
    return tuple(_without_wordless_answers(made) or made)


def _without_wordless_answers(messages: Sequence[Message]) -> list[Message]:
    """Leaves out answers that have neither text nor call, which servers refuse, and with them the whole conversation.

    Args:
        messages: The messages, in order.

    Returns:
        The others. What the user said before and after such an answer is one message, so that roles still alternate.
    """
    kept: list[Message] = []
    is_behind = False
    for message in messages:
        if message.role == "assistant" and not message.parts and not message.tool_calls:
            is_behind = True
            continue
        if is_behind and kept and message.role == "user" == kept[-1].role:
            parts = (*kept[-1].parts, TextPart("\n\n"), *message.parts)
            kept[-1] = replace(kept[-1], parts=parts)
        else:
            kept.append(message)
        is_behind = False
    return kept


def _role(message: Any) -> str:
    if not isinstance(message, Mapping):
        raise QueryError("A message of the query is not an object.")
    role = _ROLES.get(str(message.get("role") or "user").lower())
    if role is None:
        raise QueryError(
            f"The query has a message of an unknown role ({str(message.get('role'))[:30]!r}).",
            "Roles are system, user, assistant and tool.",
        )
    return role


def _parts(role: str, message: Mapping[str, Any], *, has_calls: bool) -> tuple[Part, ...]:
    content, more = message.get("content"), list_in(message, "parts")
    if role == "user" and content is None and not more:
        raise QueryError(
            "A user message of the query has no content.",
            # dataiku-api-client 15.2.0, `dataikuapi/dss/langchain/llm.py`
            "Add a text or an image to the message. DSS's adapter for LangChain leaves out all parts but those of the"
            " types text and image_url."
            if "parts" in message
            else "In a recipe, the input has an empty cell: fill it, or filter such rows out first.",
        )
    parts = [*parts_of_content(content, has_calls=has_calls), *parts_of_blocks(more, has_calls=has_calls)]
    return tuple(part for part in parts if not _is_empty(part))  # servers refuse an empty part beside others


def _is_empty(part: Part) -> bool:
    return isinstance(part, TextPart) and not part.text


# -- embeddings and rankings ------------------------------------------------------------------------------


def _row(row: Any) -> Text:
    try:
        return _embedding_text(row)
    except QueryError as error:
        return error


def _embedding_text(row: Any) -> str:
    if is_image(row):
        raise QueryError(
            "The query asks for the embedding of an image, but this model embeds texts.",
            "Embed a description of the image instead, or only the text of the document.",
        )
    if not isinstance(row, Mapping) or not isinstance(row.get("text"), str):
        raise QueryError("The embedding query has no text.")
    return str(row["text"])


def _document(document: Any) -> Text:
    try:
        text = _ranked_text(document, "parts", "content")
        if not text.strip():  # a model scores it all the same, and servers refuse it with all others
            raise QueryError("A document of the reranking query is empty.")
        return text
    except QueryError as error:
        return error


def _ranked_text(item: Any, parts_key: str, text_key: str) -> str:
    """Client 15 sends parts, client 14.3 a text."""
    if isinstance(item, str):
        return item
    if not isinstance(item, Mapping):
        raise QueryError("A document of the reranking query is not an object.")
    parts = [*parts_of_blocks(list_in(item, parts_key)), *parts_of_content(item.get(text_key))]
    if any(isinstance(part, ImagePart) for part in parts) or is_image(item):
        raise QueryError("The reranking query contains an image, but this model ranks texts.")
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))


# -- settings ---------------------------------------------------------------------------------------------


def _sampling(settings: Mapping[str, Any]) -> Sampling:
    log_probs = _flag(settings, "logProbs")
    return Sampling(
        max_output_tokens=_positive(settings, "maxOutputTokens"),
        temperature=_number(settings, "temperature"),
        top_p=_number(settings, "topP"),
        top_k=_positive(settings, "topK"),
        stop_sequences=_stop_sequences(settings.get("stopSequences")),
        frequency_penalty=_number(settings, "frequencyPenalty"),
        presence_penalty=_number(settings, "presencePenalty"),
        logit_bias=_logit_bias(settings),
        log_probs=log_probs,
        # Forms keep a count that was set when log probabilities are switched off again.
        top_log_probs=None if log_probs is False else _positive(settings, "topLogProbs"),
        seed=_whole(settings, "seed"),
    )


def _number(settings: Mapping[str, Any], name: str) -> float | None:
    value = given_in(settings, name)
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise QueryError(f"The setting {name} must be a number.")
    return number


def _whole(settings: Mapping[str, Any], name: str) -> int | None:
    value = given_in(settings, name)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = int(value)
    # A float does not have all digits of a large one, such as a seed.
    number = value if type(value) is int else _number(settings, name)
    if number is None:
        return None
    if number != int(number):
        raise QueryError(f"The setting {name} must be a whole number.")
    if abs(number) > _LARGEST_WHOLE:
        raise QueryError(f"The setting {name} is too large.", f"It must be at most {_LARGEST_WHOLE}.")
    return int(number)


def _positive(settings: Mapping[str, Any], name: str) -> int | None:
    """A count; forms leave 0 or less for none."""
    number = _whole(settings, name)
    return number if number is not None and number > 0 else None


def _flag(settings: Mapping[str, Any], name: str) -> bool | None:
    value = given_in(settings, name)
    if value is None:
        return None
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if value in (0, 1):
        return bool(value)
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


def unknown_settings(kind: str, settings: Any) -> tuple[str, ...]:
    """The names of settings that nothing here reads, where they ask for something.

    Args:
        kind: The kind of the query: chat, embed or rerank.
        settings: LLM Mesh's dict.

    Returns:
        The names, the first of many.
    """
    if not isinstance(settings, Mapping):
        return ()
    names = [
        name
        for name, value in settings.items()
        if name not in _SETTINGS[kind]
        and value not in (None, "", False)
        and value not in ([], {})
        and isinstance(name, str)
        and _IS_NAME.fullmatch(name)
    ]
    return tuple(names[:_MAX_UNKNOWN])


def _tool(tool: Any) -> Tool:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise QueryError("A tool in the settings does not name a function.")
    description, strict = function.get("description"), function.get("strict")
    parameters = _schema(function.get("parameters"), "The parameters of a tool are")
    return Tool(
        function["name"],
        description if isinstance(description, str) else None,
        parameters,
        strict if isinstance(strict, bool) else None,
    )


def _tool_choice(value: Any) -> ToolChoice | None:
    """LLM Mesh's, in any case, as other connections of DSS take it; OpenAI's form of a named tool too."""
    if not value:
        return None
    choice = value if isinstance(value, Mapping) else {"type": value}
    kind = str(choice.get("type") or "").lower()
    if kind in ("auto", "none", "required"):
        return ToolChoice(kind)
    if kind == "any":
        return ToolChoice("required")
    function = choice.get("function")
    name = choice.get("name") or (function.get("name") if isinstance(function, Mapping) else None)
    if kind in ("tool_name", "tool", "function") and isinstance(name, str):
        return ToolChoice("tool", name)
    raise QueryError("The setting toolChoice must be auto, none, required or tool_name with a name.")


def _json_format(value: Any) -> JsonFormat | None:
    if not value:
        return None
    kind = str(value.get("type") if isinstance(value, Mapping) else value).lower()
    if kind == "text":
        return None
    if kind != "json" or not isinstance(value, Mapping):
        raise QueryError("The setting responseFormat must be of type json.")
    schema = _schema(value.get("schema"), "The schema of the setting responseFormat is")
    flags = [value.get(key) for key in ("strict", "compatible", "ifSupported")]
    return JsonFormat(schema or None, *(flag if isinstance(flag, bool) else None for flag in flags))


def _schema(value: Any, what: str) -> Mapping[str, Any] | None:
    """A JSON schema: an object, or its text, as pydantic's `schema_json` and DSS's client for documents have it.

    Args:
        value: The schema; empty if there is none.
        what: What it is, for the error.

    Returns:
        The object; None if there is none.

    Raises:
        QueryError: If it is anything else, or nested too deeply.
    """
    if isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value.strip() or "null")
    if isinstance(value, Mapping):
        _check_depth(value, what)
        return value
    if not value:
        return None
    raise QueryError(f"{what} not a JSON schema: it must be an object.")


# -- plain values -----------------------------------------------------------------------------------------


def _check_depth(value: Any, what: str) -> None:
    """Checks that a value is not nested too deeply.

    Args:
        value: The value.
        what: What it is, for the error.

    Raises:
        QueryError: If it is.
    """
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise QueryError(f"{what} nested more than {_MAX_DEPTH} levels deep.")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()
