"""The LLM Mesh's part: queries to kernels, failures kept to their own query, traces, retries, checks."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from dataikuapi.dss.llm_tracing import SpanBuilder

from sandbox.dss import checks, tracing
from sandbox.dss.checks import ContractError
from sandbox.dss.kernel import Kernel, Stream, checked
from sandbox.dss.plugin import Capability
from sandbox.dss.release import Release

T = TypeVar("T")
log = logging.getLogger(__name__)


class QueryFailedError(Exception):
    """A query's failure as DSS reports it to the client."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["errorMessage"])
        self.error = error


@dataclass(frozen=True)
class Retries:
    """The connection's retry settings; they concern `RetryableException` only."""

    max_retries: int = 3
    initial_delay: float = 0.1
    scaling: float = 2.0


@dataclass(frozen=True)
class Model:
    """A model of a custom LLM connection."""

    connection: str
    id: str
    capability: Capability
    plugin_id: str
    component_id: str
    config: Mapping[str, Any]
    retries: Retries

    @property
    def llm_id(self) -> str:
        return f"custom:{self.connection}:{self.id}"


class Mesh:
    """One kernel per model and user, made at the first call and kept.

    `new_kernel` configures one. `embedding_rows` above 1 hands embedding queries over in batches, the
    second shape in public use. Broken contracts are collected in `violations`.
    """

    def __init__(
        self,
        release: Release,
        new_kernel: Callable[[Model, str], Kernel],
        retryable: type[Exception] | None,
        embedding_rows: int = 1,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.violations: list[ContractError] = []
        self._release = release
        self._new_kernel = new_kernel
        self._retryable = retryable
        self._embedding_rows = embedding_rows
        self._sleep = sleep
        self._kernels: dict[tuple[str, str], Kernel] = {}
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Shuts the kernels down; the next call makes new ones."""
        with self._lock:
            kernels = list(self._kernels.values())
            self._kernels.clear()
        for kernel in kernels:
            kernel.close()

    def kernel(self, model: Model, user: str) -> Kernel:
        key = (model.llm_id, user)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._kernels:
                self._kernels[key] = self._new_kernel(model, user)
            return self._kernels[key]

    def complete(
        self, model: Model, user: str, queries: Sequence[Any], settings: Any
    ) -> list[dict[str, Any]]:
        """One response per query, in order; `ok` says whether it is an answer."""

        def one(kernel: Kernel, query: Any) -> dict[str, Any]:
            trace = tracing.new_trace(tracing.COMPLETION_QUERY, self._release)
            with trace:
                tracing.instant(trace, tracing.QUERY_ENFORCEMENT)
                with trace.subspan(tracing.LLM_CALL) as call:
                    response = self._retried(model, lambda: kernel.answer(copy(query), copy(settings), call))
                    checks.check_completion(response)
                    tracing.put_usage(call, response)
                tracing.instant(trace, tracing.RESPONSE_ENFORCEMENT)
            return {**self._with_total(response), "ok": True, "trace": finished(trace, call)}

        return self._each(model, user, queries, one)

    def stream(
        self, model: Model, user: str, query: Any, settings: Any
    ) -> Generator[tuple[str, dict[str, Any]], None, None]:
        """Pairs of event name and data, the footer last. Raises QueryFailedError.

        Closing it closes the plugin's generator.
        """
        try:
            kernel = self.kernel(model, user)
            trace = tracing.new_trace(tracing.COMPLETION_QUERY, self._release)
            footer: dict[str, Any] = {}
            with trace:
                tracing.instant(trace, tracing.QUERY_ENFORCEMENT)
                with trace.subspan(tracing.LLM_CALL_STREAMED) as call:
                    attempt = lambda: started(kernel.items(copy(query), copy(settings), call))  # noqa: E731
                    first, rest = self._retried(model, attempt)
                    tracing.instant(call, tracing.FIRST_CHUNK)
                    with closing(rest):
                        for item in checked(chain(first, rest)):
                            if "footer" in item:
                                footer = item["footer"]
                            else:
                                yield "completion-chunk", {"type": "content", **item["chunk"]}
                    tracing.put_usage(call, footer)
                    tracing.instant(call, tracing.STREAM_COMPLETE)
                tracing.instant(trace, tracing.RESPONSE_ENFORCEMENT)
            end = {**self._with_total(footer), "type": "footer", "trace": finished(trace, call)}
        except Exception as error:
            raise QueryFailedError(self._error(model, error)) from error
        yield "completion-end", end

    def embed(self, model: Model, user: str, queries: Sequence[Any], settings: Any) -> list[dict[str, Any]]:
        """One response per query, in order; a row without `embedding` has failed by itself."""

        def one(kernel: Kernel, query: Any) -> dict[str, Any]:
            trace = tracing.new_trace(tracing.EMBEDDING_QUERY, self._release)
            with trace, trace.subspan(tracing.LLM_CALL) as call:
                response = self._retried(model, lambda: kernel.answer(copy(query), copy(settings), call))
                if "queries" in query:
                    return {"rows": checks.check_embedding_batch(response, len(query["queries"]))}
                checks.check_embedding(response)
                tracing.put_usage(call, response)
            return {**response, "ok": True, "trace": finished(trace, call)}

        if self._embedding_rows == 1:
            return self._each(model, user, queries, one)
        size = self._embedding_rows
        batches = [queries[start : start + size] for start in range(0, len(queries), size)]
        answers = self._each(model, user, [{"queries": list(batch)} for batch in batches], one)
        return [
            row for batch, answer in zip(batches, answers) for row in self._rows(model, answer, len(batch))
        ]

    def rerank(self, model: Model, user: str, queries: Sequence[Any], settings: Any) -> list[dict[str, Any]]:
        """One response per query, in order. Takes the body of the 14.3 client as well."""

        def one(kernel: Kernel, query: Any) -> dict[str, Any]:
            trace = tracing.new_trace(tracing.RERANKING_QUERY, self._release)
            with trace, trace.subspan(tracing.LLM_CALL) as call:
                response = self._retried(model, lambda: kernel.answer(copy(query), copy(settings), call))
                checks.check_ranking(response, len(query["documents"]))
                tracing.put_usage(call, response.get("totalUsage") or response)
            return {**response, "ok": True, "trace": finished(trace, call)}

        return self._each(model, user, [with_parts(query) for query in queries], one)

    def _with_total(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """What DSS adds to an answer: what it cost in all, here that of the one call to the model."""
        usage = tracing.usage_of(answer)
        return {"totalUsage": usage, **answer} if self._release.has_total_usage and usage else answer

    def _each(
        self, model: Model, user: str, queries: Sequence[Any], one: Callable[[Kernel, Any], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        try:
            kernel = self.kernel(model, user)
        except Exception as error:
            return [self._failed(model, error) for _ in queries]

        def guarded(query: Any) -> dict[str, Any]:
            try:
                return one(kernel, query)
            except Exception as error:
                return self._failed(model, error)

        return list(kernel.pool.map(guarded, queries))

    def _rows(self, model: Model, answer: dict[str, Any], count: int) -> list[dict[str, Any]]:
        if "rows" not in answer:
            return [answer] * count
        rows = []
        for row in answer["rows"]:
            try:
                if not (isinstance(row, dict) and "embedding" not in row and row.get("errorMessage")):
                    checks.check_embedding(row)
                rows.append({"ok": "embedding" in row, **row})
            except ContractError as error:
                rows.append(self._failed(model, error))
        return rows

    def _retried(self, model: Model, attempt: Callable[[], T]) -> T:
        delay = model.retries.initial_delay
        for _ in range(model.retries.max_retries if self._retryable else 0):
            try:
                return attempt()
            except Exception as error:
                if not isinstance(error, self._retryable or ()):
                    raise
                self._sleep(delay)
                delay *= model.retries.scaling
        return attempt()

    def _failed(self, model: Model, error: Exception) -> dict[str, Any]:
        return {"ok": False, **self._error(model, error)}

    def _error(self, model: Model, error: Exception) -> dict[str, Any]:
        if isinstance(error, ContractError):
            self.violations.append(error)
            log.error("plugin %s breaks the custom LLM contract: %s", model.plugin_id, error)
        return {
            "errorMessage": str(error) or type(error).__name__,
            "errorCode": getattr(error, "rule", "ERR_LLM_CALL"),
            "errorType": type(error).__name__,
            "errorSource": f"{model.plugin_id}/{model.component_id}",
        }


def started(items: Stream) -> tuple[list[Any], Stream]:
    """Up to the first item, which is as far as a stream can be tried again."""
    for first in items:
        return [first], items
    return [], items


def finished(trace: SpanBuilder, call: SpanBuilder) -> dict[str, Any]:
    checks.check_trace(call.span)
    span: dict[str, Any] = trace.to_dict()
    return span


def copy(value: Any) -> Any:
    """What arrives in a kernel has crossed a process boundary as JSON."""
    return json.loads(json.dumps(value if value is not None else {}))


def with_parts(query: Mapping[str, Any]) -> Mapping[str, Any]:
    """The reranking query of DSS 15; the 14.3 client sends `query` and `content` as plain text."""
    if "queryParts" in query:
        return query
    return {
        "queryParts": [{"type": "TEXT", "text": query["query"]}],
        "documents": [
            {"parts": [{"type": "TEXT", "text": document["content"]}]} for document in query["documents"]
        ],
    }
