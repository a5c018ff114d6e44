"""Composes requests from the queries that wait, and lets the callers send them for each other.

It does not use a separate thread. Whoever changes what there is to send (a query that comes, a request that ends, a
caller that gives up) composes the next requests, and appoints one of the waiting callers to send each.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Callable

from spcs_llm.batching.batch import Batch, BatchSpec, QueuedRow, ResultT, RowT, Waiter
from spcs_llm.batching.sizes import BatchSizes, Refusal, is_refusal
from spcs_llm.errors import ModelError, SpcsError, UnusableVector
from spcs_llm.http.limits import Limiter
from spcs_llm.query_context import QueryContext
from spcs_llm.sharing.after_fork import renew_in_child

_BODY_LIMIT = 900_000  # bytes; Snowflake's ingress takes 1 MB for model services
_MAX_REGROUPING = 4  # times `regroup_seconds`
_CROWD = 8
_HEAD_START = 0.001


class Batcher:
    """Group commit for the rows that one credential sends to one endpoint. Thread-safe.

    The first query goes at once, by itself. While as many requests are in flight as the limiter allows, queries wait;
    each request then takes its share of the callers, which is their number over the limit. Callers who were just
    answered are likely to ask again: a request that has not got its share waits for them, but no longer than
    `regroup_seconds` after the last answer, or after the last of them who came back. So a lone caller never waits.
    """

    def __init__(
        self,
        limiter: Limiter,
        *,
        clock: Callable[[], float] = time.monotonic,
        regroup_seconds: float = 0.003,
        body_limit: int = _BODY_LIMIT,
        sleep: Callable[[float], None] = time.sleep,  # noqa: TID251
    ) -> None:
        self._limiter = limiter
        self._clock = clock
        self._regroup_seconds = regroup_seconds
        self._body_limit = body_limit
        self._sleep = sleep
        self._sizes = BatchSizes(clock)
        self.renew_after_fork()
        renew_in_child(self)

    def renew_after_fork(self) -> None:
        self._lock = threading.Lock()
        self._queue: list[Batch] = []
        self._in_flight = 0  # batches that have a sender
        self._waiters = 0
        self._expected = 0  # callers just answered, who may come back
        self._expected_until = self._answered_at = 0.0
        self._watch: Waiter | None = None  # who wakes when they are expected no more

    def submit(self, row: RowT, context: QueryContext, spec: BatchSpec[RowT, ResultT]) -> ResultT:
        """The result of this row, which may share a request with others. Raises this row's SpcsError."""
        (result,) = self._run([row], context, spec, joinable=True)
        if isinstance(result, SpcsError):
            raise result
        return result  # type: ignore[no-any-return]

    def submit_all(
        self, rows: Sequence[RowT], context: QueryContext, spec: BatchSpec[RowT, ResultT]
    ) -> list[ResultT | SpcsError]:
        """A result or an error for each row, in order; by as many requests as it takes, one after the other."""
        results: list[ResultT | SpcsError] = []
        while len(results) < len(rows):
            results += self._run(self._chunk(rows, len(results), spec), context, spec, joinable=False)
            last = results[-1]
            if isinstance(last, SpcsError) and not is_refusal(last):
                return results + [last.again() for _ in rows[len(results) :]]  # an outage: not met again
        return results

    def _chunk(self, rows: Sequence[RowT], start: int, spec: BatchSpec[RowT, ResultT]) -> Sequence[RowT]:
        chunk = rows[start : start + self._sizes.most_rows(spec.key, spec.max_rows)]
        size = 0
        for count, row in enumerate(chunk):
            size += spec.size(row)
            if count and size > self._body_limit:
                return chunk[:count]
        return chunk

    # -- what a caller does until its rows are done -----------------------------------------------------------

    def _run(
        self, rows: Sequence[Any], context: QueryContext, spec: BatchSpec[Any, Any], *, joinable: bool
    ) -> list[Any]:
        waiter = Waiter(context, len(rows))
        queued = [QueuedRow(row, spec.size(row), waiter) for row in rows]
        try:
            with self._lock:
                self._arrive(Batch(spec, queued, joinable=joinable))
            while (batch := self._next_to_send(waiter)) is not None:
                self._send(batch)
        finally:
            if waiter.pending:
                self._give_up(waiter)
        return [row.outcome() for row in queued]

    def _arrive(self, batch: Batch) -> None:
        self._waiters += 1
        if self._expected:
            self._expected -= 1
            now = self._clock()
            if (
                now < self._expected_until
            ):  # the others are on their way too, in a process that has much to do
                longest = self._answered_at + _MAX_REGROUPING * self._regroup_seconds
                self._expected_until = max(self._expected_until, min(longest, now + self._regroup_seconds))
        self._queue.append(batch)
        self._appoint()

    def _next_to_send(self, waiter: Waiter) -> Batch | None:
        """Waits for a request that this caller is to send. None when all its rows are done, or its time is up."""
        while waiter.pending:
            with self._lock:
                if waiter.to_send:
                    return waiter.to_send[0]
                seconds = waiter.context.remaining()
                if seconds <= 0:
                    break
                if self._watch is waiter:
                    seconds = min(seconds, self._expected_until - self._clock())
                    if seconds <= 0:
                        self._appoint()
                        continue
            waiter.sleep(seconds)
        return None

    def _give_up(self, waiter: Waiter) -> None:
        """Its rows that are not in flight will not be sent; answers to the others are dropped."""
        with self._lock:
            self._waiters -= 1
            waiter.gone = True
            self._in_flight -= len(waiter.to_send)  # appointed in that very moment: another will be
            self._queue[:0] = waiter.to_send
            waiter.to_send.clear()
            for batch in self._queue:
                batch.queued = [row for row in batch.queued if not row.waiter.gone]
            self._queue = [batch for batch in self._queue if batch.queued]
            self._appoint()

    # -- what the next requests hold, and who sends them; all under the lock ----------------------------------

    def _appoint(self) -> bool:
        """Returns whether there is something more to send."""
        limit = max(1, self._limiter.limit)
        before = self._in_flight
        watch = None
        while self._queue and self._in_flight < limit:
            batch = self._compose(limit)
            if batch is None:
                watch = self._queue[0].sender
                if watch is not self._watch:
                    watch.wake()
                break
            self._in_flight += 1
            batch.appoint_sender()
        self._watch = watch
        return self._in_flight > before

    def _compose(self, limit: int) -> Batch | None:
        """Takes the next request off the queue. None when it is better to wait for the callers who are expected."""
        first = self._queue[0]
        if not first.joinable:
            return self._queue.pop(0)
        if self._expected and self._clock() >= self._expected_until:
            self._expected = 0
        share = -(-(self._waiters + self._expected) // limit)
        share = min(share, self._sizes.most_rows(first.spec.key, first.spec.max_rows))
        if self._expected and len(self._queue) < share:
            return None
        taken: list[QueuedRow] = []
        left: list[Batch] = []
        size = 0
        for batch in self._queue:
            if batch.joinable and batch.spec.key == first.spec.key:
                (row,) = batch.queued
                if not taken or (len(taken) < share and size + row.size <= self._body_limit):
                    taken.append(row)
                    size += row.size
                    continue
                share = len(taken)  # it is full
            left.append(batch)
        if self._expected and len(taken) < share:
            return None
        self._queue = left
        return Batch(first.spec, taken)

    # -- sending, and what comes of it ------------------------------------------------------------------------

    def _send(self, batch: Batch) -> None:
        with self._lock:
            context = batch.depart()
        rows = [row.value for row in batch.queued]
        context.log("sends %d rows in one request", len(rows))
        results: Sequence[Any] = rows
        refusal = None
        began = self._clock()
        try:
            if rows:
                results = _one_for_each(rows, batch.spec.send(rows, context))
                if batch.half_of is not None:
                    self._sizes.half_accepted(batch.spec.key, batch.half_of)
        except SpcsError as error:
            results = [error.again() for _ in rows]
            if len(rows) > 1 and is_refusal(error):
                refusal = Refusal(error, len(rows), self._clock() - began)
        except BaseException as error:
            results = [_unexpected(error) for _ in rows]
            raise
        finally:
            if context is not batch.sender.context:
                results = _unquoted(results)
            self._end(batch, context, results, refusal)

    def _end(
        self, batch: Batch, context: QueryContext, results: Sequence[Any], refusal: Refusal | None
    ) -> None:
        with self._lock:
            self._in_flight -= 1
            batch.sender.to_send.remove(batch)
            present = batch.share_out(context)
            if refusal is not None:
                self._queue[:0] = batch.halves(present, refusal)
            else:
                self._settle(batch, results)
            more = self._appoint()
        try:
            if more and len(present) >= _CROWD:  # awake, they would keep the interpreter from the next sender
                self._sleep(_HEAD_START)
        finally:
            with self._lock:
                for row in present:
                    row.waiter.wake()

    def _settle(self, batch: Batch, results: Sequence[Any]) -> None:
        self._answered_at = now = self._clock()
        if now >= self._expected_until:
            self._expected = 0
        self._expected_until = now + self._regroup_seconds
        some_succeeded = any(not isinstance(result, SpcsError) for result in results)
        alone: list[Batch] = []
        for row, result in zip(batch.queued, results):
            waiter = row.waiter
            if waiter.gone:
                continue
            if some_succeeded and isinstance(result, UnusableVector):
                row.sent = None
                alone.append(Batch(batch.spec, [row]))
                continue
            row.result = result
            waiter.pending -= 1
            if not waiter.pending:
                self._waiters -= 1
                self._expected += 1
        self._queue[:0] = alone


def _one_for_each(rows: Sequence[Any], results: Sequence[Any]) -> Sequence[Any]:
    if len(results) != len(rows):
        raise ModelError(f"The service returned {len(results)} results for {len(rows)} queries.")
    return results


def _unquoted(results: Sequence[Any]) -> Sequence[Any]:
    """What a server says of a request that several callers share may be about the text of any of them."""
    return [result.without_quotation() if isinstance(result, SpcsError) else result for result in results]


def _unexpected(error: BaseException) -> SpcsError:
    return SpcsError(
        f"The request that carried this query failed unexpectedly ({type(error).__name__}).",
        "Please report this to the plugin's authors.",
    )
