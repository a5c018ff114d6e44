"""Who waits, and which rows go together."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Generic, TypeVar

from spcs_llm.batching.sizes import Refusal
from spcs_llm.errors import SpcsError
from spcs_llm.query_context import Call

_PENDING = object()

Row = TypeVar("Row")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Job(Generic[Row, Result]):
    """How rows are sent. Only rows of equal `key` share a request.

    send: makes one HTTP request and returns a result or an error for each row, in order; raises the SpcsError that
    concerns them all. size: bytes that a row takes in the request's body.
    """

    key: Hashable
    send: Callable[[Sequence[Row], Call], Sequence[Result | SpcsError]]
    max_rows: int
    size: Callable[[Row], int]


class Caller:
    """A thread that waits for `pending` results, and meanwhile sends the requests that it is appointed to."""

    def __init__(self, call: Call, pending: int) -> None:
        self.call = call
        self.pending = pending
        self.gone = False
        self.to_send: list[Request] = []
        self._alarm = threading.Lock()  # an Event would take longer than all else that is done for a row
        self._alarm.acquire()

    def sleep(self, seconds: float) -> None:
        """Until somebody wakes it; not at all if somebody has since it last slept."""
        self._alarm.acquire(timeout=seconds)

    def wake(self) -> None:
        """Under the batcher's lock."""
        if self._alarm.locked():
            self._alarm.release()


@dataclass(eq=False)
class Entry:
    """A row on its way. sent: the call of the request that carries it."""

    row: Any
    size: int
    caller: Caller
    sent: Call | None = None
    result: Any = _PENDING

    def outcome(self) -> Any:
        """Its result; or a timeout, which tells what it was waiting for."""
        if self.result is not _PENDING:
            return self.result
        call, sent = self.caller.call, self.sent
        if sent is None:
            return call.timeout("waiting for other requests to the endpoint to end ('Max parallelism')")
        if sent is not call:
            _add(call, sent)
        return call.timeout("waiting for the service's answer")


class Request:
    """Rows that go together. joinable: one row, which others may join. half_of: the request that was refused."""

    def __init__(
        self,
        job: Job[Any, Any],
        entries: list[Entry],
        *,
        joinable: bool = False,
        half_of: Refusal | None = None,
    ) -> None:
        self.job = job
        self.entries = entries
        self.joinable = joinable
        self.half_of = half_of
        self.sender = entries[0].caller

    def appoint_sender(self) -> None:
        """Whoever has most time left: when that is up, so is everybody's."""
        callers = [entry.caller for entry in self.entries]
        self.sender = (
            callers[0] if len(callers) == 1 else max(callers, key=lambda caller: caller.call.deadline)
        )
        self.sender.to_send.append(self)
        self.sender.wake()

    def depart(self) -> Call:
        """Leaves behind the rows whose time is up. Returns the call to send by: the sender's, or one for all."""
        self.entries = [entry for entry in self.entries if entry.caller.call.remaining() > 0]
        call = self.sender.call
        if any(entry.caller is not self.sender for entry in self.entries):
            call = call.aside()
            call.steps = []
        for entry in self.entries:
            entry.sent = call
        return call

    def share_out(self, call: Call) -> list[Entry]:
        """Charges what it took to those who are still there, whom it returns."""
        present = [entry for entry in self.entries if not entry.caller.gone]
        for entry in present:
            if entry.caller.call is not call:
                _add(entry.caller.call, call)
                entry.caller.call.busy_seconds += call.busy_seconds / len(present)
        return present

    def halves(self, entries: list[Entry], refusal: Refusal) -> list[Request]:
        for entry in entries:
            entry.sent = None
        parts = entries[: refusal.half], entries[refusal.half :]
        return [Request(self.job, part, half_of=refusal) for part in parts if part]


def _add(call: Call, shared: Call) -> None:
    call.attempts += shared.attempts
    call.steps += shared.steps
    call.last_error = shared.last_error
