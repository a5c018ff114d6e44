"""What is asked of a model and what it answers: the types between LLM Mesh and the service protocols.

Neither side's JSON appears here. Fields that hold users' text, or models', stay out of every `repr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Union


@dataclass(frozen=True)
class TextPart:
    """A text in a message.

    Attributes:
        text: The text, as the query has it.
    """

    text: str = field(repr=False)


@dataclass(frozen=True)
class ImagePart:
    """An image in a message: either its data or its address.

    Attributes:
        data: The image as base64 text.
        mime_type: The MIME type of `data`, where the query names one.
        uri: The address of the image, where it has no `data`.
        detail: How closely the model is to look, in OpenAI's words; None leaves it to the service.
    """

    data: str | None = field(default=None, repr=False)
    mime_type: str | None = None
    uri: str | None = field(default=None, repr=False)
    detail: str | None = None


Part = Union[TextPart, ImagePart]

MAX_DIMENSIONS = (
    65_536  # of an embedding: more than any model has, and no more than a process can hold for many rows
)


@dataclass(frozen=True)
class ToolCall:
    """A call that a model asks for.

    Attributes:
        id: The call's id, by which its result names it.
        name: The tool's name.
        arguments: The text of a JSON object, as LLM Mesh has it.
    """

    id: str
    name: str
    arguments: str = field(repr=False)


@dataclass(frozen=True)
class ToolResult:
    """What a tool returned for a call.

    Attributes:
        call_id: The id of the call.
        output: The result, as text.
    """

    call_id: str
    output: str = field(repr=False)


@dataclass(frozen=True)
class Message:
    """One turn of a chat.

    Attributes:
        role: system, user, assistant or tool.
        parts: Its texts and images, in order.
        tool_calls: The calls that an assistant's turn asks for.
        tool_results: The results of calls, which only a tool's turn has.
    """

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
    """A function that the model may call.

    Attributes:
        name: The function's name.
        description: What the function does, for the model.
        parameters: The JSON schema of its arguments.
        strict: Whether the arguments must follow the schema; None leaves it to the service.
    """

    name: str
    description: str | None = field(default=None, repr=False)
    parameters: Mapping[str, Any] | None = field(default=None, repr=False)
    strict: bool | None = None


@dataclass(frozen=True)
class ToolChoice:
    """Which tool the model is to call, if any.

    Attributes:
        mode: auto, none, required or tool.
        name: The tool's name, where `mode` is tool.
    """

    mode: str
    name: str | None = None

    def forces(self, tool: str) -> bool:
        """Whether a call is demanded that may only be one of this tool, or of any that the query offers."""
        return self.mode == "required" or (self.mode == "tool" and self.name == tool)


@dataclass(frozen=True)
class JsonFormat:
    """The answer must be JSON.

    The flags are those of LLM Mesh's `responseFormat`. None stands for one that the query does not set.

    Attributes:
        schema: The JSON schema of the answer; None for any JSON object.
        strict: Whether the answer must follow the schema to the letter.
        compatible: Whether a schema that the service refuses may be simplified. Only False forbids it.
        if_supported: Whether a service that cannot write JSON may answer in text.
    """

    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    strict: bool | None = None
    compatible: bool | None = None
    if_supported: bool | None = None


@dataclass(frozen=True)
class Sampling:
    """Settings of a completion. None leaves a setting to the service.

    The names are LLM Mesh's, in snake case.

    Attributes:
        max_output_tokens: The most tokens that the model may write.
        temperature: How freely the model chooses each token; 0 takes the likeliest.
        top_p: The share of probability that tokens are chosen from, up to 1.
        top_k: The number of likeliest tokens that are chosen from.
        stop_sequences: Texts at which the model stops.
        frequency_penalty: Makes tokens less likely the more often they occur.
        presence_penalty: Makes tokens less likely once they occur.
        logit_bias: What is added to a token's logit, by the token's id as text.
        log_probs: Whether the answer has the log probabilities of its tokens.
        top_log_probs: The number of likeliest tokens to tell at each place.
        seed: Makes the choice of tokens repeatable.
    """

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
    """A chat query.

    Attributes:
        messages: The turns, in order.
        sampling: How the model is to write.
        tools: The functions that the model may call.
        tool_choice: Which of them it is to call; None leaves it to the service.
        json_format: The JSON that the answer must be; None for text.
        unknown_settings: The query's settings that no protocol knows, in LLM Mesh's words.
    """

    messages: tuple[Message, ...] = field(repr=False)
    sampling: Sampling = Sampling()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    json_format: JsonFormat | None = None
    unknown_settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class EmbeddingSettings:
    """What an embedding query asks besides its texts.

    Attributes:
        truncate: Whether a text that is too long for the model is to be cut to what it takes (LLM Mesh's
            `textOverflowMode` TRUNCATE). A protocol that cannot pass that on names `textOverflowMode` in
            `Embedding.ignored_settings`.
    """

    truncate: bool = False


DEFAULT_EMBEDDING_SETTINGS = EmbeddingSettings()


# Larger values are not real counts: some are -1 read as an unsigned number. Java programs read counts as integers of
# 32 bits.
LARGEST_COUNT = 2**31 - 1


@dataclass(frozen=True)
class Usage:
    """Token counts. None stands for a count that is not known.

    Attributes:
        prompt_tokens: The tokens of the request.
        completion_tokens: The tokens that the model wrote.
        total_tokens: The tokens of both.
        cached_tokens: Those of the request that the service had in its cache.
        reasoning_tokens: Those of the answer that are reasoning.
        estimated: Whether any count is an estimate, and not the service's own.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool = False


@dataclass(frozen=True)
class ChatAnswer:
    """A whole answer.

    Attributes:
        text: What the model says.
        finish_reason: Why the model stopped, in OpenAI's words (stop, length, tool_calls, content_filter), or None.
        usage: The token counts that the service gives.
        tool_calls: The calls that the model asks for.
        reasoning: What the model wrote before its answer, where the service distinguishes the two.
        log_probs: One dict a token, as in OpenAI's `logprobs.content`.
        ignored_settings: The query's settings, in LLM Mesh's words, that the service could not be given.
        model: The model that answered, in the service's words.
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
    """A piece of a tool call in a streamed answer.

    Attributes:
        index: The place of the call among those of the answer, from 0.
        id: The call's id, in the piece that has it.
        name: The tool's name, in the piece that has it.
        arguments: Continues the text of the pieces before.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = field(default="", repr=False)


@dataclass(frozen=True)
class ChatDelta:
    """A piece of a streamed answer, with any of these.

    Attributes:
        text: Continues what the model says.
        reasoning: Continues its reasoning.
        tool_calls: Pieces of tool calls.
        log_probs: One dict a token, as in OpenAI's `logprobs.content`.
    """

    text: str = field(default="", repr=False)
    reasoning: str = field(default="", repr=False)
    tool_calls: tuple[ToolCallDelta, ...] = ()
    log_probs: tuple[dict[str, Any], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class ChatEnd:
    """The end of a streamed answer: what only the end shows.

    Attributes:
        finish_reason: As in `ChatAnswer`.
        usage: The token counts that the service gives.
        ignored_settings: As in `ChatAnswer`.
        model: As in `ChatAnswer`.
    """

    finish_reason: str | None = None
    usage: Usage = Usage()
    ignored_settings: tuple[str, ...] = ()
    model: str | None = None


@dataclass(frozen=True)
class Embedding:
    """A text's vector.

    Attributes:
        vector: One number for each of the model's dimensions.
        prompt_tokens: The tokens of the text, where the service counts them.
        ignored_settings: As in `ChatAnswer`.
    """

    vector: list[float] = field(repr=False)
    prompt_tokens: int | None = None
    ignored_settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class RankedDocument:
    """A document's place in a ranking.

    Attributes:
        index: The place of the document in the query, from 0.
        score: How well it answers the query; higher is better. The scale is the model's.
    """

    index: int
    score: float


@dataclass(frozen=True)
class Ranking:
    """The documents of a query, the best first.

    Attributes:
        documents: The documents by falling score.
        usage: The token counts of the query.
    """

    documents: tuple[RankedDocument, ...]
    usage: Usage = Usage()
