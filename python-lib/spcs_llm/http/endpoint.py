"""One HTTP client for one endpoint: authenticated, pooled, limited, retrying. Only this module waits and tries again.

It knows no kind of token: it asks its token source for headers, and reports which headers were refused.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from typing import Any, Callable, TypeVar

from spcs_llm.cost import BusyMeter
from spcs_llm.errors import NetworkError, QueryTimeout, SpcsError, TokenRefused
from spcs_llm.http.attempt import Attempt, Stream
from spcs_llm.http.exchange import Exchange
from spcs_llm.http.json_body import parse_json, refuse_html
from spcs_llm.http.limits import Limiter, Slot
from spcs_llm.http.request import HttpRequest
from spcs_llm.http.retry import Retries, RetryBudget, RetryPolicy
from spcs_llm.http.token_source import ErrorFromResponse, TokenSource
from spcs_llm.http.transport import Transport
from spcs_llm.query_context import QueryContext
from spcs_llm.server_text.redaction import without_private_text

_SECONDS_BEFORE_ANOTHER_REPLACEMENT = 30.0
_MAX_ERROR_BODY = 64 * 1024
_MAX_TURNS_GIVEN_BACK = 2

T = TypeVar("T")


class Endpoint:
    """A client for what stands behind one URL. Thread-safe; shared by all that use the URL with one credential.

    Args:
        transport: Connections to the host.
        tokens: Gives the headers that sign a request in.
        error_from_response: Turns a refusal into an error.
        limiter: Limits the requests in flight; None: no limit.
        meter: Measures the time in which the service is busy.
        retry: How often and how long to try again.
        budget: Limits the retries of an outage.
        idle_seconds: The longest silence within an attempt.
        clock: Seconds that never go back.
        sleep: Makes the pauses between attempts.
        step_name: The name of a request in the trace.
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
        """Sends a request.

        Args:
            http_request: The request.
            context: The query that it is for.

        Returns:
            The JSON of the answer.

        Raises:
            SpcsError: If no attempt succeeds within the query's time.
        """
        return parse_json(self.send_for_body(http_request, context))

    def send_for_body(self, http_request: HttpRequest, context: QueryContext) -> bytes:
        """Sends a request.

        Args:
            http_request: The request.
            context: The query that it is for.

        Returns:
            The bytes of the answer.

        Raises:
            SpcsError: If no attempt succeeds within the query's time.
        """
        return self._with_retries(http_request, context, _whole_body)

    def open(self, http_request: HttpRequest, context: QueryContext, begin: Callable[[Stream], T]) -> T:
        """Sends a request, and leaves its answer's stream open.

        What `begin` reads is asked for again when it stops. The rest is the caller's to read and to close, and
        so are failures from then on.

        Args:
            http_request: The request.
            context: The query that it is for.
            begin: Reads the beginning of the stream.

        Returns:
            What `begin` returns.

        Raises:
            SpcsError: If no attempt succeeds within the query's time.
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
        """Sends a request, and reads its answer as it comes. An answer that stops before its end is asked for again.

        Args:
            http_request: The request.
            context: The query that it is for.
            consume: Reads the stream.

        Returns:
            What `consume` returns.

        Raises:
            SpcsError: If no attempt succeeds within the query's time.
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
                context.log("is refused: %s", type(refusal.error).__name__)
                if not self._tokens.refused(refusal.headers, refusal.error):
                    raise refusal.error from None
            except SpcsError as error:
                context.last_error = error
                if isinstance(error, NetworkError) and error.stale and not fresh_connection_tried:
                    # The server had closed an idle connection, which is no failure.
                    fresh_connection_tried = True
                    context.log("tries again at once: the connection it was sent on was closed")
                else:
                    delay = retries.delay_after(error)
                    if delay is None:
                        raise
                    self._wait(delay, error, context)
            http_request = http_request.again()

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
        context.record_step("SPCS_WAIT", time.time(), delay, reason=type(error).__name__, place=error.place)
        context.log("waits %.1f s to try again after %s (%s)", delay, type(error).__name__, error.status)
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
        slot, headers = self._admitted(context)
        attempt = Attempt(self._transport, slot, self._meter, context, http_request, self._step_name)
        try:
            context.log(
                "sends %s %s (%d bytes)",
                http_request.method,
                http_request.path.partition("?")[0],
                len(body or b""),
            )
            exchange = attempt.start(http_request, body, headers, self._idle_seconds)
            context.log("is answered with HTTP %d", exchange.status)
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

    def _admitted(self, context: QueryContext) -> tuple[Slot | None, Mapping[str, str]]:
        """Waits for a slot.

        Signing in is done without a slot: one user's slow sign-in would keep the others from the endpoint. A token
        that expired while its query waited for the slot is replaced, and the query goes before the user's others.

        Args:
            context: The query.

        Returns:
            A slot, None where there is no limit, and the headers to use it with.
        """
        headers = self._token_headers(context)
        if self._limiter is None:
            return None, headers
        slot = self._limiter.slot(context)
        for _ in range(_MAX_TURNS_GIVEN_BACK):
            current = self._tokens.at_hand()
            if current is not None:
                return slot, current
            slot.release()
            headers = self._token_headers(context)
            slot = self._limiter.slot(context, ahead=True)
        return slot, headers  # the token's life is shorter than any wait

    def _token_headers(self, context: QueryContext) -> Mapping[str, str]:
        try:
            return self._tokens.headers(context)
        except SpcsError as error:
            raise _NotSignedIn(error) from None

    def _refusal(
        self, exchange: Exchange, http_request: HttpRequest, headers: Mapping[str, str]
    ) -> Exception:
        error = self._error_from_response(exchange.status, exchange.headers, _beginning_of_body(exchange))
        error.mask_quotation(lambda words: without_private_text(words, http_request.payload))
        if isinstance(error, TokenRefused) and not (http_request.is_probe and error.status == 404):
            return _Refused(error, headers)
        return error


def _whole_body(attempt: Attempt) -> bytes:
    body = attempt.exchange.body()
    refuse_html(attempt.exchange.headers, body)
    return body


def _beginning_of_body(exchange: Exchange) -> bytes:
    """What there is of an error's body: the status says enough if it stops before its end, or is not readable."""
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
    """There is no token to send. Signing in has its own retries: trying it again here would multiply them."""

    def __init__(self, error: SpcsError) -> None:
        super().__init__()
        self.error = error
