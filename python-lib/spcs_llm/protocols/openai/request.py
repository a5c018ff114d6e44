"""Chat requests as the JSON of `/v1/chat/completions`."""

from __future__ import annotations

from dataclasses import replace
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
    ToolChoice,
)
from spcs_llm.errors import QueryError
from spcs_llm.protocols.openai.dialect import SETTINGS, Dialect
from spcs_llm.protocols.openai.images import data_uri
from spcs_llm.protocols.openai.json_schema import compatible_schema


def chat_payload(request: ChatRequest, dialect: Dialect, model: str | None) -> dict[str, Any]:
    """The JSON of the request. Raises QueryError for what cannot be said in it."""
    payload: dict[str, Any] = {"messages": _messages(request.messages, dialect)}
    if model is not None:
        payload["model"] = model
    if dialect.asks_for_stream:
        payload["stream"] = True
        if dialect.stream_options:
            payload["stream_options"] = {"include_usage": True}
    payload.update(_sampling(request.sampling, dialect))
    if request.tools:
        payload["tools"] = [_tool(tool) for tool in request.tools]
        if request.tool_choice is not None:
            payload["tool_choice"] = _tool_choice(request.tool_choice, request.tools)
    if request.json_format is not None and not dialect.without_format:
        payload["response_format"] = _response_format(request.json_format, dialect)
    return payload


def ignored_settings(request: ChatRequest, dialect: Dialect) -> tuple[str, ...]:
    """The settings of the request that were left out, in LLM Mesh's words."""
    asked = _all_sampling(request.sampling, dialect)
    names = [SETTINGS[field] for field in asked if field in dialect.left_out]
    if request.json_format is not None and dialect.without_format:
        names.append("responseFormat")
    return tuple(names)


# -- sampling ------------------------------------------------------------------------------------------


def _sampling(sampling: Sampling, dialect: Dialect) -> dict[str, Any]:
    values = _all_sampling(sampling, dialect)
    if "logprobs" in dialect.left_out:
        values.pop("top_logprobs", None)  # has no meaning alone
    return {field: value for field, value in values.items() if field not in dialect.left_out}


def _all_sampling(sampling: Sampling, dialect: Dialect) -> dict[str, Any]:
    values = {
        dialect.token_limit: sampling.max_output_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,  # not OpenAI's: an extra field of vLLM, SGLang, llama.cpp
        "stop": list(sampling.stop_sequences) or None,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "logit_bias": dict(sampling.logit_bias) if sampling.logit_bias else None,
        "logprobs": True if sampling.log_probs or sampling.top_log_probs else None,
        "top_logprobs": sampling.top_log_probs,
        "seed": sampling.seed,
    }
    return {field: value for field, value in values.items() if value is not None}


# -- messages ------------------------------------------------------------------------------------------


def _messages(messages: tuple[Message, ...], dialect: Dialect) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    for message in _merged(messages):
        if message.role == "tool":
            if not message.tool_results:
                raise QueryError(
                    "A tool message of the query has no tool outputs.", "Give each its 'toolOutputs'."
                )
            for result in message.tool_results:
                written.append({"role": "tool", "tool_call_id": result.call_id, "content": result.output})
        else:
            written.append(_message(message, dialect))
    return written


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
    written: dict[str, Any] = {"role": message.role, "content": _content(message.parts)}
    if message.tool_calls:
        written["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments.strip() or "{}"},
            }
            for call in message.tool_calls
        ]
        if not written["content"] and dialect.null_content:
            written["content"] = None
    return written


def _content(parts: tuple[Part, ...]) -> Any:
    """Plain text where there is nothing else: many templates know no parts."""
    if all(isinstance(part, TextPart) for part in parts):
        return "".join(part.text for part in parts if isinstance(part, TextPart))
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": _image_url(part)}}
        for part in parts
    ]


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


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    # llama.cpp demands parameters even of a function that has none.
    function["parameters"] = (
        {"type": "object", "properties": {}} if tool.parameters is None else tool.parameters
    )
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice, tools: tuple[Tool, ...]) -> Any:
    if choice.mode != "tool":
        return choice.mode
    if choice.name not in {tool.name for tool in tools}:
        raise QueryError(
            "The tool choice names a tool that the query does not offer.", "Name one of its tools."
        )
    return {"type": "function", "function": {"name": choice.name}}


def _response_format(json_format: JsonFormat, dialect: Dialect) -> dict[str, Any]:
    if json_format.schema is None:
        return {"type": "json_object"}
    schema = compatible_schema(json_format.schema) if dialect.compatible_schema else json_format.schema
    if dialect.schema_type == "json_object":
        return {"type": "json_object", "schema": schema}  # llama-cpp-python's way
    described: dict[str, Any] = {"name": "answer", "schema": schema}
    if json_format.strict is not None:
        described["strict"] = json_format.strict
    return {"type": "json_schema", "json_schema": described}
