"""Chats: put one way after the other until the server takes one, and asked for whole where a stream is of no use."""

from __future__ import annotations

import collections
import contextlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Callable, Final, Optional, TypeVar, Union

from spcs_llm.domain import ChatAnswer, ChatDelta, ChatEnd, ChatRequest
from spcs_llm.errors import ModelError, NetworkError, ServiceError, SpcsError
from spcs_llm.http.attempt import Stream
from spcs_llm.http.request import HttpRequest
from spcs_llm.protocols.base import Pieces
from spcs_llm.protocols.openai.answer import AnswerReader
from spcs_llm.protocols.openai.dialect import Dialect, features_of
from spcs_llm.protocols.openai.growing_answer import Watch
from spcs_llm.protocols.openai.hints import explained
from spcs_llm.protocols.openai.lessons import Lesson
from spcs_llm.protocols.openai.obedience import is_json
from spcs_llm.protocols.openai.refusals import Refusals
from spcs_llm.protocols.openai.request import chat_payload, check_request, ignored_settings
from spcs_llm.protocols.openai.server import Server
from spcs_llm.protocols.openai.useless_streams import EmptyStream, UselessStream
from spcs_llm.query_context import QueryContext

T = TypeVar("T")
Piece = Union[ChatDelta, ChatEnd]
Read = tuple[ChatAnswer, Optional[str]]  # and what it lacks that the whole answer may have

_PATH: Final = "/v1/chat/completions"
_MOST_ATTEMPTS: Final = 8
# Behind a finish reason that may be one of many. A server that thinks on for longer than this has lost its answer.
_LONG_GRACE_SECONDS: Final = 30.0


class Chats:
    """Chats at one endpoint. Thread-safe.

    Chats are streamed upstream even for a caller who wants the whole answer: bytes that flow keep Snowflake's ingress
    from cutting after 90 s of silence (Snowflake documentation, "Service network communications").

    Args:
        server: The server, and what is known of it.
        drop_refused_settings: Whether sampling settings that the server refuses are left out; answers name them.
    """

    def __init__(self, server: Server, *, drop_refused_settings: bool) -> None:
        self._server = server
        self._lessons = server.lessons
        self._drop_refused_settings = drop_refused_settings

    def answer(self, request: ChatRequest, context: QueryContext) -> ChatAnswer:
        """Asks for an answer and reads it to its end.

        Args:
            request: What is asked.
            context: The query that it is for.

        Returns:
            The whole answer.

        Raises:
            SpcsError: If no way to put the request brings an answer within the query's time, or the answer is not JSON
                though the query demands JSON.
        """

        def ask(http_request: HttpRequest, dialect: Dialect, refusals: Refusals) -> Read:
            def read(stream: Stream) -> Read:
                reader = _reader(request, http_request, dialect, stream, context)
                with refusals.reading():
                    collections.deque(reader.deltas(stream.chunks()), maxlen=0)
                stream.done()
                return reader.answer(), reader.lacks()

            return self._server.endpoint.read(http_request, context, read)

        (answer, lacks), dialect = self._ask(request, context, ask)
        if lacks is not None and dialect.asks_for_stream and self._lessons.is_worth_asking_whole(lacks):
            answer = self._completed(answer, lacks, request, dialect, context, ask)
        return _held_to_json(answer, request)

    def pieces(self, request: ChatRequest, context: QueryContext) -> Pieces:
        """The answer as it comes. Closing the iterator closes the connection.

        Args:
            request: What is asked.
            context: The query that it is for.

        Yields:
            Deltas, then one end.

        Raises:
            SpcsError: If no way to put the request brings an answer within the query's time, or the answer stops before
                its end. After the first delta nothing is tried again.
        """

        def begin(http_request: HttpRequest, dialect: Dialect, refusals: Refusals) -> tuple[Piece, Pieces]:
            pieces = self._pieces(request, http_request, dialect, refusals, context)
            return next(pieces), pieces

        (first, rest), _ = self._ask(request, context, begin)
        with contextlib.closing(rest):
            yield first
            yield from rest

    def _pieces(
        self,
        request: ChatRequest,
        http_request: HttpRequest,
        dialect: Dialect,
        refusals: Refusals,
        context: QueryContext,
    ) -> Pieces:
        def begin(stream: Stream) -> tuple[Stream, AnswerReader, list[ChatDelta], Iterator[ChatDelta]]:
            reader = _reader(request, http_request, dialect, stream, context)
            deltas = reader.deltas(stream.chunks())
            with refusals.reading():
                first = list(itertools.islice(deltas, 1))
                self._check_calls(reader, dialect)
            return stream, reader, first, deltas

        stream, reader, first, rest = self._server.endpoint.open(http_request, context, begin)
        with stream:
            yield from first
            yield from rest
            stream.done()  # before the end is told, so that it can tell what the call cost
        yield reader.end()

    def _check_calls(self, reader: AnswerReader, dialect: Dialect) -> None:
        """Refuses a stream whose text waited until its end for a call that the server left in it."""
        lacks = "calls in the text"
        if reader.lacks() != lacks or not self._lessons.is_worth_asking_whole(lacks):
            return
        if dialect.asks_for_stream:
            raise UselessStream("The service leaves the model's call in the text of its answer.")
        self._lessons.whole_lacks(lacks)

    # -- one request after the other ------------------------------------------------------------------------

    def _ask(
        self,
        request: ChatRequest,
        context: QueryContext,
        exchange: Callable[[HttpRequest, Dialect, Refusals], T],
    ) -> tuple[T, Dialect]:
        check_request(request)
        return self._server.ask(
            context, "chat", lambda model: self._negotiated(request, model, context, exchange)
        )

    def _negotiated(
        self,
        request: ChatRequest,
        model: str | None,
        context: QueryContext,
        exchange: Callable[[HttpRequest, Dialect, Refusals], T],
    ) -> tuple[T, Dialect]:
        features = features_of(chat_payload(request, Dialect(), model))
        dialect = self._lessons.dialect_for(features)
        refusals = Refusals(request, self._lessons, self._drop_refused_settings)
        stream_was_empty = False
        for attempt in itertools.count(1):
            payload = chat_payload(request, dialect, model)
            try:
                result = exchange(HttpRequest(_PATH, payload), dialect, refusals)
                break
            except (ServiceError, ModelError, NetworkError) as error:
                other = refusals.next_dialect(dialect, payload, error) if attempt < _MOST_ATTEMPTS else None
                if other is None:
                    refusals.given_up()
                    raise self._told(refusals.cause(dialect, error), request, payload, context) from None
                stream_was_empty = isinstance(error, EmptyStream)
                dialect = other
        refusals.taken()
        if dialect.asks_for_stream:
            self._lessons.streamed(features)
        elif stream_was_empty:
            self._lessons.stream_was_empty(features)
        self._server.has_answered = True
        return result, dialect

    def _told(
        self, error: SpcsError, request: ChatRequest, payload: dict[str, object], context: QueryContext
    ) -> SpcsError:
        if isinstance(error, UselessStream):
            return ModelError(error.message, error.hint, place=error.place)
        told = explained(error, request, payload, is_understood=self._server.has_answered)
        return self._server.checked(told, payload, context)

    def _completed(
        self,
        answer: ChatAnswer,
        lacks: str,
        request: ChatRequest,
        dialect: Dialect,
        context: QueryContext,
        ask: Callable[[HttpRequest, Dialect, Refusals], Read],
    ) -> ChatAnswer:
        """The whole answer instead of a streamed one that lacks something, if the whole one has it."""
        dialect = replace(dialect, whole=True)
        payload = chat_payload(request, dialect, self._server.models.name(context, "chat"))
        refusals = Refusals(request, self._lessons, self._drop_refused_settings)
        try:
            whole, still_lacks = ask(HttpRequest(_PATH, payload), dialect, refusals)
        except SpcsError:
            return answer  # which is an answer, if not all of one
        if still_lacks is not None:
            if lacks == still_lacks and lacks in ("logprobs", "characters", "JSON", "calls in the text"):
                self._lessons.whole_lacks(lacks)
            return answer
        if lacks == "logprobs":
            self._lessons.learn(Lesson({"whole": True}, features_of(payload) & {"logprobs", "tools"}))
        return whole


def _reader(
    request: ChatRequest, http_request: HttpRequest, dialect: Dialect, stream: Stream, context: QueryContext
) -> AnswerReader:
    def check_time() -> None:
        if context.remaining() <= 0:
            raise context.timeout("reading the service's answer")

    return AnswerReader(
        request,
        http_request.payload or {},
        ignored_settings(request, dialect),
        watch=Watch(
            finished=stream.expect_end,
            may_be_finished=lambda: stream.expect_end(_LONG_GRACE_SECONDS),
            goes_on=lambda: stream.expect_end(math.inf),
            check_time=check_time,
        ),
        holds_to_request=True,
        as_stream=dialect.asks_for_stream,
    )


def _held_to_json(answer: ChatAnswer, request: ChatRequest) -> ChatAnswer:
    """Refuses an answer that is not JSON though JSON was asked for, unless the query says that this will do."""
    wanted = request.json_format
    if wanted is None or wanted.if_supported or "responseFormat" not in answer.ignored_settings:
        return answer
    if answer.reasoning and not answer.text:
        raise ModelError(
            "The query asks for JSON ('responseFormat'), but the service returned reasoning and no answer.",
            "Ask whoever runs the service to start the server without a reasoning parser, or with the one that is meant"
            " for its model.",
        )
    if is_json(answer.text) or not answer.text:
        return answer
    raise ModelError(
        "The query asks for JSON ('responseFormat'), but the service did not make its model write JSON.",
        "Serve the model with an engine that enforces JSON, such as vLLM, or set 'ifSupported' to"
        " accept prose from a service that cannot do it.",
    )
