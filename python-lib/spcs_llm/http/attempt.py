"""One try of one request, and its answer while that arrives."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from spcs_llm.cost import BusyMeter
from spcs_llm.errors import NetworkError, SpcsError
from spcs_llm.http.exchange import Exchange
from spcs_llm.http.json_body import refuse_html
from spcs_llm.http.limits import Slot
from spcs_llm.http.request import HttpRequest
from spcs_llm.http.transport import Transport
from spcs_llm.query_context import QueryContext
from spcs_llm.server_text.redaction import SENT_SECRETS

GRACE_SECONDS = 2.0


class Attempt:
    """One try of one request: its slot, its share of the cost, its line in the trace.

    The slot and the share are given back once, by whoever ends the attempt: its reader, its deadline while the reader
    hangs, or the garbage collector when the reader is gone.
    """

    def __init__(
        self,
        transport: Transport,
        slot: Slot | None,
        meter: BusyMeter | None,
        context: QueryContext,
        http_request: HttpRequest,
        step_name: str,
    ) -> None:
        self._transport = transport
        self._slot = slot
        self._meter = meter
        self._context = context
        self._weight = http_request.weight
        self._step = http_request.step or step_name
        self._path = http_request.path.partition("?")[0]
        self._marks: list[float] = []
        self._busy = 0.0
        self._began: tuple[float, float] | None = None
        self._ended = False
        self._error: SpcsError | None = None
        self._lock = threading.Lock()
        self._exchange: Exchange | None = None
        self.handed_over = False

    @property
    def exchange(self) -> Exchange:
        if self._exchange is None:
            raise RuntimeError("the attempt has not started")
        return self._exchange

    @property
    def context(self) -> QueryContext:
        return self._context

    def start(
        self, http_request: HttpRequest, body: bytes | None, token: Mapping[str, str], idle_seconds: float
    ) -> Exchange:
        headers = {"Accept": "*/*", **http_request.headers, **token}
        SENT_SECRETS.add_headers(token)
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        self._context.attempts += 1
        self._began = time.time(), time.monotonic()
        if self._meter is not None:
            self._marks.append(self._meter.start(self._weight))
        self._exchange = self._transport.send(
            http_request.method,
            http_request.path,
            headers,
            body,
            seconds=max(0.001, self._context.remaining()),
            idle_seconds=idle_seconds,
            max_body=http_request.max_body,
            on_cut=self._cut_off,
        )
        return self._exchange

    def fail(self, error: SpcsError) -> None:
        self._error = error

    def end(self) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
        try:
            if self._exchange is not None:
                self._transport.finish(self._exchange)
        finally:
            self._give_back()
        if self._began is not None:
            began, since = self._began
            self._context.record_step(self._step, began, time.monotonic() - since, **self._facts(self._busy))

    def _cut_off(self) -> None:
        """Called by the watchdog when the attempt's time is up, while its reader may hang."""
        self._context.log("is cut off: its time is up")
        self._give_back()

    def _give_back(self) -> None:
        try:
            mark = self._marks.pop()  # one atomic step, so that only one of two threads does it
        except IndexError:
            pass
        else:
            if self._meter is not None:
                self._busy = self._meter.end(mark, self._weight)
                self._context.busy_seconds += self._busy
        if self._slot is not None:
            self._slot.release()

    def _facts(self, busy: float) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "host": self._transport.url.netloc,
            "path": self._path,
            "attempt": self._context.attempts,
            "busySeconds": busy,
        }
        if self._exchange is not None:
            facts["status"] = self._exchange.status
            facts["reusedConnection"] = self._exchange.reused_connection
        if self._weight > 1:
            facts["queries"] = self._weight
        if self._error is not None:
            facts["error"] = type(self._error).__name__
        return facts


class Stream:
    """An answer that is still arriving. Closing it before its end closes the connection at once."""

    def __init__(self, attempt: Attempt, first: bytes, rest: Iterator[bytes]) -> None:
        self._attempt = attempt
        self._first = first
        self._rest = rest

    @classmethod
    def opened(cls, attempt: Attempt) -> Stream:
        rest = attempt.exchange.chunks()
        first = next(rest, b"")
        refuse_html(attempt.exchange.headers, first)
        attempt.handed_over = True
        return cls(attempt, first, rest)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.fail(error)

    def fail(self, error: object) -> None:
        """Closes the stream; `error` is why, if it is one."""
        if isinstance(error, SpcsError):
            self._attempt.fail(error)
        self.close()

    def chunks(self) -> Iterator[bytes]:
        """The bytes as they come.

        Neither its end nor letting go of it closes the stream: whoever opened it does that.

        Yields:
            Parts of the body, unpacked.

        Raises:
            NetworkError: If the answer is cut short.
            QueryTimeout: If the query's time is up.
        """
        try:
            yield self._first
            yield from self._rest
        except NetworkError as error:
            self._attempt.fail(error)
            if self._attempt.context.remaining() <= 0:
                raise self._attempt.context.timeout("reading the service's answer") from None
            raise

    def expect_end(self, seconds: float = GRACE_SECONDS) -> None:
        """Reports that the answer is whole: what may still follow, such as counts of tokens, has this long to come.

        Reading on raises NetworkError when the time is up.
        """
        self._attempt.exchange.expect_end(seconds)

    def done(self) -> None:
        """The reader has all it wants: the connection is kept if the answer ends here, and closed if it goes on."""
        self._attempt.exchange.drain()
        self.close()

    def close(self) -> None:
        self._attempt.end()
