"""Group commit: queries that arrive together share a request.

The first row goes at once, alone. Those that arrive while requests are in flight wait, and go together as soon as one
of them returns. No timer holds a lone caller back, and there is no thread: one of those who wait sends for all.

When a request returns, the callers just answered are on their way back with their next rows; to send without them
makes batches of one and of all but one in turns. So the next sender gives them a few milliseconds, counted from the
return, unless as many as were there are there already.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Generic, TypeVar

from spcs_llm.call import Call
from spcs_llm.errors import BadRequest, ModelError, RequestTooLarge, ServiceError, SpcsError
from spcs_llm.limits import Limiter

Row = TypeVar("Row")
Result = TypeVar("Result")

LARGEST_BODY = 900_000  # the ingress takes 1 MB: Snowflake documentation, "Real-time inference REST API"
_REGROUP_SECONDS = 0.003
_DEADLINE_SLACK = 0.05


@dataclass(frozen=True)
class Job(Generic[Row, Result]):
    """What rows have in common. Those of equal `key` may share a request.

    send: one request for some rows; gives a result or an error for each, raises what concerns them all.
    size: the bytes that a row takes in the request's body.
    """

    key: Hashable
    send: Callable[[Sequence[Row], Call], Sequence[Result | SpcsError]]
    max_rows: int
    size: Callable[[Row], int]


@dataclass(eq=False)
class _Entry:
    """A row on its way, and what its thread is told while it waits."""

    row: Any
    call: Call
    job: Job[Any, Any]
    size: int
    told: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    gathers: bool = False
    sends: list[_Entry] | None = None


class Batcher:
    """Groups the rows that one credential sends to one endpoint. Thread-safe.

    limiter: the endpoint's, whose limit is how many requests are sent at once.
    """

    def __init__(
        self,
        limiter: Limiter,
        *,
        clock: Callable[[], float] = time.monotonic,
        regroup_seconds: float = _REGROUP_SECONDS,
    ) -> None:
        self._limiter = limiter
        self._clock = clock
        self._regroup_seconds = regroup_seconds
        self._lock = threading.Lock()
        self._arrival = threading.Condition(self._lock)
        self._queue: list[_Entry] = []
        self._gatherer: _Entry | None = None
        self._requests = 0
        self._rows_in_flight = 0
        self._expected = 0
        self._returned_at = -1.0
        self._most_rows: int | None = None

    def submit(self, row: Row, call: Call, job: Job[Row, Result]) -> Result:
        """Sends the row, with others where there are some. Raises this row's SpcsError."""
        entry = _Entry(row, call, job, job.size(row))
        with self._lock:
            self._queue.append(entry)
            if self._gatherer is None and self._requests < self._limiter.limit:
                self._gatherer, entry.gathers = entry, True
            elif self._gatherer is not None:
                self._arrival.notify()
        result = self._outcome(entry)
        if isinstance(result, SpcsError):
            raise result
        return result  # type: ignore[no-any-return]

    def submit_all(self, rows: Sequence[Row], call: Call, job: Job[Row, Result]) -> list[Result | SpcsError]:
        """The rows of one query, by as few requests as they fit in; a result or an error for each, in order."""
        results: list[Result | SpcsError] = []
        rest = list(rows)
        while rest:
            taken = _fitting([job.size(row) for row in rest], self._cap(job))
            results.extend(self._sent([_Entry(row, call, job, 0) for row in rest[:taken]], call))
            rest = rest[taken:]
        return results

    # -- what a row's thread does until its row is answered -------------------------------------------------

    def _outcome(self, entry: _Entry) -> Any:
        while True:
            if entry.gathers:
                self._gather(entry)
            if entry.sends is not None:
                batch, entry.sends = entry.sends, None
                self._send(batch, entry)
            if entry.result is not None:
                return entry.result
            if not entry.told.wait(max(0.0, entry.call.remaining())) and self._gave_up(entry):
                raise entry.call.timeout("waiting for the answer to a shared request")
            entry.told.clear()

    def _gave_up(self, entry: _Entry) -> bool:
        """Takes the row back, unless its thread has just been told something: it must act on that."""
        with self._lock:
            if entry.told.is_set():
                return False
            if entry in self._queue:
                self._queue.remove(entry)
            return True

    def _gather(self, entry: _Entry) -> None:
        """Waits for the callers who are about to come back, forms the batch, and finds who sends it."""
        with self._lock:
            try:
                while len(self._queue) < self._expected:
                    left = self._returned_at + self._regroup_seconds - self._clock()
                    if left <= 0 or not self._arrival.wait(left):
                        self._expected = 0  # the others do not come back
            finally:
                entry.gathers = False
                self._gatherer = None
                batch = self._taken()
                if batch:
                    self._requests += 1
                    self._rows_in_flight += len(batch)
                    sender = max(batch, key=lambda one: one.call.deadline)
                    if entry in batch and entry.call.deadline + _DEADLINE_SLACK >= sender.call.deadline:
                        sender = entry
                    sender.sends = batch
                    if sender is not entry:
                        sender.told.set()
                self._choose_gatherer()

    def _taken(self) -> list[_Entry]:
        """The next batch, taken from the queue: rows like the first, a fair share of all that are there."""
        if not self._queue:
            return []
        job = self._queue[0].job
        alike = [entry for entry in self._queue if entry.job.key == job.key]
        there = max(self._expected, len(self._queue)) + self._rows_in_flight
        share = -(-there // self._limiter.limit)
        batch = alike[: _fitting([entry.size for entry in alike], min(self._cap(job), max(1, share)))]
        chosen = set(map(id, batch))
        self._queue = [entry for entry in self._queue if id(entry) not in chosen]
        self._expected = max(0, self._expected - len(batch))
        return batch

    def _choose_gatherer(self) -> None:
        if self._queue and self._gatherer is None and self._requests < self._limiter.limit:
            next_one = self._queue[-1]  # its deadline is the latest, as a rule: it can send for the others
            self._gatherer, next_one.gathers = next_one, True
            next_one.told.set()

    def _send(self, batch: list[_Entry], sender: _Entry) -> None:
        results: Sequence[Any] = ()
        try:
            call = sender.call if len(batch) == 1 else Call(sender.call.remaining(), sender.call.user)
            results = self._sent(batch, call)
        finally:
            with self._lock:
                self._requests -= 1
                self._rows_in_flight -= len(batch)
                self._expected = len(batch) + len(self._queue)
                self._returned_at = self._clock()
                self._choose_gatherer()
            for at, entry in enumerate(batch):
                entry.result = results[at] if results else _lost()
                if entry is not sender:
                    entry.told.set()

    # -- requests -------------------------------------------------------------------------------------------

    def _sent(self, batch: list[_Entry], call: Call) -> list[Any]:
        """The results of one request, or of several where one is refused and may be for the sake of one row."""
        job = batch[0].job
        shared = len(batch) > 1 and call is not batch[0].call
        try:
            results = list(job.send([entry.row for entry in batch], call))
            if len(results) != len(batch):
                raise ModelError(f"The service answers with {len(results)} rows for {len(batch)}.")
        except SpcsError as error:
            if len(batch) == 1 or not _may_be_one_rows_fault(error):
                results = [error.again() for _ in batch]
            else:
                if isinstance(error, RequestTooLarge):
                    self._most_rows = min(self._most_rows or len(batch), len(batch) // 2)
                results = []
        if shared:
            _share_out(call, batch)
        if results:
            return results
        half = len(batch) // 2
        return [
            result
            for part in (batch[:half], batch[half:])
            for result in self._sent(part, _next_call(call, part))
        ]

    def _cap(self, job: Job[Any, Any]) -> int:
        return job.max_rows if self._most_rows is None else max(1, min(job.max_rows, self._most_rows))


def _next_call(call: Call, part: list[_Entry]) -> Call:
    """The call for a part of a refused batch: the row's own where it is alone, or one query's that holds all rows."""
    if len(part) == 1 or part[0].call is call:
        return part[0].call
    return Call(call.remaining(), call.user)


def _fitting(sizes: Sequence[int], most: int) -> int:
    """How many of the first rows fit in one request: one at least, however large."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if count and (count >= most or total > LARGEST_BODY):
            return count
    return len(sizes)


def _may_be_one_rows_fault(error: SpcsError) -> bool:
    return isinstance(error, (BadRequest, RequestTooLarge, ModelError)) or type(error) is ServiceError


def _share_out(call: Call, batch: list[_Entry]) -> None:
    """Gives each row its part of what the request cost, and the record of it."""
    for entry in batch:
        entry.call.busy_seconds += call.busy_seconds / len(batch)
        entry.call.attempts += call.attempts
        entry.call.steps.extend(call.steps)


def _lost() -> SpcsError:
    return SpcsError("The query that sent this one along with its own broke off.", "Send it again.")
