"""How chat requests are put to a server, which changes with what it refuses."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from spcs_llm.domain import ChatRequest, JsonFormat
from spcs_llm.errors import BadRequest, ServiceError, SpcsError
from spcs_llm.protocols.openai.answer import EmptyStream, NamelessCall
from spcs_llm.protocols.openai.json_schema import compatible_schema

# JSON field -> setting, as LLM Mesh names it.
SETTINGS = {
    "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "stop": "stopSequences",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "logit_bias": "logitBias",
    "top_logprobs": "topLogProbs",
    "logprobs": "logProbs",
    "seed": "seed",
}

_ABOUT_STREAM = re.compile(r"\bstream(ing|ed)?\b", re.IGNORECASE)
_ABOUT_FORMAT = re.compile(
    r"response_format|json_schema|json_object|schema|grammar|guided|structured", re.IGNORECASE
)
_NOT_KNOWN = re.compile(
    r"unsupported|not supported|(does not|doesn't|cannot|can't) support|unrecogni[sz]ed|unknown|unexpected"
    r"|not permitted|not allowed|extra_forbidden|not implemented|disabled",
    re.IGNORECASE,
)
# llama-cpp-python tells a field that it refuses as a failure of its own, 500, in these words of pydantic.
_INVALID = "Input should be"


@dataclass(frozen=True)
class Dialect:
    """How to put a chat request. It starts as OpenAI's own and only ever loses.

    streams: None until the server has shown it. unknown: fields that the server does not have at all.
    The last four are about one request: fields refused it, what became of its JSON schema, and whether it is asked
    whole because its stream was empty or of no use.
    """

    streams: bool | None = None
    stream_options: bool = True
    token_limit: str = "max_tokens"
    null_content: bool = True
    schema_type: str = "json_schema"
    unknown: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    compatible_schema: bool = False
    without_format: bool = False
    whole: bool = False

    @property
    def asks_for_stream(self) -> bool:
        return self.streams is not False and not self.whole

    @property
    def left_out(self) -> frozenset[str]:
        return self.unknown | self.refused

    def lessons_since(self, before: Dialect) -> dict[str, Any]:
        """What holds for later requests too, where it differs from `before`."""
        lasting = ("streams", "stream_options", "token_limit", "null_content", "schema_type", "unknown")
        return {name: getattr(self, name) for name in lasting if getattr(self, name) != getattr(before, name)}


def next_dialect(
    dialect: Dialect,
    request: ChatRequest,
    payload: dict[str, Any],
    error: ServiceError,
    *,
    drop_settings: bool,
) -> Dialect | None:
    """Another way to put a refused request, or None when there is none that was not tried.

    drop_settings: whether a sampling setting may be left out.
    """
    if isinstance(error, EmptyStream) and dialect.asks_for_stream:
        return replace(dialect, whole=True) if dialect.streams else replace(dialect, streams=False)
    if isinstance(error, NamelessCall) and dialect.asks_for_stream:
        return replace(dialect, whole=True)
    text = error.server_text
    not_known = _NOT_KNOWN.search(text) is not None
    if not (isinstance(error, BadRequest) or not_known or _INVALID in text):
        return None  # a failure, not a refusal
    if "stream_options" in payload and _names(text, "stream_options"):
        return replace(dialect, stream_options=False)
    if dialect.asks_for_stream and _ABOUT_STREAM.search(text):
        return replace(dialect, streams=False)
    if "max_tokens" in payload and _names(text, "max_completion_tokens"):
        return replace(dialect, token_limit="max_completion_tokens")
    if _has_null_content(payload) and re.search(r"\bcontent\b", text):
        return replace(dialect, null_content=False)
    if request.json_format is not None and _refuses_format(payload, error):
        return _with_another_format(dialect, request.json_format, text)
    field = _refused_setting(payload, error)
    if field is not None:
        if not drop_settings:
            return None
        if not_known:
            return replace(dialect, unknown=dialect.unknown | {field})
        return replace(dialect, refused=dialect.refused | {field})
    if dialect.streams is None and isinstance(error, BadRequest):
        return replace(dialect, streams=False)  # no reason is given, and streaming is what a server may lack
    return None


def error_of_refusal(payload: dict[str, Any], error: ServiceError) -> SpcsError:
    """`error`, saying in LLM Mesh's words what of the query is refused, where that can be told."""
    if not isinstance(error, BadRequest):
        return error
    error_of_refusal = error.again()
    field = _refused_setting(payload, error)
    if _refuses_format(payload, error):
        error_of_refusal.message = (
            f"The service refuses the JSON output or schema ('responseFormat'). {error.message}"
        )
        error_of_refusal.hint = (
            "Simplify the schema, or set 'ifSupported' to go without where a service cannot do it."
        )
    elif field is not None:
        error_of_refusal.message = f"The service refuses the setting {SETTINGS[field]!r}. {error.message}"
        error_of_refusal.hint = (
            "Change it or leave it out, or let settings that the service refuses be dropped."
        )
    return error_of_refusal


def _with_another_format(dialect: Dialect, json_format: JsonFormat, text: str) -> Dialect | None:
    schema = json_format.schema
    if schema is not None:
        if dialect.schema_type == "json_schema" and "json_object" in text and not json_format.strict:
            return replace(dialect, schema_type="json_object")
        may_change = json_format.compatible is not False and not dialect.compatible_schema
        if may_change and compatible_schema(schema) != schema:
            return replace(dialect, compatible_schema=True)
    return replace(dialect, without_format=True) if json_format.if_supported else None


def _refused_setting(payload: dict[str, Any], error: ServiceError) -> str | None:
    """The sampling field of `payload` that the error names, if it does."""
    return next((field for field in SETTINGS if field in payload and _names(error.server_text, field)), None)


def _refuses_format(payload: dict[str, Any], error: ServiceError) -> bool:
    return "response_format" in payload and _ABOUT_FORMAT.search(error.server_text) is not None


def _names(text: str, field: str) -> bool:
    """Whether a text speaks of a JSON field. `stop` and `seed` are words, too: they count in quotes only."""
    if field in ("stop", "seed"):
        return re.search(rf"['\"`.]{field}['\"`]|: {field}$|{field}:", text) is not None
    return re.search(rf"(?<![A-Za-z_]){field}(?![A-Za-z_])", text) is not None


def _has_null_content(payload: dict[str, Any]) -> bool:
    return any(message["content"] is None for message in payload["messages"])
