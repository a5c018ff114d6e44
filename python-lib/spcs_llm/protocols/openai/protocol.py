"""The OpenAI API as vLLM, TGI, Ollama, llama.cpp, NIM and Text Embeddings Inference serve it.

These servers differ in what they take. A request begins as OpenAI's own; what a server refuses is put another
way, and that is remembered. Chats are streamed upstream even for a caller who wants the whole answer: bytes
that flow keep Snowflake's ingress from cutting after 90 s of silence (Snowflake documentation, "Service
network communications").
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Callable, TypeVar, Union

from spcs_llm.domain import (
    DEFAULT_EMBEDDING_SETTINGS,
    ChatAnswer,
    ChatDelta,
    ChatEnd,
    ChatRequest,
    EmbeddingSettings,
    Ranking,
)
from spcs_llm.errors import BadRequest, NotFound, ServiceError, SpcsError
from spcs_llm.http.endpoint import Endpoint, HttpRequest, Stream
from spcs_llm.protocols.base import Capabilities, Pieces, ServiceProtocol
from spcs_llm.protocols.openai import rerank as openai_rerank
from spcs_llm.protocols.openai.answer import AnswerReader
from spcs_llm.protocols.openai.dialect import Dialect, error_of_refusal, next_dialect
from spcs_llm.protocols.openai.embeddings import Row, came_as_base64, embeddings_payload, read_embeddings
from spcs_llm.protocols.openai.models import ServedModels
from spcs_llm.protocols.openai.request import chat_payload, ignored_settings
from spcs_llm.query_context import QueryContext

if TYPE_CHECKING:
    from spcs_llm.settings import ProtocolSettings

_CHAT = "/v1/chat/completions"
_EMBEDDINGS = "/v1/embeddings"

T = TypeVar("T")
Piece = Union[ChatDelta, ChatEnd]


class OpenAIProtocol(ServiceProtocol):
    """Chats, embeddings and reranking at one endpoint. Thread-safe.

    model: the served model's name, or None for the first that the server lists.
    drop_refused_settings: whether sampling settings that the server refuses are left out; answers name them.
    """

    # These engines batch chats by themselves.
    capabilities = Capabilities(
        reranks=True, streams=True, tools=True, images=True, json_output=True, parallelism=8
    )

    def __init__(
        self, endpoint: Endpoint, *, model: str | None = None, drop_refused_settings: bool = False
    ) -> None:
        self._endpoint = endpoint
        self._models = ServedModels(endpoint, model)
        self._drop_refused_settings = drop_refused_settings
        self._dialect = Dialect()
        self._takes_base64: bool | None = None
        self._rerank_request = openai_rerank.cohere_request
        self._has_answered = False

    @classmethod
    def of(cls, endpoint: Endpoint, settings: ProtocolSettings) -> OpenAIProtocol:
        return cls(endpoint, model=settings.model_name, drop_refused_settings=settings.drop_refused_settings)

    def chat(self, request: ChatRequest, context: QueryContext) -> ChatAnswer:

        def ask(http_request: HttpRequest, dialect: Dialect) -> ChatAnswer:
            def read(stream: Stream) -> ChatAnswer:
                reader = _reader(request, http_request, dialect)
                collections.deque(reader.deltas(stream.chunks()), maxlen=0)
                stream.done()
                return reader.answer()

            return self._endpoint.read(http_request, context, read)

        return self._ask(request, context, ask)

    def stream(self, request: ChatRequest, context: QueryContext) -> Pieces:
        def begin(http_request: HttpRequest, dialect: Dialect) -> tuple[Piece, Pieces]:
            pieces = self._pieces(request, http_request, dialect, context)
            return next(pieces), pieces

        first, rest = self._ask(request, context, begin)
        with contextlib.closing(rest):
            yield first
            yield from rest

    def embed(
        self,
        texts: Sequence[str],
        context: QueryContext,
        settings: EmbeddingSettings = DEFAULT_EMBEDDING_SETTINGS,
    ) -> list[Row]:
        if not texts:
            return []
        model = self._models.name(context)
        known = self._takes_base64
        try:
            return self._embed(texts, model, context, as_base64=known is not False)
        except ServiceError as error:
            if known is False or not _may_refuse_base64(error, known):
                raise self._checked_for_model(error, context) from None
        try:
            rows = self._embed(texts, model, context, as_base64=False)
        except ServiceError as error:
            raise self._checked_for_model(error, context) from None
        self._takes_base64 = False
        return rows

    def rerank(self, query: str, documents: Sequence[str], context: QueryContext) -> Ranking:
        if not documents:
            return Ranking(())
        model = self._models.name(context)
        request = self._rerank_request
        try:
            try:
                return self._rerank(request(query, documents, model), len(documents), context)
            except ServiceError as error:
                if request is openai_rerank.tei_request or not _has_no_such_path(error):
                    raise
            ranking = self._rerank(
                openai_rerank.tei_request(query, documents, model), len(documents), context
            )
        except ServiceError as error:
            raise self._checked_for_model(error, context) from None
        self._rerank_request = openai_rerank.tei_request
        return ranking

    # -- chats: one request after the other until the server takes one ------------------------------------

    def _ask(
        self, request: ChatRequest, context: QueryContext, exchange: Callable[[HttpRequest, Dialect], T]
    ) -> T:
        model = self._models.name(context)
        before = dialect = self._dialect
        while True:
            payload = chat_payload(request, dialect, model)
            try:
                result = exchange(HttpRequest(_CHAT, payload), dialect)
                break
            except ServiceError as error:
                other = next_dialect(
                    dialect, request, payload, error, drop_settings=self._drop_refused_settings
                )
                if other is None:
                    raise self._checked_for_model(error_of_refusal(payload, error), context) from None
                dialect = other
        if dialect.asks_for_stream:
            dialect = replace(dialect, streams=True)
        lessons = dialect.lessons_since(before)
        if lessons:
            self._dialect = replace(self._dialect, **lessons)
        self._has_answered = True
        return result

    def _pieces(
        self, request: ChatRequest, http_request: HttpRequest, dialect: Dialect, context: QueryContext
    ) -> Pieces:
        def begin(stream: Stream) -> tuple[Stream, AnswerReader, list[ChatDelta], Iterator[ChatDelta]]:
            reader = _reader(request, http_request, dialect)
            deltas = reader.deltas(stream.chunks())
            return stream, reader, list(itertools.islice(deltas, 1)), deltas

        stream, reader, first, rest = self._endpoint.open(http_request, context, begin)
        with stream:
            yield from first
            yield from rest
            stream.done()  # before the end is told, so that it can tell what the call cost
        yield reader.end()

    # -- embeddings and reranking -------------------------------------------------------------------------

    def _embed(
        self, texts: Sequence[str], model: str | None, context: QueryContext, *, as_base64: bool
    ) -> list[Row]:
        payload = embeddings_payload(texts, model, as_base64=as_base64)
        body = self._endpoint.send(HttpRequest(_EMBEDDINGS, payload, weight=len(texts)), context)
        rows = read_embeddings(body, len(texts), payload)
        if as_base64:
            self._takes_base64 = came_as_base64(body)
        self._has_answered = True
        return rows

    def _rerank(self, http_request: HttpRequest, count: int, context: QueryContext) -> Ranking:
        ranking = openai_rerank.read_ranking(
            self._endpoint.send(http_request, context), count, http_request.payload
        )
        self._has_answered = True
        return ranking

    # -- errors -------------------------------------------------------------------------------------------

    def _checked_for_model(self, error: SpcsError, context: QueryContext) -> SpcsError:
        """`error`, or that the model is unknown, if that may be it and is."""
        if isinstance(error, NotFound):
            self._models.forget()
        elif self._has_answered or error.status not in (400, 422, 500):
            return error
        return self._models.checked_for_model(error, context)


def _reader(request: ChatRequest, http_request: HttpRequest, dialect: Dialect) -> AnswerReader:
    return AnswerReader(request, http_request.payload or {}, ignored_settings(request, dialect))


def _has_no_such_path(error: ServiceError) -> bool:
    return isinstance(error, NotFound) or error.status in (405, 501)


def _may_refuse_base64(error: ServiceError, takes_base64: bool | None) -> bool:
    if re.search("encoding_format|base64", error.server_text):
        return True
    return isinstance(error, BadRequest) and takes_base64 is None  # it may be the reason, if none is given
