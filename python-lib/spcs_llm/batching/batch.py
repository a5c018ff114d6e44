"""Who waits, and which rows go together."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Generic, TypeVar

from spcs_llm.batching.sizes import Refusal
from spcs_llm.errors import SpcsError
from spcs_llm.query_context import QueryContext

_PENDING = object()

RowT = TypeVar("RowT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class BatchSpec(Generic[RowT, ResultT]):
    """How rows are sent. Only rows of equal `key` share a request.

    Attributes:
        key: What rows must have in common to share a request.
        send: Makes one HTTP request, and returns a result or an error for each row, in order. It raises the SpcsError
            that concerns them all.
        max_rows: The most rows in a request.
        size: The bytes that a row takes in the request's body.
    """

    key: Hashable
    send: Callable[[Sequence[RowT], QueryContext], Sequence[ResultT | SpcsError]]
    max_rows: int
    size: Callable[[RowT], int]


class Waiter:
    """A thread that waits for `pending` results, and meanwhile sends the requests that it is appointed to."""

    def __init__(self, context: QueryContext, pending: int) -> None:
        self.context = context
        self.pending = pending
        self.gone = False
        self.to_send: list[Batch] = []
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
class QueuedRow:
    """A row on its way.

    Attributes:
        value: What `BatchSpec.send` takes.
        size: Bytes in the request's body.
        waiter: Whose row it is.
        sent: The context of the request that carries it; None until it is sent.
        result: What came of it.
    """

    value: Any
    size: int
    waiter: Waiter
    sent: QueryContext | None = None
    result: Any = _PENDING

    def outcome(self) -> Any:
        """Its result; or a timeout, which says what it was waiting for."""
        if self.result is not _PENDING:
            return self.result
        context, sent = self.waiter.context, self.sent
        if sent is None:
            return context.timeout("waiting for other requests to the endpoint to end ('Max parallelism')")
        if sent is not context:
            _add(context, sent)  # which others share
        return context.timeout("waiting for the service's answer")


class Batch:
    """Rows that are sent together.

    Attributes:
        spec: How they are sent.
        queued: The rows.
        joinable: Whether other rows may join them: they are one row, of a query that allows it.
        half_of: The refused request that they are half of.
        sender: The thread that will send them.
    """

    def __init__(
        self,
        spec: BatchSpec[Any, Any],
        queued: list[QueuedRow],
        *,
        joinable: bool = False,
        half_of: Refusal | None = None,
    ) -> None:
        self.spec = spec
        self.queued = queued
        self.joinable = joinable
        self.half_of = half_of
        self.sender = queued[0].waiter

    @property
    def is_shared(self) -> bool:
        """Whether it carries queries of several callers, who may be several users."""
        return any(row.waiter is not self.sender for row in self.queued)

    def appoint_sender(self) -> None:
        """Whoever has most time left: when that is up, so is everybody's."""
        waiters = [row.waiter for row in self.queued]
        self.sender = (
            waiters[0] if len(waiters) == 1 else max(waiters, key=lambda waiter: waiter.context.deadline)
        )
        self.sender.to_send.append(self)
        self.sender.wake()

    def depart(self) -> QueryContext:
        """Leaves behind the rows whose time is up.

        Returns:
            The context to send by: the sender's own, or a shared one when there are several callers.
        """
        self.queued = [row for row in self.queued if row.waiter.context.remaining() > 0]
        context = self.sender.context
        if self.is_shared:
            context = context.child()
            context.steps = []
        for row in self.queued:
            row.sent = context
        return context

    def share_out(self, context: QueryContext) -> list[QueuedRow]:
        """Charges what the request took to the callers who are still waiting.

        Returns:
            Their rows.
        """
        present = [row for row in self.queued if not row.waiter.gone]
        for row in present:
            if row.waiter.context is not context:
                _add(row.waiter.context, context)
                row.waiter.context.busy_seconds += context.busy_seconds / len(present)
        return present

    def halves(self, queued: list[QueuedRow], refusal: Refusal) -> list[Batch]:
        for row in queued:
            row.sent = None
        parts = queued[: refusal.half], queued[refusal.half :]
        return [Batch(self.spec, part, half_of=refusal) for part in parts if part]


def _add(context: QueryContext, shared: QueryContext) -> None:
    context.attempts += shared.attempts
    context.steps += shared.steps
    if shared.last_error is not None:
        context.last_error = shared.last_error.without_quotation()
