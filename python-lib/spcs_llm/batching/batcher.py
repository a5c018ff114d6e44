"""Composes requests from the queries that wait, and lets the callers send them for each other.

There is no thread of its own. Whoever changes what there is to send (a query that comes, a request that ends, a caller
that gives up) composes the next requests, and appoints one of the waiting callers to send each.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Callable

from spcs_llm.batching.batch import Caller, Entry, Job, Request, Result, Row
from spcs_llm.batching.sizes import BatchSizes, Refusal, is_refusal
from spcs_llm.errors import ModelError, SpcsError
from spcs_llm.http.limits import Limiter
from spcs_llm.query_context import Call

_BODY_LIMIT = 900_000  # bytes; Snowflake's ingress takes 1 MB for model services
_MAX_REGROUPING = 4  # times `regroup_seconds`
_CROWD = 8
_HEAD_START = 0.001


class Batcher:
    """Group commit for the rows that one credential sends to one endpoint. Thread-safe.

    The first query goes at once, alone. While as many requests are in flight as the limiter allows, queries wait; each
    request then takes its share of the callers, which is their number over the limit. Callers who were just answered
    are likely to ask again: a request that has not got its share waits for them, but no longer than `regroup_seconds`
    after the last answer, or after the last of them who came back. So a lone caller never waits.
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
        self._lock = threading.Lock()
        self._queue: list[Request] = []
        self._in_flight = 0  # requests that have a sender
        self._callers = 0
        self._expected = 0  # callers just answered, who may come back
        self._expected_until = self._answered_at = 0.0
        self._watch: Caller | None = None  # who wakes when they are expected no more

    def submit(self, row: Row, call: Call, job: Job[Row, Result]) -> Result:
        """The result of this row, which may share a request with others. Raises this row's SpcsError."""
        (result,) = self._run([row], call, job, joinable=True)
        if isinstance(result, SpcsError):
            raise result
        return result  # type: ignore[no-any-return]

    def submit_all(self, rows: Sequence[Row], call: Call, job: Job[Row, Result]) -> list[Result | SpcsError]:
        """A result or an error for each row, in order; by as many requests as it takes, one after the other."""
        results: list[Result | SpcsError] = []
        while len(results) < len(rows):
            results += self._run(self._chunk(rows, len(results), job), call, job, joinable=False)
            last = results[-1]
            if isinstance(last, SpcsError) and not is_refusal(last):
                return results + [last.again() for _ in rows[len(results) :]]  # an outage: not met again
        return results

    def _chunk(self, rows: Sequence[Row], start: int, job: Job[Row, Result]) -> Sequence[Row]:
        chunk = rows[start : start + self._sizes.most_rows(job.key, job.max_rows)]
        size = 0
        for count, row in enumerate(chunk):
            size += job.size(row)
            if count and size > self._body_limit:
                return chunk[:count]
        return chunk

    # -- what a caller does until its rows are done -----------------------------------------------------------

    def _run(self, rows: Sequence[Any], call: Call, job: Job[Any, Any], *, joinable: bool) -> list[Any]:
        caller = Caller(call, len(rows))
        entries = [Entry(row, job.size(row), caller) for row in rows]
        try:
            with self._lock:
                self._arrive(Request(job, entries, joinable=joinable))
            while (request := self._next_to_send(caller)) is not None:
                self._send(request)
        finally:
            if caller.pending:
                self._give_up(caller)
        return [entry.outcome() for entry in entries]

    def _arrive(self, request: Request) -> None:
        self._callers += 1
        if self._expected:
            self._expected -= 1
            now = self._clock()
            if (
                now < self._expected_until
            ):  # the others are on their way too, in a process that has much to do
                longest = self._answered_at + _MAX_REGROUPING * self._regroup_seconds
                self._expected_until = max(self._expected_until, min(longest, now + self._regroup_seconds))
        self._queue.append(request)
        self._appoint()

    def _next_to_send(self, caller: Caller) -> Request | None:
        """Waits for a request that this caller is to send. None when all its rows are done, or its time is up."""
        while caller.pending:
            with self._lock:
                if caller.to_send:
                    return caller.to_send[0]
                seconds = caller.call.remaining()
                if seconds <= 0:
                    break
                if self._watch is caller:
                    seconds = min(seconds, self._expected_until - self._clock())
                    if seconds <= 0:
                        self._appoint()
                        continue
            caller.sleep(seconds)
        return None

    def _give_up(self, caller: Caller) -> None:
        """Its rows that are not in flight will not be sent; answers to the others are dropped."""
        with self._lock:
            self._callers -= 1
            caller.gone = True
            self._in_flight -= len(caller.to_send)  # appointed in that very moment: another will be
            self._queue[:0] = caller.to_send
            caller.to_send.clear()
            for request in self._queue:
                request.entries = [entry for entry in request.entries if not entry.caller.gone]
            self._queue = [request for request in self._queue if request.entries]
            self._appoint()

    # -- what the next requests hold, and who sends them; all under the lock ----------------------------------

    def _appoint(self) -> bool:
        """Returns whether there is something more to send."""
        limit = max(1, self._limiter.limit)
        before = self._in_flight
        watch = None
        while self._queue and self._in_flight < limit:
            request = self._compose(limit)
            if request is None:
                watch = self._queue[0].sender
                if watch is not self._watch:
                    watch.wake()
                break
            self._in_flight += 1
            request.appoint_sender()
        self._watch = watch
        return self._in_flight > before

    def _compose(self, limit: int) -> Request | None:
        """Takes the next request off the queue. None when it is better to wait for the callers who are expected."""
        first = self._queue[0]
        if not first.joinable:
            return self._queue.pop(0)
        if self._expected and self._clock() >= self._expected_until:
            self._expected = 0
        share = -(-(self._callers + self._expected) // limit)
        share = min(share, self._sizes.most_rows(first.job.key, first.job.max_rows))
        if self._expected and len(self._queue) < share:
            return None
        taken: list[Entry] = []
        left: list[Request] = []
        size = 0
        for request in self._queue:
            if request.joinable and request.job.key == first.job.key:
                (entry,) = request.entries
                if not taken or (len(taken) < share and size + entry.size <= self._body_limit):
                    taken.append(entry)
                    size += entry.size
                    continue
                share = len(taken)  # it is full
            left.append(request)
        if self._expected and len(taken) < share:
            return None
        self._queue = left
        return Request(first.job, taken)

    # -- sending, and what comes of it ------------------------------------------------------------------------

    def _send(self, request: Request) -> None:
        with self._lock:
            call = request.depart()
        rows = [entry.row for entry in request.entries]
        results: Sequence[Any] = rows
        refusal = None
        began = self._clock()
        try:
            if rows:
                results = _one_for_each(rows, request.job.send(rows, call))
                if request.half_of is not None:
                    self._sizes.half_accepted(request.job.key, request.half_of)
        except SpcsError as error:
            results = [error.again() for _ in rows]
            if len(rows) > 1 and is_refusal(error):
                refusal = Refusal(error, len(rows), self._clock() - began)
        except BaseException as error:
            results = [_unexpected(error) for _ in rows]
            raise
        finally:
            self._end(request, call, results, refusal)

    def _end(self, request: Request, call: Call, results: Sequence[Any], refusal: Refusal | None) -> None:
        with self._lock:
            self._in_flight -= 1
            request.sender.to_send.remove(request)
            present = request.share_out(call)
            if refusal is not None:
                self._queue[:0] = request.halves(present, refusal)
            else:
                self._settle(request, results)
            more = self._appoint()
        try:
            if more and len(present) >= _CROWD:  # awake, they would keep the interpreter from the next sender
                self._sleep(_HEAD_START)
        finally:
            with self._lock:
                for entry in present:
                    entry.caller.wake()

    def _settle(self, request: Request, results: Sequence[Any]) -> None:
        self._answered_at = now = self._clock()
        if now >= self._expected_until:
            self._expected = 0
        self._expected_until = now + self._regroup_seconds
        for entry, result in zip(request.entries, results):
            caller = entry.caller
            if caller.gone:
                continue
            entry.result = result
            caller.pending -= 1
            if not caller.pending:
                self._callers -= 1
                self._expected += 1


def _one_for_each(rows: Sequence[Any], results: Sequence[Any]) -> Sequence[Any]:
    if len(results) != len(rows):
        raise ModelError(f"The service gives {len(results)} results for {len(rows)} queries.")
    return results


def _unexpected(error: BaseException) -> SpcsError:
    return SpcsError(
        f"The request that carried this query broke off ({type(error).__name__}).",
        "Please report this to the plugin's authors.",
    )
