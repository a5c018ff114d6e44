"""How a query is put to a model's method, which its signature says and a service does not tell.

Signatures (snowflake-ml-python, `snowflake/ml/model/openai_signatures.py` and `_signatures/utils.py`): chats are a
column `messages`, whose content is a list of parts or a string, with sampling as `params` (1.38 and later) or as
columns (1.12 to 1.37, or asked for), and from 2.6 on a param `model` that chooses an adapter; models without a chat
template take a prompt, `inputs`, with transformers' GenerationConfig as `params`; with 1.8.6 and a template `inputs`
were the messages. What is refused is put otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from spcs_llm.domain import ChatRequest, Message
from spcs_llm.errors import SpcsError
from spcs_llm.protocols.inference_server.generated_text import Prompt
from spcs_llm.protocols.inference_server.refusals import columns_named

MESSAGES = "messages"
_INPUTS = "inputs"
PARTS, STRING, PROMPT = "parts", "string", "prompt"
PARAMS, COLUMNS = "params", "columns"

DEFAULT_LIMIT = 250  # tokens, of `max_completion_tokens` as a param
# What the Python engine takes where the column is left empty (2.6.0, `huggingface/_openai_chat_wrapper.py`).
_LIMIT_AS_COLUMN = 1024
_SAMPLING = {
    "temperature": "temperature",
    "max_completion_tokens": "max_output_tokens",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
_GENERATION = {
    "max_new_tokens": "max_output_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
}
_COLUMN_DEFAULTS: dict[str, Any] = {
    "temperature": 1.0,
    "max_completion_tokens": _LIMIT_AS_COLUMN,
    "stop": None,
    "n": 1,
    "stream": False,
    "top_p": 1.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
}


@dataclass(frozen=True)
class ChatLayout:
    """One way to put a conversation to a model's method.

    Attributes:
        column: The name of the column that the conversation goes to.
        content: What its cell holds: messages whose content is a list of parts (`PARTS`) or a text (`STRING`), or one
            prompt instead (`PROMPT`).
        sampling: Where sampling settings go: to the `params` of the request (`PARAMS`) or to columns (`COLUMNS`).
    """

    column: str = MESSAGES
    content: str = PARTS
    sampling: str = PARAMS

    @property
    def is_chat(self) -> bool:
        return self.column == MESSAGES

    @property
    def columns(self) -> Collection[str]:
        """The columns and params by which an error may tell that the service does not take this layout."""
        return {self.column, MESSAGES, _INPUTS, *(_COLUMN_DEFAULTS if self.is_chat else _GENERATION)}

    @property
    def taken(self) -> Collection[str]:
        """The fields of Sampling that can be sent, and `json_format`."""
        if self.is_chat:
            return {*_SAMPLING.values(), "json_format"}
        return set(_GENERATION.values()) if self.content == PROMPT else ()

    def payload(
        self, requests: Sequence[ChatRequest], prompts: Sequence[Prompt], model: str | None = None
    ) -> dict[str, Any]:
        """Makes the JSON of a request.

        Args:
            requests: The conversations, whose settings are equal.
            prompts: Each conversation as one text, which is used where `content` is `PROMPT`.
            model: The adapter that is to answer. Signatures without `params` are older than adapters.

        Returns:
            The JSON, with a row for each conversation: `{"dataframe_split": {...}, "params": {...}}`.
        """
        if self.content == PROMPT:
            cells: list[Any] = [prompt.text for prompt in prompts]
        else:
            cells = [[self._message(message) for message in request.messages] for request in requests]
        params = self._params(requests)
        if self.sampling == COLUMNS:
            values = {**_COLUMN_DEFAULTS, **params}
            return split([self.column, *values], [[cell, *values.values()] for cell in cells])
        if model is not None and self.is_chat:
            params["model"] = model
        payload = split([self.column], [[cell] for cell in cells])
        return {**payload, "params": params} if params else payload

    def _message(self, message: Message) -> dict[str, Any]:
        # One part, whatever the query has: the Python engine makes a message of each.
        parts = [{"type": "text", "text": message.text}]
        return {"role": message.role, "content": parts if self.content == PARTS else message.text}

    def _params(self, requests: Sequence[ChatRequest]) -> dict[str, Any]:
        if self.is_chat:
            params = _asked(requests[0], _SAMPLING)
            stops = _stops_to_tell(requests)
            if stops:
                params["stop"] = stops
            if requests[0].json_format is not None:
                params["response_format"] = _response_format(requests[0])
            return params
        return _generation_params(requests[0]) if self.content == PROMPT else {}


def split(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Puts rows under named columns, in the shape that Snowflake recommends: pandas' `split`.

    Args:
        columns: The names of the columns.
        rows: A list of cells for each row, in the order of the columns.

    Returns:
        `{"dataframe_split": {"index": [0, ...], "columns": [...], "data": [[...], ...]}}`.
    """
    return {
        "dataframe_split": {"index": list(range(len(rows))), "columns": list(columns), "data": list(rows)}
    }


def _asked(request: ChatRequest, fields: dict[str, str]) -> dict[str, Any]:
    values = {name: getattr(request.sampling, field) for name, field in fields.items()}
    return {name: value for name, value in values.items() if value is not None}


def _generation_params(request: ChatRequest) -> dict[str, Any]:
    """The sampling settings as GenerationConfig has them: it refuses a temperature of 0, and samples only if told."""
    params = _asked(request, _GENERATION)
    if params.get("temperature") == 0:
        return {"do_sample": False, **_asked(request, {"max_new_tokens": "max_output_tokens"})}
    return {"do_sample": True, **params} if params.keys() - {"max_new_tokens"} else params


def _stops_to_tell(requests: Sequence[ChatRequest]) -> list[str]:
    """Stop sequences are applied to what is returned; telling them too saves tokens.

    The Python engine looks for them in the prompt as well, and would stop at the first token (2.6.0,
    `huggingface/_openai_chat_wrapper.py`): not told are those that a prompt holds, and blanks, which all formats do.

    Args:
        requests: The conversations of one request, whose settings are equal.

    Returns:
        The stop sequences to send.
    """
    said = [message.text for request in requests for message in request.messages]
    stops = requests[0].sampling.stop_sequences
    return [stop for stop in stops if stop.strip() and not any(stop in text for text in said)]


def _response_format(request: ChatRequest) -> dict[str, Any]:
    json_format = request.json_format
    if json_format is None or json_format.schema is None:
        return {"type": "json_object"}
    described: dict[str, Any] = {"name": "answer", "schema": dict(json_format.schema)}
    if json_format.strict is not None:
        described["strict"] = json_format.strict
    return {"type": "json_schema", "json_schema": described}


# -- what to try when a layout is refused -------------------------------------------------------------------


def chat_layouts(input_column: str | None) -> list[ChatLayout]:
    """Lists the layouts that a model may take.

    Args:
        input_column: The column in the model's settings; None for any.

    Returns:
        The layouts, the likeliest first.
    """
    chat = [
        ChatLayout(MESSAGES, content, sampling)
        for sampling in (PARAMS, COLUMNS)
        for content in (PARTS, STRING)
    ]
    if input_column == MESSAGES:
        return chat
    column = input_column or _INPUTS
    texts = [ChatLayout(column, PROMPT), ChatLayout(column, STRING)]
    return texts if input_column else chat + texts


def next_layout(
    layouts: Iterable[ChatLayout],
    refused: Sequence[ChatLayout],
    left_out: Collection[ChatLayout],
    error: SpcsError,
) -> ChatLayout | None:
    """Chooses the likeliest other layout, by what the last one was refused for.

    Args:
        layouts: All layouts, the likeliest first.
        refused: The layouts that were refused, in the order in which they were tried. There is at least one.
        left_out: Layouts that are not to be tried besides these.
        error: The refusal of the last one.

    Returns:
        The layout; None if none is left.
    """
    last = refused[-1]
    left = [layout for layout in layouts if layout not in refused and layout not in left_out]
    named = [name for name in columns_named(error) if name != last.column]
    if any(name in _COLUMN_DEFAULTS for name in named):
        likely = [layout for layout in left if layout.sampling == COLUMNS and layout.content == last.content]
    elif named:
        likely = [layout for layout in left if layout.column in named]
    else:
        likely = [
            layout for layout in left if layout.column == last.column and layout.sampling == last.sampling
        ]
    return next(iter(likely + left), None)
