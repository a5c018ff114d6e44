"""Services of Snowflake's Model Registry, as `ModelVersion.create_service` deploys them: a path for each method.

Snowflake documentation, "Real-time inference REST API"; the deployment tests of snowflake-ml-python (July 2026). How
a query must be put depends on the model's signature: that is learned from the first refusals, and remembered.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spcs_llm.domain import DEFAULT_EMBEDDING_SETTINGS, ChatAnswer, ChatRequest, EmbeddingSettings
from spcs_llm.errors import ModelError, ServiceError, SpcsError
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.protocol_choices import MODEL_SERVING, PROTOCOLS
from spcs_llm.protocols.base import ChatRow, EmbeddingRow, ServiceProtocol
from spcs_llm.protocols.inference_server.chat_layout import (
    COLUMNS,
    DEFAULT_LIMIT,
    PARAMS,
    PROMPT,
    ChatLayout,
    chat_layouts,
    next_layout,
    split,
)
from spcs_llm.protocols.inference_server.configured_template import Template, template_for
from spcs_llm.protocols.inference_server.embeddings import embeddings_of
from spcs_llm.protocols.inference_server.form_search import FormSearch
from spcs_llm.protocols.inference_server.generated_text import (
    Prompt,
    PromptEchoFilter,
    prompt_of,
    text_answers,
    truncate_at_stop,
)
from spcs_llm.protocols.inference_server.method import Method, paths_of
from spcs_llm.protocols.inference_server.refusals import columns_named, is_about_form, name_column
from spcs_llm.protocols.inference_server.rows import (
    map_rows,
    map_valid_rows,
    matched_rows,
    output_column,
    parsed_json,
)
from spcs_llm.protocols.inference_server.text_queries import ignored_settings
from spcs_llm.protocols.missing_paths import names_its_reason
from spcs_llm.protocols.openai.answer import AnswerReader
from spcs_llm.protocols.reply_errors import unexpected_reply
from spcs_llm.protocols.unsupported import refuse_json
from spcs_llm.query_context import QueryContext
from spcs_llm.sharing.learned import Learned

if TYPE_CHECKING:
    from spcs_llm.settings import ProtocolSettings

_CHAT, _ENCODE = "__call__", "encode"
_SENTENCE = "sentence"  # the column of huggingface.SentenceTransformer
_BY_PLACE = ""  # in place of a column's name: the service is to take its only column, whatever that is called
_OUTPUTS = ("outputs", "generated_text")


class ModelServingProtocol(ServiceProtocol):
    """Chats and embeddings at one endpoint, several rows a request. Thread-safe.

    Args:
        endpoint: The service.
        template: The chat template for models that take a prompt.
        model: The alias of the adapter that is to answer chats; None for the base model.
        method: The name of the model's method; None for `__call__` of chats and `encode` of embeddings.
        input_column: The name of the column that a query goes to; None for what the service turns out to take.
    """

    capabilities = PROTOCOLS[MODEL_SERVING].capabilities

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        template: Template,
        model: str | None = None,
        method: str | None = None,
        input_column: str | None = None,
    ) -> None:
        self._template = template
        self._model = model
        self._chat = Method(endpoint, method or _CHAT)
        self._encode = Method(endpoint, method or _ENCODE)
        self._input_column = input_column
        self._layouts = chat_layouts(input_column)
        self._layout = FormSearch(self._layouts[0], lambda layout: layout.columns)
        self._may_want_columns = Learned(True)
        self._embedding_columns = [input_column] if input_column else [_SENTENCE, _BY_PLACE]
        self._embedding_column = FormSearch(self._embedding_columns[0], lambda column: (column,))
        self._echo = PromptEchoFilter()

    @classmethod
    def of(cls, endpoint: Endpoint, settings: ProtocolSettings) -> ModelServingProtocol:
        return cls(
            endpoint,
            template=template_for(settings),
            model=settings.model_name,
            method=settings.method_name,
            input_column=settings.input_column,
        )

    @classmethod
    def paths(cls, settings: ProtocolSettings) -> Mapping[str, Sequence[str]]:
        return {
            "chat": paths_of(settings.method_name or _CHAT),
            "embed": paths_of(settings.method_name or _ENCODE),
        }

    def chat_rows(self, requests: Sequence[ChatRequest], context: QueryContext) -> list[ChatRow]:
        if not requests:
            return []
        layout, answers = self._ask_in_some_layout(requests, context)
        limit = requests[0].sampling.max_output_tokens
        if (
            layout.is_chat
            and layout.sampling == PARAMS
            and self._may_want_columns.value
            and _exceeded(answers, limit)
        ):
            self._may_want_columns.learn(False)  # params that a signature has not are ignored in silence
            answers = self._ask_with_columns(requests, layout, context) or answers
        return [_limit_named(answer, limit) for answer in answers]

    def embed(
        self,
        texts: Sequence[str],
        context: QueryContext,
        settings: EmbeddingSettings = DEFAULT_EMBEDDING_SETTINGS,
    ) -> list[EmbeddingRow]:
        if not texts:
            return []
        try:
            _, rows = self._embedding_column.ask(
                lambda column: self._embed(texts, column, context, settings), self._next_embedding_column
            )
        except ServiceError as error:
            self._name_column(error)
            raise
        return rows

    def _next_embedding_column(
        self, refused: Sequence[str], left_out: Collection[str], error: SpcsError
    ) -> str | None:
        if self._input_column:
            return None
        named = columns_named(error)[:1] if is_about_form(error) else []
        columns = [*named, *self._embedding_columns]
        return next((column for column in columns if column not in refused and column not in left_out), None)

    def _name_column(self, error: SpcsError) -> None:
        if self._input_column:
            name_column(error, self._input_column)

    def _embed(
        self, texts: Sequence[str], column: str, context: QueryContext, settings: EmbeddingSettings
    ) -> list[EmbeddingRow]:
        if column == _BY_PLACE:
            payload: Any = {"data": [[index, text] for index, text in enumerate(texts)]}
        else:
            payload = split([column], [[text] for text in texts])
        body = self._encode.send(payload, len(texts), context)
        return embeddings_of(matched_rows(body, len(texts), payload), settings)

    # -- chats ------------------------------------------------------------------------------------------------

    def _ask_in_some_layout(
        self, requests: Sequence[ChatRequest], context: QueryContext
    ) -> tuple[ChatLayout, list[ChatRow]]:
        def next_one(
            refused: Sequence[ChatLayout], left_out: Collection[ChatLayout], error: SpcsError
        ) -> ChatLayout | None:
            layouts = [*self._layouts, *_prompts_in(columns_named(error), self._layouts)]
            return next_layout(layouts, refused, left_out, error)

        try:
            return self._layout.ask(lambda layout: self._ask(requests, layout, context), next_one)
        except ServiceError as error:
            self._name_column(error)
            if self._model and error.status == 404 and names_its_reason(error):
                error.hint = (
                    f"Correct 'Model name', which is '{self._model}', to the alias of an adapter of the service, or"
                    " leave it empty for the base model."
                )
            raise

    def _ask_with_columns(
        self, requests: Sequence[ChatRequest], layout: ChatLayout, context: QueryContext
    ) -> list[ChatRow] | None:
        layout = replace(layout, sampling=COLUMNS)
        try:
            answers = self._ask(requests, layout, context)
        except ServiceError:
            return None
        if _exceeded(answers, requests[0].sampling.max_output_tokens):
            return None
        self._layout.learn(layout)
        return answers

    def _ask(
        self, requests: Sequence[ChatRequest], layout: ChatLayout, context: QueryContext
    ) -> list[ChatRow]:
        asked = map_rows(requests, lambda at, request: self._asked(request, layout))
        return map_valid_rows(asked, lambda sound: self._send(sound, layout, context))

    def _asked(self, request: ChatRequest, layout: ChatLayout) -> tuple[ChatRequest, Prompt]:
        if not layout.is_chat:
            refuse_json(request)
        # transformers puts the begin-of-text token before a prompt by itself.
        prompt = prompt_of(request, self._template, bos=False) if layout.content == PROMPT else Prompt("")
        return request, prompt

    def _send(
        self, asked: Sequence[tuple[ChatRequest, Prompt]], layout: ChatLayout, context: QueryContext
    ) -> list[ChatRow]:
        requests, prompts = [request for request, _ in asked], [prompt for _, prompt in asked]
        payload = layout.payload(requests, prompts, self._model)
        body = self._chat.send(payload, len(asked), context)
        contents = matched_rows(body, len(asked), payload)
        ignored = ignored_settings(requests[0], layout.taken)
        if any(isinstance(content, Mapping) and "choices" in content for content in contents):
            return map_rows(
                contents, lambda at, content: _completion(content, requests[at], payload, layout, ignored)
            )
        outputs = map_rows(contents, lambda at, content: output_column(content, *_OUTPUTS))
        stops = requests[0].sampling.stop_sequences
        texts = text_answers(outputs, prompts, stops, self._template, self._echo)
        return map_rows(texts, lambda at, text: ChatAnswer(text, "stop", ignored_settings=ignored))


def _prompts_in(columns: Sequence[str], layouts: Sequence[ChatLayout]) -> list[ChatLayout]:
    """The layouts of prompts for columns that an error names, if any column will do."""
    known = {layout.column for layout in layouts}
    return [ChatLayout(name, PROMPT) for name in columns if name not in known] if len(known) > 1 else []


def _completion(
    content: Any, request: ChatRequest, payload: Any, layout: ChatLayout, ignored: tuple[str, ...]
) -> ChatAnswer:
    """Reads the answer in a row of OpenAI's columns.

    Args:
        content: The row. Its `choices` may be JSON in a text.
        request: The chat.
        payload: The JSON of the request, which no error may quote.
        layout: The layout in which the chat was put.
        ignored: The settings that the layout cannot carry, in LLM Mesh's words.

    Returns:
        The answer.

    Raises:
        SpcsError: If the row is not a chat completion, reports an error, or has no JSON although the chat asks for it.
    """
    if not isinstance(content, Mapping) or "choices" not in content:
        raise unexpected_reply(
            "One row of the service's answer is not a chat completion, although others are."
        )
    choices = content["choices"]
    completion = {**content, "choices": parsed_json(choices) if isinstance(choices, str) else choices}
    reader = AnswerReader(request, payload, ignored)
    collections.deque(reader.deltas_of_body(completion), maxlen=0)
    answer = reader.answer()
    text = truncate_at_stop(answer.text, request.sampling.stop_sequences)
    if text != answer.text:
        return replace(answer, text=text, finish_reason="stop")
    limit = request.sampling.max_output_tokens or (DEFAULT_LIMIT if layout.sampling == PARAMS else None)
    if answer.finish_reason == "stop" and limit and answer.usage.completion_tokens == limit:
        answer = replace(answer, finish_reason="length")  # the Python engine says "stop" whatever the reason
    return _held_to_json(answer, request)


def _held_to_json(answer: ChatAnswer, request: ChatRequest) -> ChatAnswer:
    """Engines without structured output, and signatures older than 1.45, ignore `response_format` in silence."""
    wanted = request.json_format
    if wanted is None or answer.finish_reason == "length" or _is_json(answer.text):
        return answer
    if wanted.if_supported:
        return replace(answer, ignored_settings=(*answer.ignored_settings, "responseFormat"))
    raise ModelError(
        "The query asks for JSON, but the service did not make its model write JSON.",
        "Log the model with snowflake-ml-python 1.45 or later and serve it with vLLM, or set 'ifSupported' to"
        " accept prose from a service that cannot do it.",
    )


def _is_json(text: str) -> bool:
    return parsed_json(text) is not None


def _exceeded(answers: Sequence[ChatAnswer | SpcsError], limit: int | None) -> bool:
    """Whether an answer shows that the limit did not arrive: it is longer, or ends at the service's default."""
    return any(isinstance(answer, ChatAnswer) and _exceeds(answer, limit) for answer in answers)


def _exceeds(answer: ChatAnswer, limit: int | None) -> bool:
    tokens = answer.usage.completion_tokens
    if limit is None or tokens is None:
        return False
    return tokens > limit or (answer.finish_reason == "length" and tokens == DEFAULT_LIMIT < limit)


def _limit_named(answer: ChatAnswer | SpcsError, limit: int | None) -> ChatAnswer | SpcsError:
    if isinstance(answer, SpcsError) or not _exceeds(answer, limit):
        return answer
    return replace(answer, ignored_settings=("maxOutputTokens", *answer.ignored_settings))
