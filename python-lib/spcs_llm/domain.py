"""What is asked of a model and what it answers: the types between LLM Mesh and the service protocols.

Neither side's JSON appears here. Fields that hold users' text, or models', stay out of every `repr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Union


@dataclass(frozen=True)
class TextPart:
    text: str = field(repr=False)


@dataclass(frozen=True)
class ImagePart:
    """An image: either `data` (base64 text) with its MIME type where the query names one, or a `uri`."""

    data: str | None = field(default=None, repr=False)
    mime_type: str | None = None
    uri: str | None = field(default=None, repr=False)


Part = Union[TextPart, ImagePart]

MAX_DIMENSIONS = (
    65_536  # of an embedding: more than any model has, and no more than a process can hold for many rows
)


@dataclass(frozen=True)
class ToolCall:
    """A call that a model asks for. `arguments` is the text of a JSON object, as LLM Mesh has it."""

    id: str
    name: str
    arguments: str = field(repr=False)


@dataclass(frozen=True)
class ToolResult:
    call_id: str
    output: str = field(repr=False)


@dataclass(frozen=True)
class Message:
    """One turn. `role` is system, user, assistant or tool; only a tool turn has `tool_results`."""

    role: str
    parts: tuple[Part, ...] = field(default=(), repr=False)
    tool_calls: tuple[ToolCall, ...] = ()
    tool_results: tuple[ToolResult, ...] = ()

    @property
    def text(self) -> str:
        """The text parts, joined as they stand."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def has_images(self) -> bool:
        return any(isinstance(part, ImagePart) for part in self.parts)


@dataclass(frozen=True)
class Tool:
    """A function the model may call. `parameters` is its JSON schema."""

    name: str
    description: str | None = field(default=None, repr=False)
    parameters: Mapping[str, Any] | None = field(default=None, repr=False)
    strict: bool | None = None


@dataclass(frozen=True)
class ToolChoice:
    """`mode` is auto, none, required or tool; `name` is the tool's for the last one."""

    mode: str
    name: str | None = None


@dataclass(frozen=True)
class JsonFormat:
    """The answer must be JSON, of `schema` where there is one (flags as in LLM Mesh's `responseFormat`)."""

    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    strict: bool | None = None
    compatible: bool | None = None
    if_supported: bool | None = None


@dataclass(frozen=True)
class Sampling:
    """Completion settings; None leaves a setting to the service. Names: LLM Mesh's, in snake case."""

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: tuple[str, ...] = field(default=(), repr=False)
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: Mapping[str, float] | None = None
    log_probs: bool | None = None
    top_log_probs: int | None = None
    seed: int | None = None


def _in_camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


# How LLM Mesh names the fields of Sampling. A protocol has a table of its own words for the fields, and of no others.
SAMPLING_SETTINGS: Mapping[str, str] = {
    setting.name: _in_camel_case(setting.name) for setting in fields(Sampling)
}


@dataclass(frozen=True)
class ChatRequest:
    """A chat query. `unknown_settings` names those of its settings that no protocol knows, in LLM Mesh's words."""

    messages: tuple[Message, ...] = field(repr=False)
    sampling: Sampling = Sampling()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    json_format: JsonFormat | None = None
    unknown_settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class EmbeddingSettings:
    """What an embedding query asks besides its texts.

    truncate: whether a text that is too long for the model is to be cut to what it takes (`textOverflowMode` TRUNCATE).
    A protocol that cannot pass that on names `textOverflowMode` in `Embedding.ignored_settings`.
    """

    truncate: bool = False


DEFAULT_EMBEDDING_SETTINGS = EmbeddingSettings()


@dataclass(frozen=True)
class Usage:
    """Token counts; None where unknown. `estimated` says that they are not the service's own."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool = False


@dataclass(frozen=True)
class ChatAnswer:
    """A whole answer. `finish_reason` is in OpenAI's words (stop, length, tool_calls, content_filter) or None.

    `log_probs` holds one dict a token, as OpenAI's `logprobs.content`. `ignored_settings` names the settings of the
    query, in LLM Mesh's words, that the service could not be given.
    """

    text: str = field(repr=False)
    finish_reason: str | None = None
    usage: Usage = Usage()
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str | None = field(default=None, repr=False)
    log_probs: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    ignored_settings: tuple[str, ...] = ()
    model: str | None = None


@dataclass(frozen=True)
class ToolCallDelta:
    """A piece of the tool call at `index`; `arguments` continues what came before."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = field(default="", repr=False)


@dataclass(frozen=True)
class ChatDelta:
    """A piece of a streamed answer: any of text, reasoning, tool calls and log probs."""

    text: str = field(default="", repr=False)
    reasoning: str = field(default="", repr=False)
    tool_calls: tuple[ToolCallDelta, ...] = ()
    log_probs: tuple[dict[str, Any], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class ChatEnd:
    """The end of a streamed answer: what only the end tells."""

    finish_reason: str | None = None
    usage: Usage = Usage()
    ignored_settings: tuple[str, ...] = ()
    model: str | None = None


@dataclass(frozen=True)
class Embedding:
    """A text's vector. `ignored_settings` as in `ChatAnswer`."""

    vector: list[float] = field(repr=False)
    prompt_tokens: int | None = None
    ignored_settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class RankedDocument:
    index: int
    score: float


@dataclass(frozen=True)
class Ranking:
    """Documents by falling score; `index` is the place of a document in the query."""

    documents: tuple[RankedDocument, ...]
    usage: Usage = Usage()
