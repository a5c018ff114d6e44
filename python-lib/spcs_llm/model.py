"""One model as DSS uses it: the facade that `python-llms/` calls, which joins the parts.

A query comes as LLM Mesh's dict, passes `mesh.query`, a service protocol and `mesh.answer`, and leaves as one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import traceback
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Callable

from spcs_llm.batching import BatchSpec
from spcs_llm.connections import CONNECTIONS, Connections
from spcs_llm.domain import (
    ChatAnswer,
    ChatDelta,
    ChatEnd,
    ChatRequest,
    RankedDocument,
    Ranking,
    ToolCallDelta,
    Usage,
)
from spcs_llm.errors import SettingsError, SpcsError
from spcs_llm.mesh.answer import (
    ChunkWriter,
    completion_response,
    embedding_response,
    failed_row,
    ranking_response,
    stream_footer,
    trace_call,
    trace_ignored_settings,
)
from spcs_llm.mesh.query import chat_request, embedding_texts, reranking_query
from spcs_llm.protocols.registry import protocol_for
from spcs_llm.query_context import QueryContext
from spcs_llm.settings import read_settings
from spcs_llm.token_estimate import estimate_tokens

logger = logging.getLogger(__name__)

_CHAT_ROWS = 1
_ROWS = 64
_TOKENS_AROUND_A_MESSAGE = 4


class Model:
    """A configured model. Thread-safe.

    config: the component's, as DSS hands it over. refresh: reads a current access token off what DSS keeps under
    `__credentials` (DSS 14.5 and later). Wrong settings raise nothing here: each query does, with what is wrong.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None,
        refresh: Callable[[Any], str] | None = None,
        connections: Connections = CONNECTIONS,
    ) -> None:
        self._problem: SpcsError | None = None
        self._ignored_so_far: set[str] = set()
        try:
            self._settings = settings = read_settings(config)
            self._connection = connections.connect(settings, refresh)
            self._protocol = protocol_for(settings, self._connection.endpoint)
        except SpcsError as problem:
            self._problem = problem.again()
            return
        self._protocol_key = (
            settings.protocol,
            settings.handling_mode,
            settings.chat_template,
            settings.model_name,
            settings.method_name,
            settings.input_column,
        )
        self._chat_rows = settings.max_batch_size or _CHAT_ROWS
        self._rows = settings.max_batch_size or _ROWS
        self._embed_job = BatchSpec(
            key=("embed", *self._protocol_key),
            send=self._protocol.embed,
            max_rows=self._rows,
            size=_size_of_text,
        )

    @property
    def chat_parallelism(self) -> int:
        """How many chat queries can be under way at once: those in flight, times those that share a request."""
        if self._problem is not None:
            return 1
        rows = self._chat_rows if self._protocol.batches_chat else 1
        return self._settings.max_parallelism * rows

    @property
    def row_parallelism(self) -> int:
        """The same for embedding and reranking."""
        return 1 if self._problem is not None else self._settings.max_parallelism * self._rows

    def complete(self, query: Any, settings: Any, trace: Any) -> dict[str, Any]:
        """LLM Mesh's completion query and settings -> its response. Raises SpcsError."""
        with self._context(trace) as context:
            request = chat_request(query, settings)
            answer = self._chat(request, context)
            self._tell_ignored(answer.ignored_settings, trace)
            usage = _chat_usage(answer.usage, request, answer.text)
            return completion_response(answer, usage, self._cost(context))

    def stream(self, query: Any, settings: Any, trace: Any) -> Iterator[dict[str, Any]]:
        """The same as chunks, as they come, and one footer. Closing the iterator closes the connection."""
        with self._context(trace) as context:
            request = chat_request(query, settings)
            writer = ChunkWriter()
            texts: list[str] = []
            with contextlib.closing(self._pieces(request, context)) as pieces:
                for piece in pieces:
                    if isinstance(piece, ChatDelta):
                        texts.append(piece.text)
                        yield from writer.chunks(piece)
                        continue
                    yield from writer.end()
                    self._tell_ignored(piece.ignored_settings, trace)
                    usage = _chat_usage(piece.usage, request, "".join(texts))
                    yield stream_footer(piece, usage, self._cost(context))

    def embed(self, query: Any, settings: Any, trace: Any) -> dict[str, Any]:
        """LLM Mesh's embedding query, of one text or of several -> its response. Raises SpcsError.

        Of several, those that fail have an `errorMessage` in place of an `embedding`.
        """
        with self._context(trace) as context:
            texts, are_several = embedding_texts(query)
            if not are_several:
                row = self._connection.batcher.submit(texts[0], context, self._embed_job)
                return embedding_response(row, _text_usage(row.prompt_tokens, texts[0]), self._cost(context))
            rows = self._connection.batcher.submit_all(texts, context, self._embed_job)
            cost = self._cost(context) / max(1, len(rows))
            return {
                "responses": [
                    failed_row(row)
                    if isinstance(row, SpcsError)
                    else embedding_response(row, _text_usage(row.prompt_tokens, text), cost)
                    for text, row in zip(texts, rows)
                ]
            }

    def rerank(self, query: Any, settings: Any, trace: Any) -> dict[str, Any]:
        """LLM Mesh's reranking query -> its response, all documents by falling score. Raises SpcsError."""
        with self._context(trace) as context:
            question, documents = reranking_query(query)
            return ranking_response(self._rank(question, documents, context), self._cost(context))

    # -- how each kind of query is put to the service -------------------------------------------------------

    def _chat(self, request: ChatRequest, context: QueryContext) -> ChatAnswer:
        if self._protocol.batches_chat is False:
            return self._protocol.chat(request, context)
        self._protocol.check(request)
        if self._chat_rows == 1:
            return single(self._protocol.chat_rows([request], context))
        spec = BatchSpec(
            key=("chat", *self._protocol_key, _shape(request)),
            send=self._protocol.chat_rows,
            max_rows=self._chat_rows,
            size=_size_of_request,
        )
        return self._connection.batcher.submit(request, context, spec)

    def _pieces(
        self, request: ChatRequest, context: QueryContext
    ) -> Generator[ChatDelta | ChatEnd, None, None]:
        if self._protocol.batches_chat is False:
            yield from self._protocol.stream(request, context)
            return
        answer = self._chat(request, context)
        calls = tuple(
            ToolCallDelta(at, made.id, made.name, made.arguments) for at, made in enumerate(answer.tool_calls)
        )
        yield ChatDelta(answer.text, answer.reasoning or "", calls, answer.log_probs)
        yield ChatEnd(answer.finish_reason, answer.usage, answer.ignored_settings, answer.model)

    def _rank(self, question: str, documents: Sequence[str], context: QueryContext) -> Ranking:
        protocol = self._protocol
        if protocol.batches_chat is not False:
            raise SettingsError(
                "Reranking needs 'Service protocol' to be OpenAI: the other protocols have no reranking."
            )
        usages: list[Usage] = []

        def send(rows: Sequence[str], batch: QueryContext) -> list[float]:
            ranking = protocol.rerank(question, rows, batch)
            usages.append(ranking.usage)
            scores = {ranked.index: ranked.score for ranked in ranking.documents}
            return [scores[row] for row in range(len(rows))]

        spec = BatchSpec(key=object(), send=send, max_rows=self._rows, size=_size_of_text)
        scores = self._connection.batcher.submit_all(documents, context, spec)
        ranked = []
        for index, score in enumerate(scores):
            if isinstance(score, SpcsError):
                raise score
            ranked.append(RankedDocument(index, score))
        ranked.sort(key=lambda document: -document.score)
        return Ranking(tuple(ranked), _ranking_usage(usages, question, documents))

    # -- what is around each query --------------------------------------------------------------------------

    @contextlib.contextmanager
    def _context(self, trace: Any) -> Iterator[QueryContext]:
        if self._problem is not None:
            raise self._problem.again()
        context = QueryContext(self._settings.query_timeout, self._connection.credential_id)
        try:
            yield context
        except SpcsError:
            raise
        except Exception as error:  # noqa: BLE001
            raise _unexpected(error) from None  # its text may hold anything
        finally:
            trace_call(trace, context)

    def _cost(self, context: QueryContext) -> float:
        return self._settings.rate.cost(context.busy_seconds)

    def _tell_ignored(self, names: Sequence[str], trace: Any) -> None:
        if not names:
            return
        trace_ignored_settings(trace, names)
        news = [name for name in names if name not in self._ignored_so_far]
        if news:
            self._ignored_so_far.update(news)
            logger.warning(
                "The service at %s cannot be given these settings of queries, which are ignored: %s",
                self._settings.endpoint.host,
                ", ".join(news),
            )


def _unexpected(error: Exception) -> SpcsError:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return SpcsError(
        f"The plugin failed where it should not ({type(error).__name__} in {Path(frame.filename).name},"
        f" line {frame.lineno}).",
        "Please report this to the plugin's authors.",
    )


def single(rows: Sequence[ChatAnswer | SpcsError]) -> ChatAnswer:
    (row,) = rows
    if isinstance(row, SpcsError):
        raise row
    return row


def _shape(request: ChatRequest) -> str:
    """What a request asks apart from its messages: only requests of one shape can share an HTTP request."""
    return json.dumps([asdict(replace(request, messages=()))], default=str, sort_keys=True)


def _size_of_text(text: str) -> int:
    return len(text.encode("utf-8", "replace")) + text.count("\n") + text.count('"') + 16


def _size_of_request(request: ChatRequest) -> int:
    return sum(_size_of_text(message.text) + 64 for message in request.messages)


def _chat_usage(usage: Usage, request: ChatRequest, text: str) -> Usage:
    """The service's own counts, or estimates where it gives none."""
    if usage.prompt_tokens is not None and usage.completion_tokens is not None:
        return usage
    prompt = sum(estimate_tokens(message.text) + _TOKENS_AROUND_A_MESSAGE for message in request.messages)
    prompt = usage.prompt_tokens if usage.prompt_tokens is not None else prompt
    completion = usage.completion_tokens if usage.completion_tokens is not None else estimate_tokens(text)
    return Usage(
        prompt,
        completion,
        prompt + completion,
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        estimated=True,
    )


def _text_usage(tokens: int | None, text: str) -> Usage:
    if tokens is not None:
        return Usage(prompt_tokens=tokens, total_tokens=tokens)
    estimate = estimate_tokens(text)
    return Usage(prompt_tokens=estimate, total_tokens=estimate, estimated=True)


def _ranking_usage(usages: Sequence[Usage], question: str, documents: Sequence[str]) -> Usage:
    counts = [
        usage.prompt_tokens if usage.prompt_tokens is not None else usage.total_tokens for usage in usages
    ]
    if counts and None not in counts:
        total = sum(count for count in counts if count is not None)
        return Usage(prompt_tokens=total, total_tokens=total)
    estimate = len(documents) * estimate_tokens(question) + sum(map(estimate_tokens, documents))
    return Usage(prompt_tokens=estimate, total_tokens=estimate, estimated=True)
