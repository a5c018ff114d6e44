"""One HTTP client for one endpoint: authenticated, pooled, limited, retrying. Only this module waits and tries again.

It knows no kind of token: it asks its token source for headers, and tells it which headers were refused.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Protocol, TypeVar

from spcs_llm.cost import BusyMeter
from spcs_llm.errors import ModelError, NetworkError, QueryTimeout, SpcsError, TokenRefused
from spcs_llm.http.exchange import Exchange
from spcs_llm.http.limits import Limiter
from spcs_llm.http.retry import Retries, RetryBudget, RetryPolicy
from spcs_llm.http.transport import Transport
from spcs_llm.query_context import QueryContext
from spcs_llm.redaction import without_private_text

_SECONDS_BEFORE_ANOTHER_REPLACEMENT = 30.0
_MAX_ERROR_BODY = 64 * 1024

T = TypeVar("T")


class TokenSource(Protocol):
    """Who signs requests. Thread-safe."""

    def headers(self, context: QueryContext) -> Mapping[str, str]:
        """The headers that authorise a request now; signs in first when it must. Raises LoginError."""

    def refused(self, headers: Mapping[str, str], error: SpcsError) -> bool:
        """Tells that these headers were refused. A newer token than theirs is not thrown away.

        Returns whether it is worth asking for headers again: there are others, or may be.
        """


class ErrorFromResponse(Protocol):
    def __call__(self, status: int, headers: Mapping[str, str], body: bytes) -> SpcsError:
        """The error behind a response that is no success."""


class NoToken:
    """For servers that want none, and for the requests that sign in."""

    def headers(self, context: QueryContext) -> Mapping[str, str]:
        return {}

    def refused(self, headers: Mapping[str, str], error: SpcsError) -> bool:
        return False


@dataclass(frozen=True)
class HttpRequest:
    """A request: `path` below the endpoint's URL, and its JSON `payload` or, already encoded, its `body`.

    weight: how many queries share it. step: its name in the trace, where it is not the endpoint's usual one.
    """

    path: str
    payload: Any | None = field(default=None, repr=False)
    method: str = "POST"
    weight: int = 1
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    step: str | None = None

    def encoded(self) -> bytes | None:
        if self.body is not None or self.payload is None:
            return self.body
        return json.dumps(self.payload, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


class Endpoint:
    """A client for what stands behind one URL. Thread-safe; shared by all that use the URL with one credential.

    error_from_response: turns a refusal into an error. idle_seconds: the longest silence within an attempt.
    """

    def __init__(
        self,
        transport: Transport,
        tokens: TokenSource,
        error_from_response: ErrorFromResponse,
        *,
        limiter: Limiter | None = None,
        meter: BusyMeter | None = None,
        retry: RetryPolicy = RetryPolicy(),
        budget: RetryBudget | None = None,
        idle_seconds: float = 90.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        step_name: str = "SPCS_REQUEST",
    ) -> None:
        self._transport = transport
        self._tokens = tokens
        self._error_from_response = error_from_response
        self._limiter = limiter
        self._meter = meter
        self._retry = retry
        self._budget = budget or RetryBudget()
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._sleep = sleep
        self._step_name = step_name
        self._refused_though_fresh: Mapping[str, str] = {}
        self._no_replacement_before = -math.inf

    @property
    def host(self) -> str:
        return self._transport.url.netloc

    def send(self, http_request: HttpRequest, context: QueryContext) -> Any:
        """Sends the request and returns the JSON of its answer. Raises SpcsError."""
        return parse_json(self.send_for_body(http_request, context))

    def send_for_body(self, http_request: HttpRequest, context: QueryContext) -> bytes:
        """Sends the request and returns the bytes of its answer. Raises SpcsError."""
        return self._with_retries(http_request, context, _whole_body)

    def open(self, http_request: HttpRequest, context: QueryContext, begin: Callable[[Stream], T]) -> T:
        """Sends the request and returns what `begin` makes of its answer's stream. Raises SpcsError.

        What `begin` reads is asked for again when it breaks off. It leaves the stream open: the rest is its
        caller's to read and to close, and so are failures from then on.
        """

        def receive(attempt: Attempt) -> T:
            stream = Stream.opened(attempt)
            try:
                return begin(stream)
            except BaseException as error:
                stream.fail(error)
                raise

        return self._with_retries(http_request, context, receive)

    def read(self, http_request: HttpRequest, context: QueryContext, consume: Callable[[Stream], T]) -> T:
        """Sends the request and returns what `consume` makes of its answer. Raises SpcsError.

        An answer that breaks off in the middle is asked for again.
        """

        def receive(attempt: Attempt) -> T:
            with Stream.opened(attempt) as stream:
                return consume(stream)

        return self._with_retries(http_request, context, receive)

    def _with_retries(
        self, http_request: HttpRequest, context: QueryContext, receive: Callable[[Attempt], T]
    ) -> T:
        body = http_request.encoded()
        retries = Retries(self._retry, self._budget, self._clock)
        fresh_connection_tried = token_replaced = False
        while True:
            try:
                result = self._attempt(http_request, body, context, receive)
                retries.succeeded()
                return result
            except _NotSignedIn as failure:
                raise failure.error from None
            except _Refused as refusal:
                context.last_error = refusal.error
                if not self._may_replace(refusal.headers, token_replaced):
                    raise refusal.error from None
                token_replaced = True
                if not self._tokens.refused(refusal.headers, refusal.error):
                    raise refusal.error from None
            except SpcsError as error:
                context.last_error = error
                if isinstance(error, NetworkError) and error.stale and not fresh_connection_tried:
                    fresh_connection_tried = (
                        True  # the server had closed an idle connection: no failure of it
                    )
                    continue
                delay = retries.delay_after(error)
                if delay is None:
                    raise
                self._wait(delay, error, context)

    def _may_replace(self, headers: Mapping[str, str], replaced_already: bool) -> bool:
        """A refusal that a fresh token did not cure has another reason: signing in for each call would not help."""
        now = self._clock()
        if replaced_already:
            self._refused_though_fresh = dict(headers)
            self._no_replacement_before = now + _SECONDS_BEFORE_ANOTHER_REPLACEMENT
            return False
        return now >= self._no_replacement_before or headers != self._refused_though_fresh

    def _wait(self, delay: float, error: SpcsError, context: QueryContext) -> None:
        if delay >= context.remaining():
            raise context.timeout("waiting to try again") from None
        context.record_step(
            "SPCS_WAIT", time.time(), delay, reason=type(error).__name__, place=error.place, why=error.message
        )
        self._sleep(delay)

    def _attempt(
        self,
        http_request: HttpRequest,
        body: bytes | None,
        context: QueryContext,
        receive: Callable[[Attempt], T],
    ) -> T:
        if context.remaining() <= 0:
            raise context.timeout("preparing the request")
        if self._limiter is not None:
            self._limiter.acquire(context)
        attempt = Attempt(self._transport, self._limiter, self._meter, context, http_request, self._step_name)
        try:
            headers = self._token_headers(context)
            exchange = attempt.start(http_request, body, headers, self._idle_seconds)
            if not 200 <= exchange.status < 300:
                raise self._refusal(exchange, http_request, headers)
            return receive(attempt)
        except _Refused as refusal:
            attempt.fail(refusal.error)
            raise
        except SpcsError as error:
            attempt.fail(error)
            if context.remaining() > 0 or isinstance(error, QueryTimeout):
                raise
            if not (isinstance(error, NetworkError) and error.silent):
                context.last_error = error
            raise context.timeout("waiting for the service's answer") from None
        finally:
            if not attempt.handed_over:
                attempt.end()

    def _token_headers(self, context: QueryContext) -> Mapping[str, str]:
        try:
            return self._tokens.headers(context)
        except SpcsError as error:
            raise _NotSignedIn(error) from None

    def _refusal(
        self, exchange: Exchange, http_request: HttpRequest, headers: Mapping[str, str]
    ) -> Exception:
        error = self._error_from_response(exchange.status, exchange.headers, _beginning_of_body(exchange))
        error.message = without_private_text(error.message, http_request.payload)
        if isinstance(error, TokenRefused):
            return _Refused(error, headers)
        return error


def _whole_body(attempt: Attempt) -> bytes:
    body = attempt.exchange.body()
    refuse_html(attempt.exchange.headers, body)
    return body


def _beginning_of_body(exchange: Exchange) -> bytes:
    """What there is of an error's body: the status says enough if it breaks off, or is not readable."""
    body = b""
    with contextlib.suppress(SpcsError):
        for chunk in exchange.chunks():
            body += chunk
            if len(body) > _MAX_ERROR_BODY:
                break
    return body


class _Refused(Exception):
    """The token was refused; `headers` are those that carried it."""

    def __init__(self, error: SpcsError, headers: Mapping[str, str]) -> None:
        super().__init__()
        self.error = error
        self.headers = headers


class _NotSignedIn(Exception):
    """There is no token to send. Signing in has retries of its own: trying it again here would multiply them."""

    def __init__(self, error: SpcsError) -> None:
        super().__init__()
        self.error = error


class Attempt:
    """One try of one request: its slot, its share of the cost, its line in the trace. Ends once, whoever ends it."""

    def __init__(
        self,
        transport: Transport,
        limiter: Limiter | None,
        meter: BusyMeter | None,
        context: QueryContext,
        http_request: HttpRequest,
        step_name: str,
    ) -> None:
        self._transport = transport
        self._limiter = limiter
        self._meter = meter
        self._context = context
        self._weight = http_request.weight
        self._step = http_request.step or step_name
        self._path = http_request.path.partition("?")[0]
        self._mark: float | None = None
        self._began = 0.0
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
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        self._context.attempts += 1
        self._began = time.time()
        self._mark = self._meter.start(self._weight) if self._meter is not None else None
        self._exchange = self._transport.send(
            http_request.method,
            http_request.path,
            headers,
            body,
            seconds=max(0.001, self._context.remaining()),
            idle_seconds=idle_seconds,
        )
        return self._exchange

    def fail(self, error: SpcsError) -> None:
        self._error = error

    def end(self) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
        busy = 0.0
        try:
            if self._exchange is not None:
                self._transport.finish(self._exchange)
        finally:
            if self._meter is not None and self._mark is not None:
                busy = self._meter.end(self._mark, self._weight)
                self._context.busy_seconds += busy
            if self._limiter is not None:
                self._limiter.release()
        if self._began:
            self._context.record_step(self._step, self._began, time.time() - self._began, **self._facts(busy))

    def _facts(self, busy: float) -> dict[str, Any]:
        facts: dict[str, Any] = {"path": self._path, "attempt": self._context.attempts, "busySeconds": busy}
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
        """The bytes as they come. Raises NetworkError when the answer is cut short, QueryTimeout when time is up.

        Neither its end nor letting go of it closes the stream: whoever opened that does.
        """
        try:
            yield self._first
            yield from self._rest
        except NetworkError as error:
            self._attempt.fail(error)
            if self._attempt.context.remaining() <= 0:
                raise self._attempt.context.timeout("reading the service's answer") from None
            raise

    def done(self) -> None:
        """The reader has all it wants: the connection is kept if the answer ends here, and closed if it goes on."""
        self._attempt.exchange.drain()
        self.close()

    def close(self) -> None:
        self._attempt.end()


def refuse_html(headers: Mapping[str, str], body: bytes) -> None:
    """Raises ModelError for a web page: whatever the status says, it is no model's answer."""
    content_type = headers.get("Content-Type", "")
    if "html" in content_type.lower() or body[:64].lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise ModelError(
            "A web page came instead of a model's answer.",
            "Check that 'LLM endpoint URL' is the model's own endpoint, and not that of a user interface.",
            place="service",
        )


def parse_json(body: bytes) -> Any:
    """The JSON in `body`. Raises ModelError that says what is there instead, without quoting it."""
    try:
        return json.loads(body)
    except UnicodeDecodeError:
        problem = "text that is not UTF-8"
    except RecursionError:
        problem = "JSON nested too deeply"
    except ValueError:
        problem = "no valid JSON" if body.strip() else "an empty body"
    raise ModelError(
        f"The service answered with {problem} ({len(body)} bytes).",
        "Check 'Service protocol' and the service's logs: SYSTEM$GET_SERVICE_LOGS.",
        place="service",
    )
