"""A token that many threads use, kept alive: renewed before it ends, replaced once when it is refused."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Protocol

from spcs_llm.errors import LoginError, QueryTimeout, SpcsError
from spcs_llm.query_context import QueryContext
from spcs_llm.sharing.after_fork import renew_in_child
from spcs_llm.sharing.single_flight import SingleFlight
from spcs_llm.snowflake.login_errors import CREDENTIAL_OVER, login_timeout

_MARGIN = 60.0
_REFUSAL_KEPT = 10.0
_OUTAGE_KEPT = 1.5
_EARLY_RENEWAL_SECONDS = 10.0
# How many one after the other, and then one in each so many seconds.
_SIGN_INS, _SECONDS_PER_SIGN_IN = 10, 0.5
_REPLACEMENTS, _SECONDS_PER_REPLACEMENT = 5, 10.0


@dataclass(frozen=True)
class Token:
    """A token and its life. Times are on the monotonic clock.

    Attributes:
        headers: The headers that carry it.
        refresh_at: When to replace it, early enough that no query has to wait.
        expires_at: When it is no longer good.
        grant: What the sign-in renews it by; of no meaning to others.
        refused: Whether it was refused, so that a renewal is not enough.
    """

    headers: Mapping[str, str] = field(repr=False)
    refresh_at: float
    expires_at: float
    grant: Any = field(default=None, repr=False)
    refused: bool = False

    @classmethod
    def lasting(cls, headers: Mapping[str, str], seconds: float, since: float, grant: Any = None) -> Token:
        """A token of `seconds`, to be renewed a minute before its end, or at half its life if that is later."""
        return cls(headers, since + seconds - min(_MARGIN, seconds / 2), since + seconds, grant)

    def kept_until_next_try(self, now: float) -> Token:
        """The same after a renewal that failed: each try leaves a quarter of what is left, and at least a second."""
        left = self.expires_at - now
        return replace(self, refresh_at=min(now + max(1.0, left / 4), self.expires_at))

    def used_until(self, moment: float) -> Token:
        """The same for somewhat longer than it was said to last."""
        return replace(self, refresh_at=max(self.refresh_at, moment), expires_at=max(self.expires_at, moment))

    def after_refusal(self) -> Token:
        return replace(self, refresh_at=-math.inf, expires_at=-math.inf, refused=True)


class SignIn(Protocol):
    """A way to get tokens."""

    def credential(self) -> str:
        """What `log_in` proves the user by, read each time.

        Returns:
            The credential.

        Raises:
            LoginError: If there is none.
        """

    def log_in(self, credential: str, context: QueryContext) -> Token:
        """Signs in with nothing but the credential.

        Args:
            credential: What `credential` returned.
            context: The query that waits.

        Returns:
            A token.

        Raises:
            SpcsError: If signing in fails.
        """

    def renew(self, token: Token, context: QueryContext) -> Token | None:
        """Replaces a token.

        Args:
            token: The token to replace.
            context: The query that waits.

        Returns:
            A token, or None if only a login can give one.

        Raises:
            SpcsError: If Snowflake cannot be asked.
        """


class TokenCache:
    """A TokenSource over a SignIn. One thread at a time signs in, for all; what it meets is told to those who wait.

    A refusal is remembered for 10 s, unless there is another credential to try by then; an outage for 1.5 s.

    A server cannot make it sign in for each query. Where one refuses tokens again and again, five are replaced, and
    from then on one in 10 s: in between, a query that is refused tries again with the token that there is. Where
    tokens last next to nothing, ten are fetched, and from then on two a second.
    """

    def __init__(self, sign_in: SignIn, clock: Callable[[], float] = time.monotonic) -> None:
        self._sign_in = sign_in
        self._clock = clock
        self._token: Token | None = None
        self.renew_after_fork()
        renew_in_child(self)

    def renew_after_fork(self) -> None:
        """A token serves the child as well; a sign-in that another thread of the parent was at will not end in it."""
        self._lock = threading.Lock()
        self._flights: SingleFlight[Token | None] = SingleFlight()
        self._outage: _Failure | None = None
        self._refusal: _Failure | None = None
        self._replacements = _Allowance(_REPLACEMENTS, _SECONDS_PER_REPLACEMENT, self._clock)
        self._sign_ins = _Allowance(_SIGN_INS, _SECONDS_PER_SIGN_IN, self._clock)

    def headers(self, context: QueryContext) -> Mapping[str, str]:
        token = self._token
        if token is not None and self._clock() < token.refresh_at:
            return token.headers
        return self._current(context).headers

    def at_hand(self) -> Mapping[str, str] | None:
        token = self._token
        return token.headers if token is not None and self._clock() < token.expires_at else None

    def refused(self, headers: Mapping[str, str], error: SpcsError) -> bool:
        with self._lock:
            if self._token is not None and self._token.headers == headers and self._replacements.take():
                self._token = self._token.after_refusal()
        return True

    def _current(self, context: QueryContext) -> Token:
        while True:
            token, now = self._token, self._clock()
            usable = token if token is not None and now < token.expires_at else None
            if usable and (now < usable.refresh_at or self._flights.is_under_way):
                return usable
            if usable:
                fresh = self._flights.run_if_idle(functools.partial(self._renewed_early, usable, context))
            else:
                fresh = self._flights.run(
                    functools.partial(self._replaced, token, context),
                    context,
                    "another query's sign-in",
                    lambda: login_timeout(context, "another query was signing in for all"),
                )
            if fresh is not None:
                return fresh

    def _renewed_early(self, token: Token, context: QueryContext) -> Token | None:
        """The token is good for a while yet: a renewal that fails, or takes long, fails nobody's query."""
        if self._token is not token:
            return None  # another thread was faster
        try:
            return self._keep(self._replacement(token, context.child(_EARLY_RENEWAL_SECONDS)))
        except SpcsError:
            with self._lock:
                if self._token is token:  # and was not refused by now
                    self._token = token.kept_until_next_try(self._clock())
            return None

    def _replaced(self, token: Token | None, context: QueryContext) -> Token | None:
        if self._token is not token:
            return None
        if self._outage is not None and self._clock() < self._outage.until:
            raise self._outage.error.again()
        try:
            return self._keep(self._replacement(token, context))
        except (QueryTimeout, LoginError):
            raise
        except SpcsError as error:
            self._outage = _Failure(error.again(), self._clock() + _OUTAGE_KEPT)
            raise

    def _keep(self, token: Token) -> Token:
        with self._lock:
            early = self._sign_ins.spend()
            if early:
                token = token.used_until(self._clock() + early)
            self._token = token
        return token

    def _replacement(self, token: Token | None, context: QueryContext) -> Token:
        if token is not None and not token.refused:
            context.log("renews its session")
            if renewed := self._sign_in.renew(token, context):
                return renewed
        try:
            return self._logged_in(context)
        except LoginError as error:
            # An access token that DSS does not refresh is over long before the master token is.
            is_over = token is not None and token.refused and error.code in CREDENTIAL_OVER
            if token is not None and is_over and (renewed := self._sign_in.renew(token, context)):
                return renewed
            raise

    def _logged_in(self, context: QueryContext) -> Token:
        first_try = True
        while True:
            credential = self._sign_in.credential()
            self._raise_known_refusal(credential)
            context.log("signs in to Snowflake")
            try:
                return self._sign_in.log_in(credential, context)
            except LoginError as error:
                self._refusal = _Failure(error.again(), self._clock() + _REFUSAL_KEPT, credential)
                if not first_try or error.code not in CREDENTIAL_OVER:
                    raise
            first_try = False  # there may be a newer credential; if not, its refusal is known

    def _raise_known_refusal(self, credential: str) -> None:
        refusal = self._refusal
        if refusal is not None and refusal.credential == credential and self._clock() < refusal.until:
            raise refusal.error.again()


class _Allowance:
    """A few times one after the other, and then once per interval. Used under a lock."""

    def __init__(self, most: int, seconds_each: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._seconds_each = seconds_each
        self._clock = clock
        self._left = float(most)
        self._counted_at = clock()

    def take(self) -> bool:
        """Takes one if there is one, and says whether there was."""
        self._count()
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def spend(self) -> float:
        """Takes one in any case, and returns the seconds by which that is too early."""
        self._count()
        self._left -= 1
        return max(0.0, -self._left) * self._seconds_each

    def _count(self) -> None:
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._counted_at) / self._seconds_each)
        self._counted_at = now


@dataclass(frozen=True)
class _Failure:
    error: SpcsError
    until: float
    credential: str | None = field(default=None, repr=False)
