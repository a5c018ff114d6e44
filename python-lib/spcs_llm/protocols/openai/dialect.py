"""How chat requests are put to a server: the ways in which servers of the OpenAI API differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from spcs_llm.domain import SAMPLING_SETTINGS

# JSON field -> field of Sampling
_FIELDS: Final = {
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop": "stop_sequences",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "logit_bias": "logit_bias",
    "top_logprobs": "top_log_probs",
    "logprobs": "log_probs",
    "seed": "seed",
}
SETTINGS: Final = {name: SAMPLING_SETTINGS[field] for name, field in _FIELDS.items()}

SchemaForm = Literal["json_schema", "json_object", "value"]
Demand = Literal["as asked", "by word", "by name"]


@dataclass(frozen=True)
class Dialect:
    """How to put a chat request. The defaults are OpenAI's own.

    Attributes:
        whole: The answer is asked for as one JSON object, not as a stream.
        stream_options: The stream is asked for its usage.
        token_limit: The field for the limit of output tokens.
        null_content: The content of an assistant turn that only calls tools is null; otherwise an empty text.
        schema_form: Where a JSON schema stands: under `json_schema`; beside the type `json_object`, as with
            llama-cpp-python; or as `value` of the type `json`, as with TGI.
        left_out: Fields of sampling settings that are not sent.
        folds_system: System messages stand at the beginning of the user's turn.
        joins_turns: Turns of one role in a row are one.
        short_ids: Ids of tool calls have nine letters and digits, as Mistral's templates demand.
        schema_of_any: JSON without a schema is asked for by the schema of any object.
        schema_without: Keywords that the JSON schema goes without, such as patterns and lengths.
        schema_closed: Objects of the JSON schema with known properties are closed, and all properties required.
        tools_without: Keywords that the schemas of tools go without.
        tools_of_one_type: Schemas of tools name one type where they allow that type or null.
        tools_tell_kinds: Schemas of tools name all kinds of value where they allow any.
        strict_tools: A tool that must be called is to be held to its schema.
        object_arguments: Arguments of calls in the history are objects, and not the text of one.
        empty_reasoning: Assistant turns of the history have an empty `reasoning_content`.
        plain_names: Tools have names that every server takes, where the query has others.
        tool_choice: The tool choice is sent. Without it, tools are not sent either where none may be called.
        demand: How a tool that must be called is demanded. By word, a named tool is the only one that is offered; by
            name, the only tool that is offered is named.
        named_results: The result of a tool has the tool's name beside it.
        offers_called: A query without tools offers those that were called before, of which none may be called.
        single_calls: A turn of the history has one call, and the call's result follows it.
        without_format: No JSON format is sent.
        images_of_users: Images of other turns stand at the beginning of the user's next turn.
        image_detail: How closely the model is to look at an image is sent, where the query says it.
    """

    whole: bool = False
    stream_options: bool = True
    token_limit: str = "max_tokens"
    null_content: bool = True
    schema_form: SchemaForm = "json_schema"
    left_out: frozenset[str] = frozenset()
    folds_system: bool = False
    joins_turns: bool = False
    short_ids: bool = False
    schema_of_any: bool = False
    schema_without: frozenset[str] = frozenset()
    schema_closed: bool = False
    tools_without: frozenset[str] = frozenset()
    tools_of_one_type: bool = False
    tools_tell_kinds: bool = False
    strict_tools: bool = True
    object_arguments: bool = False
    empty_reasoning: bool = False
    plain_names: bool = False
    tool_choice: bool = True
    demand: Demand = "as asked"
    named_results: bool = False
    offers_called: bool = False
    single_calls: bool = False
    without_format: bool = False
    images_of_users: bool = False
    image_detail: bool = True

    @property
    def asks_for_stream(self) -> bool:
        return not self.whole


# What a server may not be able to combine with something else.
_FEATURES: Final = ("tools", "tool_choice", "logprobs", "top_logprobs", "response_format")


def features_of(payload: dict[str, Any]) -> frozenset[str]:
    """What a request has that not every request has, and that servers may not be able to combine."""
    found: set[str] = {field for field in _FEATURES if field in payload}
    for message in payload["messages"]:
        if message.get("tool_calls"):
            found.add("calls")
        if message["role"] == "system":
            found.add("system")
        if isinstance(message["content"], list):
            found.add("images")
    return frozenset(found)
