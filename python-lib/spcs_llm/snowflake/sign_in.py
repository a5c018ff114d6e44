"""The ways to sign in to a service endpoint: two that `session.TokenCache` drives, and a fixed token.

Header forms: Snowflake documentation, "Snowpark Container Services: service network communications".
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable

from spcs_llm.errors import LoginError, SpcsError
from spcs_llm.http.token_source import TokenSource
from spcs_llm.query_context import QueryContext
from spcs_llm.snowflake.account import Account, Session, authorization
from spcs_llm.snowflake.key_pair import KeyPair
from spcs_llm.snowflake.login_errors import SIGN_IN_AGAIN
from spcs_llm.snowflake.token_cache import Token


class OAuthLogin:
    """Sessions for an OAuth access token, renewed by their master token as long as that lives.

    Args:
        account: Where to sign in.
        read_access_token: Reads the user's current access token; asked at each login.
        clock: Seconds that never go back.
        signed_in: Called with the access token that a login succeeded with.
    """

    def __init__(
        self,
        account: Account,
        read_access_token: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
        signed_in: Callable[[str], None] = lambda access_token: None,
    ) -> None:
        self._account = account
        self._read_access_token = read_access_token
        self._signed_in = signed_in
        self._clock = clock

    def credential(self) -> str:
        return access_token(self._read_access_token)

    def log_in(self, credential: str, context: QueryContext) -> Token:
        now = self._clock()
        session = self._account.login(credential, context)
        self._signed_in(credential)
        return _token(session, now, None)

    def renew(self, token: Token, context: QueryContext) -> Token | None:
        master, now = token.grant.master, self._clock()
        if master is None or now >= master.expires_at:
            return None
        try:
            return _token(self._account.renew(token.grant.token, master.token, context), now, master)
        except LoginError:
            return None


def access_token(read: Callable[[], str]) -> str:
    """Reads a user's access token.

    Args:
        read: DSS's own code, which may do anything.

    Returns:
        The token.

    Raises:
        LoginError: If there is none.
    """
    try:
        text = read()
    except Exception as error:  # noqa: BLE001 - whatever it raises, there is no token
        raise LoginError(
            f"DSS did not return an access token for the user ({type(error).__name__}).", SIGN_IN_AGAIN
        ) from None
    if not isinstance(text, str) or not text.strip():
        raise LoginError("DSS did not return an access token for the user.", SIGN_IN_AGAIN)
    return text.strip()


@dataclass(frozen=True)
class _Master:
    token: str = field(repr=False)
    expires_at: float


@dataclass(frozen=True)
class _Grant:
    """A session token, and what it is renewed by."""

    token: str = field(repr=False)
    master: _Master | None


def _token(session: Session, since: float, master: _Master | None) -> Token:
    """The token of a session.

    Args:
        session: What Snowflake granted.
        since: When it was asked for.
        master: The master token so far, which stays if there is no new one.

    Returns:
        The token, with what renews it.
    """
    if session.master_token is not None:
        master = _Master(session.master_token, since + session.master_seconds)
    return Token.lasting(authorization(session.token), session.seconds, since, _Grant(session.token, master))


class KeyPairLogin:
    """Tokens for one endpoint and role, each for an assertion signed each time. They cannot be renewed."""

    def __init__(
        self,
        account: Account,
        key_pair: KeyPair,
        host: str,
        role: str | None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._account = account
        self._key_pair = key_pair
        self._host = host
        self._role = role
        self._clock = clock
        self._wall_clock = wall_clock

    def credential(self) -> str:
        return "key pair"  # always the same one

    def log_in(self, credential: str, context: QueryContext) -> Token:
        now, wall_now = self._clock(), self._wall_clock()
        assertion = self._key_pair.assertion(wall_now)
        granted = self._account.endpoint_token(assertion, self._host, self._role, context, wall_now)
        return Token.lasting(authorization(granted.token), granted.seconds, now)

    def renew(self, token: Token, context: QueryContext) -> Token | None:
        return None


class FixedToken:
    """A programmatic access token, in the headers that carry it. When it is refused, no other can be tried."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def headers(self, context: QueryContext) -> Mapping[str, str]:
        return self._headers

    def at_hand(self) -> Mapping[str, str]:
        return self._headers

    def refused(self, headers: Mapping[str, str], error: SpcsError) -> bool:
        return False


class WithServiceKey:
    """A TokenSource with the container's own bearer key in `Authorization`.

    The Snowflake token moves to the header that the ingress takes off, so that both arrive where they belong.
    """

    def __init__(self, tokens: TokenSource, key: str) -> None:
        self._tokens = tokens
        self._key = f"Bearer {key}"

    def headers(self, context: QueryContext) -> Mapping[str, str]:
        return self._with_key(self._tokens.headers(context))

    def at_hand(self) -> Mapping[str, str] | None:
        token = self._tokens.at_hand()
        return None if token is None else self._with_key(token)

    def _with_key(self, token: Mapping[str, str]) -> Mapping[str, str]:
        if not token:  # nobody signs in
            return {"Authorization": self._key}
        return {"Authorization": self._key, "X-SF-SPCS-Authorization": token["Authorization"]}

    def refused(self, headers: Mapping[str, str], error: SpcsError) -> bool:
        token = headers.get("X-SF-SPCS-Authorization")
        return self._tokens.refused({} if token is None else {"Authorization": token}, error)
