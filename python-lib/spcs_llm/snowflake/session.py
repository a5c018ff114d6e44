"""A token that many threads use, kept alive: renewed before it ends, replaced once when it is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Protocol

from spcs_llm.call import Call
from spcs_llm.errors import LoginError, QueryTimeout, SpcsError

_MARGIN = 60.0
_LOGIN_FAILURE_KEPT = 10.0
_OTHER_FAILURE_KEPT = 1.5


@dataclass(frozen=True)
class Token:
    """headers: what carries it; their identity is the token's. Times are on the monotonic clock.

    grant: what the source keeps to renew it by. refused: it was, so that renewing is not enough.
    """

    headers: Mapping[str, str] = field(repr=False)
    refresh_at: float
    expires_at: float
    grant: Any = field(default=None, repr=False)
    refused: bool = False

    @classmethod
    def lasting(cls, headers: Mapping[str, str], seconds: float, now: float, grant: Any = None) -> Token:
        """A token of `seconds` from `now`, to be renewed a minute before its end or at half its life."""
        return cls(headers, now + seconds - min(_MARGIN, seconds / 2), now + seconds, grant)


class Fetcher(Protocol):
    """Where tokens come from."""

    def fetch(self, previous: Token | None, call: Call) -> Token:
        """A token in place of `previous`. Raises SpcsError."""

    def credential(self) -> object:
        """What a remembered failure is tied to: with another credential, it says nothing. Raises SpcsError."""


@dataclass
class _Flight:
    """A sign-in under way, and how it failed for all who wait."""

    landed: threading.Event = field(default_factory=threading.Event)
    error: SpcsError | None = None


@dataclass(frozen=True)
class _Failure:
    error: SpcsError
    until: float
    credential: object = field(repr=False)


class RenewedToken:
    """A TokenSource over a Fetcher. One sign-in at a time, whoever asks; a failure is shared, and kept for a moment."""

    def __init__(self, fetcher: Fetcher, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._flight: _Flight | None = None
        self._failure: _Failure | None = None
        self._no_renewal_before = 0.0

    def headers(self, call: Call) -> Mapping[str, str]:
        token = self._token
        if token is not None and self._clock() < token.refresh_at:
            return token.headers
        return self._signed_in(call).headers

    def refused(self, headers: Mapping[str, str], error: SpcsError) -> bool:
        with self._lock:
            token = self._token
            if token is not None and token.headers is headers:
                self._token = Token(token.headers, 0.0, 0.0, token.grant, refused=True)
        return True

    def _signed_in(self, call: Call) -> Token:
        while True:
            with self._lock:
                token, now = self._token, self._clock()
                if token is not None and (
                    now < token.refresh_at
                    or (
                        now < token.expires_at and (self._flight is not None or now < self._no_renewal_before)
                    )
                ):
                    return token
                flight, leads = self._flight, self._flight is None
                if flight is None:
                    flight = self._flight = _Flight()
            if leads:
                self._fly(flight, token, call)
            elif not flight.landed.wait(max(0.0, call.remaining())):
                raise call.timeout("another query was signing in for all")
            if flight.error is not None:
                raise flight.error.again()

    def _fly(self, flight: _Flight, token: Token | None, call: Call) -> None:
        """Leaves a new token, or the failure that all who wait share; this query's own end is not shared."""
        try:
            self._raise_recent_failure()
            fresh = self._fetcher.fetch(token, call)
            with self._lock:
                self._token, self._failure = fresh, None
        except QueryTimeout:
            raise
        except SpcsError as error:
            self._remember(error)
            if token is None or self._clock() >= token.expires_at:
                flight.error = error
        finally:
            with self._lock:
                self._flight = None
            flight.landed.set()

    def _raise_recent_failure(self) -> None:
        failure = self._failure
        if failure is None or self._clock() >= failure.until:
            return
        if not isinstance(failure.error, LoginError) or self._fetcher.credential() == failure.credential:
            raise failure.error.again()

    def _remember(self, error: SpcsError) -> None:
        now = self._clock()
        kept = _LOGIN_FAILURE_KEPT if isinstance(error, LoginError) else _OTHER_FAILURE_KEPT
        self._no_renewal_before = now + kept
        if self._failure is not None and now < self._failure.until:
            return  # told again, it does not last longer
        try:
            credential = self._fetcher.credential()
        except SpcsError:
            credential = None
        self._failure = _Failure(error, now + kept, credential)
