"""Chat requests as the JSON of `/v1/chat/completions`."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

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
from spcs_llm.protocols.openai.dialect import SETTINGS, Dialect
from spcs_llm.protocols.openai.images import data_uri
from spcs_llm.protocols.openai.json_schema import (
    check_depth,
    closed,
    with_kinds_told,
    with_one_type,
    without_limits,
)
from spcs_llm.protocols.openai.tool_names import is_plain, plain_names
from spcs_llm.tool_arguments import arguments_object

_SHORT_ID: Final = re.compile(r"[A-Za-z0-9]{9}")


def check_request(request: ChatRequest) -> None:
    """Checks that the schemas of a request, of its answer and its tools, are not too deep for a reader of JSON.

    Args:
        request: What is asked.

    Raises:
        QueryError: If a schema has more than `json_schema.DEEPEST` levels.
    """
    if request.json_format is not None and request.json_format.schema is not None:
        check_depth(request.json_format.schema, "The schema of the setting responseFormat")
    for tool in request.tools:
        if tool.parameters is not None:
            check_depth(tool.parameters, f"The schema of the tool {tool.name[:64]!r}")


def chat_payload(request: ChatRequest, dialect: Dialect, model: str | None) -> dict[str, Any]:
    """Writes the body of `/v1/chat/completions`.

    Args:
        request: What is asked.
        dialect: How to put it.
        model: The served model's name; None for a server that has one model and no list.

    Returns:
        The request's JSON.

    Raises:
        QueryError: If the request has something that cannot be said in it.
    """
    if dialect.plain_names:
        request = _with_plain_names(request)
    payload: dict[str, Any] = {"messages": _messages(request.messages, dialect)}
    if model is not None:
        payload["model"] = model
    if dialect.asks_for_stream:
        payload["stream"] = True
        if dialect.stream_options:
            payload["stream_options"] = {"include_usage": True}
    payload.update(_sampling(request.sampling, dialect))
    payload.update(_tools(request, dialect))
    if request.json_format is not None and not dialect.without_format:
        payload["response_format"] = _response_format(request.json_format, dialect)
    return payload


def ignored_settings(request: ChatRequest, dialect: Dialect) -> tuple[str, ...]:
    """Names the settings that a request's JSON goes without.

    Args:
        request: What is asked.
        dialect: How it was put.

    Returns:
        The names of the settings, in LLM Mesh's words.
    """
    asked = _all_sampling(request.sampling, dialect)
    names = [SETTINGS[field] for field in asked if field in dialect.left_out]
    if request.json_format is not None and dialect.without_format:
        names.append("responseFormat")
    parts = [part for message in request.messages for part in message.parts]
    if not dialect.image_detail and any(isinstance(part, ImagePart) and part.detail for part in parts):
        names.append("imageDetail")
    choice = request.tool_choice
    if (
        choice is not None
        and choice.mode not in ("auto", "none")
        and request.tools
        and not dialect.tool_choice
    ):
        names.append("toolChoice")
    return tuple(names)


# -- sampling ------------------------------------------------------------------------------------------


def _sampling(sampling: Sampling, dialect: Dialect) -> dict[str, Any]:
    values = _all_sampling(sampling, dialect)
    if "logprobs" in dialect.left_out:
        values.pop("top_logprobs", None)  # has no meaning alone
    return {field: value for field, value in values.items() if field not in dialect.left_out}


def _all_sampling(sampling: Sampling, dialect: Dialect) -> dict[str, Any]:
    # A count that is left over in a form means nothing where log probabilities are switched off.
    wants_log_probs = sampling.log_probs is not False and bool(sampling.log_probs or sampling.top_log_probs)
    values = {
        dialect.token_limit: sampling.max_output_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,  # not OpenAI's: an extra field of vLLM, SGLang, llama.cpp
        "stop": list(sampling.stop_sequences) or None,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "logit_bias": dict(sampling.logit_bias) if sampling.logit_bias else None,
        "logprobs": True if wants_log_probs else None,
        "top_logprobs": sampling.top_log_probs if wants_log_probs else None,
        "seed": sampling.seed,
    }
    return {field: value for field, value in values.items() if value is not None}


# -- messages ------------------------------------------------------------------------------------------


def _messages(messages: tuple[Message, ...], dialect: Dialect) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    if dialect.images_of_users:
        messages = _with_images_moved(messages)
    turns = _merged(messages)
    names = {call.id: call.name for message in turns for call in message.tool_calls}
    for message in _with_calls_apart(turns) if dialect.single_calls else turns:
        if message.role == "tool":
            if not message.tool_results:
                raise QueryError(
                    "A tool message of the query has no tool outputs.", "Give each its 'toolOutputs'."
                )
            for result in message.tool_results:
                call_id = _short_id(result.call_id) if dialect.short_ids else result.call_id
                told = {"role": "tool", "tool_call_id": call_id, "content": result.output}
                if dialect.named_results and result.call_id in names:
                    told["name"] = names[result.call_id]
                written.append(told)
        else:
            written.append(_message(message, dialect))
    if dialect.folds_system:
        written = _with_system_folded(written)
    return _with_turns_joined(written) if dialect.joins_turns else written


def _with_images_moved(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """With the images of assistants and systems at the beginning of the next turn of the user."""
    moved: list[Message] = []
    waiting: tuple[Part, ...] = ()
    for message in messages:
        if message.role == "user":
            moved.append(replace(message, parts=waiting + message.parts))
            waiting = ()
            continue
        waiting += tuple(part for part in message.parts if isinstance(part, ImagePart))
        rest = replace(message, parts=tuple(part for part in message.parts if isinstance(part, TextPart)))
        if rest.parts or rest.tool_calls or rest.tool_results or not message.parts:
            moved.append(rest)
    return (*moved, Message("user", waiting)) if waiting else tuple(moved)


def _with_calls_apart(messages: list[Message]) -> list[Message]:
    """With a turn for each of several calls that an assistant makes in one turn, and its result behind it."""
    apart: list[Message] = []
    results: list[ToolResult] = []
    for at, message in enumerate(messages):
        if message.role == "tool" and results:
            continue  # its results stand behind their calls
        results = []
        if len(message.tool_calls) < 2:
            apart.append(message)
            continue
        following = itertools.takewhile(lambda one: one.role == "tool", messages[at + 1 :])
        results = [result for one in following for result in one.tool_results]
        apart += _one_by_one(message, results)
    return apart


def _one_by_one(message: Message, results: list[ToolResult]) -> Iterator[Message]:
    left = list(results)
    for at, call in enumerate(message.tool_calls):
        yield replace(message, parts=() if at else message.parts, tool_calls=(call,))
        own = tuple(result for result in left if result.call_id == call.id)
        left = [result for result in left if result.call_id != call.id]
        if own:
            yield Message("tool", tool_results=own)
    if left:
        yield Message("tool", tool_results=tuple(left))


def _with_system_folded(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without system messages: their texts begin the first turn of the user that follows them."""
    folded: list[dict[str, Any]] = []
    waiting: Any = ""
    for message in messages:
        if message["role"] == "system":
            waiting = _joined_content(waiting, message["content"])
        elif message["role"] == "user" and waiting:
            folded.append({**message, "content": _joined_content(waiting, message["content"])})
            waiting = ""
        else:
            folded.append(message)
    if waiting:
        folded.append({"role": "user", "content": waiting})
    return folded


def _with_turns_joined(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turns of one role in a row as one, but for tools' results, which are apart by their ids."""
    joined: list[dict[str, Any]] = []
    for message in messages:
        before = joined[-1] if joined else None
        if before is None or before["role"] != message["role"] or message["role"] == "tool":
            joined.append(message)
            continue
        content = _joined_content(before["content"], message["content"])
        calls = [*before.get("tool_calls", ()), *message.get("tool_calls", ())]
        joined[-1] = {**before, "content": content, **({"tool_calls": calls} if calls else {})}
    return joined


def _joined_content(first: Any, second: Any) -> Any:
    """Two contents, of which each is null, a text or parts, as one."""
    if not first or not second:
        return first or second
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    before, after = _as_parts(first), _as_parts(second)
    if before[-1]["type"] == "text" == after[0]["type"]:  # some servers read only one text of several
        seam = {"type": "text", "text": f"{before[-1]['text']}\n\n{after[0]['text']}"}
        return [*before[:-1], seam, *after[1:]]
    return [*before, *after]


def _as_parts(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _short_id(call_id: str) -> str:
    """Nine letters and digits for an id, the same ones each time."""
    if _SHORT_ID.fullmatch(call_id):
        return call_id
    return hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()[:9]


def _merged(messages: tuple[Message, ...]) -> list[Message]:
    """Assistant turns in a row as one: LangChain sends text and calls apart, strict templates refuse that."""
    merged: list[Message] = []
    for message in messages:
        if merged and message.role == "assistant" == merged[-1].role:
            before = merged[-1]
            gap = (TextPart("\n"),) if before.parts and message.parts else ()
            merged[-1] = replace(
                before,
                parts=before.parts + gap + message.parts,
                tool_calls=before.tool_calls + message.tool_calls,
            )
        else:
            merged.append(message)
    return merged


def _message(message: Message, dialect: Dialect) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message.role, "content": _content(message.parts, dialect)}
    if dialect.empty_reasoning and message.role == "assistant":
        written["reasoning_content"] = ""  # LLM Mesh keeps no reasoning in a history
    if message.tool_calls:
        written["tool_calls"] = [
            {
                "id": _short_id(call.id) if dialect.short_ids else call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(call, dialect)},
            }
            for call in message.tool_calls
        ]
        if not written["content"] and dialect.null_content:
            written["content"] = None
    return written


def _arguments(call: ToolCall, dialect: Dialect) -> Any:
    found = arguments_object(call.arguments) if dialect.object_arguments else None
    return (call.arguments.strip() or "{}") if found is None else found


def _content(parts: tuple[Part, ...], dialect: Dialect) -> Any:
    """Plain text where there is nothing else: many templates know no parts, and some servers only the last text."""
    if all(isinstance(part, TextPart) for part in parts):
        return "".join(part.text for part in parts if isinstance(part, TextPart))
    written: list[dict[str, Any]] = []
    for part in parts:
        if not isinstance(part, TextPart):
            written.append({"type": "image_url", "image_url": _image(part, dialect)})
        elif written and "text" in written[-1]:
            written[-1]["text"] += part.text
        else:
            written.append({"type": "text", "text": part.text})
    return written


def _image(image: ImagePart, dialect: Dialect) -> dict[str, str]:
    url = {"url": _image_url(image)}
    return {**url, "detail": image.detail} if image.detail is not None and dialect.image_detail else url


def _image_url(image: ImagePart) -> str:
    if image.data is not None:
        return data_uri(image.data, image.mime_type)
    uri = (image.uri or "").strip()
    if uri.startswith("data:"):
        return data_uri(uri, image.mime_type)
    if not uri.lower().startswith(("https://", "http://")):
        raise QueryError("An image of the query has no http or https URI.", "Send the image inline instead.")
    return uri


# -- tools and formats ---------------------------------------------------------------------------------


def has_other_names(request: ChatRequest) -> bool:
    """Whether a tool of the query, or of an earlier call, has a name that not every server takes."""
    return not all(map(is_plain, (*_offered_names(request), *_called_names(request))))


def _offered_names(request: ChatRequest) -> list[str]:
    return [tool.name for tool in request.tools]


def _called_names(request: ChatRequest) -> list[str]:
    return [call.name for message in request.messages for call in message.tool_calls]


def _with_plain_names(request: ChatRequest) -> ChatRequest:
    names = plain_names(_offered_names(request), _called_names(request))
    choice = request.tool_choice
    if choice is not None and choice.name is not None:
        choice = replace(choice, name=names.get(choice.name, choice.name))
    messages = tuple(
        replace(
            message, tool_calls=tuple(replace(call, name=names[call.name]) for call in message.tool_calls)
        )
        for message in request.messages
    )
    tools = tuple(replace(tool, name=names[tool.name]) for tool in request.tools)
    return replace(request, messages=messages, tools=tools, tool_choice=choice)


def _tools(request: ChatRequest, dialect: Dialect) -> dict[str, Any]:
    choice = request.tool_choice
    if not request.tools and dialect.offers_called:
        called = [
            _tool(Tool(name), dialect, is_held_to_schema=False)
            for name in dict.fromkeys(_called_names(request))
        ]
        return {"tools": called, "tool_choice": "none"} if called else {}
    if not request.tools or (choice is not None and choice.mode == "none" and not dialect.tool_choice):
        return {}
    forced = choice if dialect.strict_tools else None
    tools = [
        _tool(tool, dialect, is_held_to_schema=forced is not None and forced.forces(tool.name))
        for tool in request.tools
    ]
    if choice is None or not dialect.tool_choice:
        return {"tools": tools}
    written = _tool_choice(choice, request.tools)
    if choice.mode == "tool" and dialect.demand == "by word":
        only = [tool for tool in tools if tool["function"]["name"] == choice.name]
        return {"tools": only, "tool_choice": "required"}
    if choice.mode == "required" and dialect.demand == "by name" and len(tools) == 1:
        written = _tool_choice(ToolChoice("tool", request.tools[0].name), request.tools)
    return {"tools": tools, "tool_choice": written}


def _tool(tool: Tool, dialect: Dialect, *, is_held_to_schema: bool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description and not tool.description.isspace():  # Bedrock refuses an empty one
        function["description"] = tool.description
    parameters: Any = _of_an_object(tool.parameters or {})
    if dialect.tools_without and not tool.strict:
        parameters = without_limits(parameters, dialect.tools_without)
    if dialect.tools_tell_kinds and not tool.strict:
        parameters = with_kinds_told(parameters)
    if dialect.tools_of_one_type and not tool.strict:
        parameters = with_one_type(parameters)
    function["parameters"] = parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    elif is_held_to_schema:
        function["strict"] = True  # vLLM (0.32) holds a tool that must be called to its schema only then
    return {"type": "function", "function": function}


def _of_an_object(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a tool's arguments, which says that they are an object with properties."""
    # llama.cpp demands parameters even of a function that has none, LM Studio and Ollama a schema that is not empty,
    # OpenAI's API properties, Claude's a type.
    if schema.get("properties") and schema.get("type"):
        return schema
    whole = {**schema, "type": schema.get("type") or "object"}
    if whole["type"] == "object" and not schema.keys() & {"$ref", "anyOf", "oneOf", "allOf"}:
        whole["properties"] = schema.get("properties") or {}
    return whole


def _tool_choice(choice: ToolChoice, tools: tuple[Tool, ...]) -> Any:
    if choice.mode != "tool":
        return choice.mode
    if choice.name not in {tool.name for tool in tools}:
        raise QueryError(
            "The tool choice names a tool that the query does not offer.", "Name one of its tools."
        )
    return {"type": "function", "function": {"name": choice.name}}


def _response_format(json_format: JsonFormat, dialect: Dialect) -> dict[str, Any]:
    if json_format.schema is None and dialect.schema_form != "value" and not dialect.schema_of_any:
        return {"type": "json_object"}
    schema: Any = {"type": "object"} if json_format.schema is None else json_format.schema
    if dialect.schema_without:
        schema = without_limits(schema, dialect.schema_without)
    if dialect.schema_closed:
        schema = closed(schema)
    if dialect.schema_form == "value":
        return {"type": "json", "value": schema}
    if dialect.schema_form == "json_object":
        return {"type": "json_object", "schema": schema}
    described: dict[str, Any] = {"name": "answer", "schema": schema}
    if json_format.strict is not None:
        described["strict"] = json_format.strict
    return {"type": "json_schema", "json_schema": described}
