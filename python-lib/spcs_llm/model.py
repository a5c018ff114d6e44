"""One model as DSS uses it: the facade that `python-llms/` calls, which joins the parts.

A query comes as LLM Mesh's dict, passes `mesh.query`, a service protocol and `mesh.answer`, and leaves as one.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Callable, NoReturn

from spcs_llm.batching import BatchSpec
from spcs_llm.connections import CONNECTIONS, Connections
from spcs_llm.domain import ChatAnswer, ChatDelta, ChatRequest, Embedding, EmbeddingSettings, Ranking, Usage
from spcs_llm.errors import ModelError, SpcsError, place_in_code
from spcs_llm.mesh.answer import (
    ChunkWriter,
    completion_response,
    embedding_response,
    failed_row,
    ranking_response,
    stream_footer,
    trace_call,
    trace_ignored_settings,
    trace_unranked_documents,
)
from spcs_llm.mesh.query import (
    Text,
    chat_request,
    embedding_settings,
    embedding_texts,
    reranking_query,
    unknown_settings,
)
from spcs_llm.protocols.base import Pieces, ServiceProtocol, pieces_of
from spcs_llm.query_context import QueryContext
from spcs_llm.ranking import ranking_of
from spcs_llm.server_text.log_lines import one_line_logger
from spcs_llm.settings import Settings, read_settings
from spcs_llm.sharing.learned import Learned
from spcs_llm.usage import chat_bytes, chat_usage, ranking_usage, said_in, text_bytes, text_usage

logger = one_line_logger(__name__)

_CHAT_ROWS = 1
_ROWS = 64


class Model:
    """A configured model. Thread-safe. Wrong settings raise nothing here: each query does, with what is wrong.

    Args:
        config: The component's settings, as DSS hands them over; or settings that were read already.
        refresh: Reads a current access token off what DSS keeps under `__credentials` (DSS 14.5 and later).
        connections: What the models of a process share.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | Settings | None,
        refresh: Callable[[Any], str] | None = None,
        connections: Connections = CONNECTIONS,
    ) -> None:
        self._problem: SpcsError | None = None
        self._ignored_so_far: set[str] = set()
        try:
            settings = config if isinstance(config, Settings) else read_settings(config)
            self._settings = settings
            self._connection = connections.connect(settings, refresh)
        except SpcsError as problem:
            self._problem = problem.again()
            return
        self._rows = settings.max_batch_size or _ROWS
        self._dimensions: Learned[int | None] = Learned(None)

    @property
    def settings(self) -> Settings | None:
        """The model's settings as they were read; None if they are wrong."""
        return None if self._problem is not None else self._settings

    @property
    def chat_parallelism(self) -> int:
        """How many chat queries can be under way at once: those in flight, times those that share a request."""
        if self._problem is not None:
            return 1
        return self._connection.parallelism * self._chat_rows(self._connection.protocol.known)

    @property
    def row_parallelism(self) -> int:
        """The same for embedding and reranking."""
        return 1 if self._problem is not None else self._connection.parallelism * self._rows

    def complete(self, query: Any, settings: Any, trace: Any) -> dict[str, Any]:
        """Answers a completion query.

        Args:
            query: LLM Mesh's dict, with `messages`.
            settings: LLM Mesh's dict of completion settings.
            trace: DSS's span of the query, which is told what was done; None for none.

        Returns:
            LLM Mesh's dict, with `text`, token counts, and `estimatedCost` in USD.

        Raises:
            SpcsError: If the settings are wrong, or the query has no answer.
        """
        with self._context("chat", trace) as context:
            request = chat_request(query, settings)
            answer = self._chat(request, context)
            self._tell_ignored(answer.ignored_settings, request.unknown_settings, trace)
            usage = chat_usage(answer.usage, request, said_in(answer))
            return completion_response(answer, usage, self._cost(context))

    def stream(self, query: Any, settings: Any, trace: Any) -> Iterator[dict[str, Any]]:
        """Answers a completion query piece by piece. Closing the iterator closes the connection.

        Args:
            query: LLM Mesh's dict, with `messages`.
            settings: LLM Mesh's dict of completion settings.
            trace: DSS's span of the query, which is told what was done; None for none.

        Yields:
            LLM Mesh's chunks as they come, and one footer, with token counts and `estimatedCost` in USD.

        Raises:
            SpcsError: If the settings are wrong, or the query has no answer or only a part of one.
        """
        with self._context("chat", trace) as context:
            request = chat_request(query, settings)
            writer = ChunkWriter(request.sampling.stop_sequences)
            texts: list[str] = []
            with contextlib.closing(self._pieces(request, context)) as pieces:
                for piece in pieces:
                    if isinstance(piece, ChatDelta):
                        texts.append(said_in(piece))
                        yield from writer.chunks(piece)
                        continue
                    yield from writer.end()
                    self._tell_ignored(piece.ignored_settings, request.unknown_settings, trace)
                    usage = chat_usage(piece.usage, request, "".join(texts))
                    yield stream_footer(piece, usage, self._cost(context))

    def embed(self, query: Any, settings: Any, trace: Any) -> dict[str, Any]:
        """Answers an embedding query of one text or of several.

        Args:
            query: LLM Mesh's dict: `{"text"}`, or `{"queries": [{"text"}]}` for several.
            settings: LLM Mesh's dict of embedding settings.
            trace: DSS's span of the query, which is told what was done; None for none.

        Returns:
            LLM Mesh's dict, with an `embedding`; or `{"responses"}`, one dict for each of several texts. Those that
            fail have an `errorMessage` instead of an `embedding`. Costs are in USD; several texts share theirs evenly.

        Raises:
            SpcsError: If the settings are wrong, or a single text has no embedding.
        """
        with self._context("embed", trace) as context:
            texts, are_several = embedding_texts(query)
            rows = self._embedded(texts, settings, context, trace)
            if are_several:
                return {"responses": [failed_row(row) if isinstance(row, SpcsError) else row for row in rows]}
            (row,) = rows
            if isinstance(row, SpcsError):
                raise row
            return row

    def embed_rows(self, texts: Sequence[Text], settings: Any) -> list[dict[str, Any] | SpcsError]:
        """Embeds the texts of several rows, for a caller who needs each row's error and not only its words.

        Args:
            texts: The text of each row, or the error of a row that has none.
            settings: LLM Mesh's dict of embedding settings.

        Returns:
            For each row, in order, what `embed` returns for its text, or the row's error.

        Raises:
            SpcsError: If the model's settings are wrong.
        """
        with self._context("embed", None) as context:
            rows = self._embedded(texts, settings, context, None)
            for row in rows:
                if isinstance(row, SpcsError):
                    row.forget_server_text()
            return rows

    def rerank(self, query: Any, settings: Any, trace: Any) -> dict[str, Any]:
        """Answers a reranking query.

        Args:
            query: LLM Mesh's dict, with the query's text and `documents`.
            settings: LLM Mesh's dict, of which nothing has an effect.
            trace: DSS's span of the query, which is told what was done; None for none.

        Returns:
            LLM Mesh's dict, with all documents by falling score, and `estimatedCost` in USD.

        Raises:
            SpcsError: If the settings are wrong, or the documents cannot be ranked.
        """
        with self._context("rerank", trace) as context:
            question, documents = reranking_query(query)
            ranking, unranked = self._rank(question, documents, context)
            trace_unranked_documents(trace, unranked)
            self._tell_ignored((), unknown_settings("rerank", settings), trace)
            return ranking_response(ranking, self._cost(context))

    # -- how each kind of query is put to the service -------------------------------------------------------

    def _chat(self, request: ChatRequest, context: QueryContext) -> ChatAnswer:
        protocol = self._connection.resolved(context)
        protocol.check(request)
        rows = self._chat_rows(protocol)
        if rows == 1:
            return protocol.chat(request, context)
        spec = BatchSpec(
            key=("chat", self._settings.protocol, rows, _shape(request)),
            send=protocol.chat_rows,
            max_rows=rows,
            size=chat_bytes,
        )
        return self._connection.batcher.submit(request, context, spec)

    def _pieces(self, request: ChatRequest, context: QueryContext) -> Pieces:
        protocol = self._connection.resolved(context)
        if self._chat_rows(protocol) > 1:
            yield from pieces_of(self._chat(request, context))
            return
        protocol.check(request)
        yield from protocol.stream(request, context)

    def _chat_rows(self, protocol: ServiceProtocol) -> int:
        """How many chats may share a request."""
        return (self._settings.max_batch_size or _CHAT_ROWS) if protocol.capabilities.batches_chat else 1

    def _embeddings(
        self, texts: Sequence[Text], settings: EmbeddingSettings, context: QueryContext
    ) -> list[Embedding | SpcsError]:
        spec = BatchSpec(
            key=("embed", self._settings.protocol, self._rows, settings),
            send=functools.partial(self._connection.resolved(context).embed, settings=settings),
            max_rows=self._rows,
            size=text_bytes,
        )
        good = [text for text in texts if isinstance(text, str)]
        if len(texts) == 1 and good:
            return [self._connection.batcher.submit(good[0], context, spec)]
        sent = self._connection.batcher.submit_all(good, context, spec)
        rows = iter(sent)
        return [text if isinstance(text, SpcsError) else next(rows) for text in texts]

    def _embedded(
        self, texts: Sequence[Text], settings: Any, context: QueryContext, trace: Any
    ) -> list[dict[str, Any] | SpcsError]:
        """LLM Mesh's dict or the error of each text. The texts share the cost evenly."""
        rows = self._of_one_length(self._embeddings(texts, embedding_settings(settings), context))
        self._tell_ignored(_ignored_by(rows), unknown_settings("embed", settings), trace)
        cost = self._cost(context) / max(1, len(rows))
        return [
            self._connection.explained(row, "embed", context)
            if isinstance(row, SpcsError)
            else embedding_response(row, text_usage(row.prompt_tokens, str(text)), cost)
            for text, row in zip(texts, rows)
        ]

    def _of_one_length(self, rows: list[Embedding | SpcsError]) -> list[Embedding | SpcsError]:
        """Puts an error in the place of vectors that are not as long as those before. Nothing can compare the two.

        Args:
            rows: The rows.

        Returns:
            The rows. After an error, vectors of either length are taken: another model may be served by now.
        """
        lengths = [len(row.vector) for row in rows if isinstance(row, Embedding)]
        if not lengths:
            return rows
        known = self._dimensions.value or lengths[0]
        if all(length == known for length in lengths):
            self._dimensions.learn(known)
            return rows
        self._dimensions.forget(known)
        return [
            _of_another_length(row, known) if isinstance(row, Embedding) and len(row.vector) != known else row
            for row in rows
        ]

    def _rank(
        self, question: str, documents: Sequence[Text], context: QueryContext
    ) -> tuple[Ranking, list[int]]:
        protocol = self._connection.resolved(context)
        usages: list[Usage] = []

        def send(rows: Sequence[str], batch: QueryContext) -> list[float]:
            ranking = protocol.rerank(question, rows, batch)
            usages.append(ranking.usage)
            scores = {ranked.index: ranked.score for ranked in ranking.documents}
            return [scores[row] for row in range(len(rows))]

        spec = BatchSpec(key=object(), send=send, max_rows=self._rows, size=text_bytes)
        good = [document for document in documents if isinstance(document, str)]
        sent = self._connection.batcher.submit_all(good, context, spec)
        rest = iter(sent)
        scores = [document if isinstance(document, SpcsError) else next(rest) for document in documents]
        return ranking_of(scores, ranking_usage(usages, question, good))

    # -- what is around each query --------------------------------------------------------------------------

    @contextlib.contextmanager
    def _context(self, kind: str, trace: Any) -> Iterator[QueryContext]:
        """The time and the record of one query. An error that leaves the block holds nothing of the query's text.

        Args:
            kind: The kind of the query, as in `ServiceProtocol.paths`.
            trace: DSS's span of the query, or None.

        Yields:
            The query's context.

        Raises:
            SpcsError: If the model's settings are wrong, or for what fails within the block.
        """
        if self._problem is not None:
            raise self._problem.again()
        context = QueryContext(self._settings.query_timeout, self._connection.credential_id)
        try:
            yield context
        except SpcsError as error:
            error = self._connection.explained(error, kind, context)
            error.forget_server_text()  # which may quote the request
            _raise_without_context(error)
        except Exception as error:  # noqa: BLE001
            _raise_without_context(_unexpected(error))  # its text may hold anything
        finally:
            trace_call(trace, context)

    def _cost(self, context: QueryContext) -> float:
        return self._settings.rate.cost(context.busy_seconds)

    def _tell_ignored(self, ignored: Sequence[str], unknown: Sequence[str], trace: Any) -> None:
        """Names settings that had no effect: all in the trace, and each once in the log.

        Args:
            ignored: Those that the service cannot be given, or did not obey.
            unknown: Those that the plugin does not know.
            trace: DSS's span of the query; None for none.
        """
        if ignored or unknown:
            trace_ignored_settings(trace, (*unknown, *ignored))
        if news := self._not_told(ignored):
            logger.warning(
                "The service at %s was not given these settings of queries, or did not obey them: %s",
                self._settings.endpoint.url.host,
                news,
            )
        if news := self._not_told(unknown):
            logger.warning(
                "The plugin does not know these settings of queries, and does not send them: %s", news
            )

    def _not_told(self, names: Sequence[str]) -> str:
        news = [name for name in names if name not in self._ignored_so_far]
        self._ignored_so_far.update(news)
        return ", ".join(news)


def _raise_without_context(error: SpcsError) -> NoReturn:
    """Raises an error without the ones that it came of: they hold the request. `from None` only hides them.

    Args:
        error: The error.

    Raises:
        SpcsError: Always.
    """
    try:
        raise error from None
    finally:
        error.__context__ = error.__cause__ = None


def _unexpected(error: Exception) -> SpcsError:
    return SpcsError(
        f"The plugin failed unexpectedly ({place_in_code(error)}).",
        "Please report this to the plugin's authors.",
    )


def _of_another_length(row: Embedding, known: int) -> ModelError:
    return ModelError(
        f"The service returned an embedding of {len(row.vector):,} dimensions, after others of {known:,}.",
        "Check that its model pools, which makes one embedding of those of a text's tokens. If the service runs another"
        " model by now, rebuild the knowledge banks.",
    )


def _ignored_by(rows: Sequence[Embedding | SpcsError]) -> Sequence[str]:
    return next((row.ignored_settings for row in rows if isinstance(row, Embedding)), ())


def _shape(request: ChatRequest) -> str:
    """What a request asks apart from its messages: only requests of one shape can share an HTTP request."""
    return json.dumps([asdict(replace(request, messages=()))], default=str, sort_keys=True)
