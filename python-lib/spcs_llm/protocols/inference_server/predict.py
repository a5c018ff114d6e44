"""`POST /predict` of services that the earlier notebook deployed: a row's `inputs` in, its `outputs` back.

Server: snowflake-ml-python 1.0 to 1.5.4, `_deploy_client/image_builds/inference_server/main.py`. Sampling settings are
fixed when a model is logged: none can be sent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spcs_llm.domain import DEFAULT_EMBEDDING_SETTINGS, ChatAnswer, ChatRequest, EmbeddingSettings
from spcs_llm.errors import ServiceError, SpcsError
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.request import HttpRequest, max_body_of_vectors
from spcs_llm.protocol_choices import PREDICT, PROTOCOLS
from spcs_llm.protocols.base import ChatRow, EmbeddingRow, ServiceProtocol
from spcs_llm.protocols.inference_server.configured_template import Template, template_for
from spcs_llm.protocols.inference_server.embeddings import embeddings_of
from spcs_llm.protocols.inference_server.form_search import FormSearch
from spcs_llm.protocols.inference_server.generated_text import (
    Prompt,
    PromptEchoFilter,
    prompt_of,
    text_answers,
)
from spcs_llm.protocols.inference_server.refusals import is_about_form, name_column, wanted_column
from spcs_llm.protocols.inference_server.rows import map_rows, map_valid_rows, matched_rows, output_column
from spcs_llm.protocols.inference_server.text_queries import ignored_settings
from spcs_llm.query_context import QueryContext

if TYPE_CHECKING:
    from spcs_llm.settings import ProtocolSettings

_PATH = "/predict"
_INPUTS, _OUTPUTS = "inputs", "outputs"
_SENTENCES = "sentences"  # the column of a sentence-transformers model that is logged as it is


class PredictProtocol(ServiceProtocol):
    """Chats and embeddings at one endpoint, several rows a request. Thread-safe.

    Args:
        endpoint: The service.
        template: The chat template that prompts are made with.
        input_column: The name of the column that a query goes to; None for what the service turns out to take.
    """

    capabilities = PROTOCOLS[PREDICT].capabilities

    def __init__(self, endpoint: Endpoint, *, template: Template, input_column: str | None = None) -> None:
        self._endpoint = endpoint
        self._template = template
        self._input_column = input_column
        self._column = FormSearch(input_column or _INPUTS, lambda column: (column,))
        self._echo = PromptEchoFilter()

    @classmethod
    def of(cls, endpoint: Endpoint, settings: ProtocolSettings) -> PredictProtocol:
        return cls(endpoint, template=template_for(settings), input_column=settings.input_column)

    @classmethod
    def paths(cls, settings: ProtocolSettings) -> Mapping[str, Sequence[str]]:
        return {"chat": (_PATH,), "embed": (_PATH,)}

    def chat_rows(self, requests: Sequence[ChatRequest], context: QueryContext) -> list[ChatRow]:
        """Asks several chats in one request to the service.

        Such services do not tell why a model stopped, nor count tokens: "stop" is what is reported.

        Args:
            requests: The chats. They differ in their messages only.
            context: The time that is left, and the record of what is done.

        Returns:
            For each chat, in order, its answer or the error that is this chat's only.

        Raises:
            SpcsError: If an error is one of all chats.
        """
        prompts = map_rows(requests, lambda at, request: prompt_of(request, self._template))
        texts = map_valid_rows(prompts, lambda sound: self._texts(sound, requests[0], context))
        return map_rows(
            texts, lambda at, text: ChatAnswer(text, "stop", ignored_settings=ignored_settings(requests[at]))
        )

    def _texts(
        self, prompts: Sequence[Prompt], request: ChatRequest, context: QueryContext
    ) -> list[str | SpcsError]:
        contents = self._send([prompt.text for prompt in prompts], context, (_INPUTS,))
        outputs = map_rows(contents, lambda at, content: output_column(content, _OUTPUTS))
        return text_answers(outputs, prompts, request.sampling.stop_sequences, self._template, self._echo)

    def embed(
        self,
        texts: Sequence[str],
        context: QueryContext,
        settings: EmbeddingSettings = DEFAULT_EMBEDDING_SETTINGS,
    ) -> list[EmbeddingRow]:
        return embeddings_of(self._send(texts, context, (_INPUTS, _SENTENCES)), settings) if texts else []

    def _send(self, texts: Sequence[str], context: QueryContext, columns: Sequence[str]) -> list[Any]:
        """Sends texts, a row for each.

        Args:
            texts: The texts.
            context: The query that they are for.
            columns: The names of columns that are likely, where none is set. The likeliest comes first.

        Returns:
            The content of each text's row in the answer, in order; an error where a row is one.

        Raises:
            SpcsError: If the service takes the texts in no column, or the request fails.
        """

        def ask(column: str) -> list[Any]:
            payload = {"data": [[index, {column: text}] for index, text in enumerate(texts)]}
            http_request = HttpRequest(
                _PATH, payload, weight=len(texts), max_body=max_body_of_vectors(len(texts))
            )
            body = self._endpoint.send(http_request, context)
            return matched_rows(body, len(texts), payload)

        def next_column(refused: Sequence[str], left_out: Collection[str], error: SpcsError) -> str | None:
            if self._input_column or not is_about_form(error):
                return None
            likely = [wanted_column(error, refused[-1]), *columns]
            return next(
                (name for name in likely if name and name not in refused and name not in left_out), None
            )

        try:
            _, contents = self._column.ask(ask, next_column)
        except ServiceError as error:
            if self._input_column:
                name_column(error, self._input_column)
            raise
        return contents
