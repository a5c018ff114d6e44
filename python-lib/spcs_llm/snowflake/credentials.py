"""The ways to sign in to a service endpoint, each as a TokenSource or as the Fetcher of one.

Header forms: Snowflake documentation, "Snowpark Container Services: service network communications".
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Callable

from spcs_llm.call import Call
from spcs_llm.endpoint import TokenSource
from spcs_llm.errors import LoginError, SpcsError
from spcs_llm.snowflake.account import Account, Session
from spcs_llm.snowflake.codes import ACCESS_TOKEN_REFUSED
from spcs_llm.snowflake.key_pair import KeyPair
from spcs_llm.snowflake.session import Token


class OAuthLogin:
    """Sessions for an OAuth access token, renewed by their master token as long as that lives.

    read_access_token: reads the user's current one; asked at each login.
    """

    def __init__(
        self,
        account: Account,
        read_access_token: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account = account
        self._read_access_token = read_access_token
        self._clock = clock

    def fetch(self, previous: Token | None, call: Call) -> Token:
        if previous is not None and not previous.refused and self._can_renew(previous):
            try:
                return self._renewed(previous, call)
            except LoginError:
                pass  # the session or its master is gone: only a login helps
        try:
            return self._logged_in(call)
        except LoginError as error:
            if previous is not None and error.code in ACCESS_TOKEN_REFUSED and self._can_renew(previous):
                return self._renewed(previous, call)
            raise

    def credential(self) -> object:
        try:
            return hash(self._read_access_token())
        except Exception as error:  # noqa: BLE001 - DSS's own code: whatever it raises, there is no token
            raise LoginError(
                f"DSS gives no access token for the user ({type(error).__name__}).",
                "Sign in again in DSS, under Profile > Credentials.",
            ) from None

    def _logged_in(self, call: Call) -> Token:
        access_token = self._access_token()
        try:
            session = self._account.login(access_token, call)
        except LoginError as error:
            if error.code not in ACCESS_TOKEN_REFUSED:
                raise
            newer = self._access_token()
            if newer == access_token:
                raise
            session = self._account.login(newer, call)
        return self._token(session)

    def _access_token(self) -> str:
        self.credential()
        token = self._read_access_token()
        if not isinstance(token, str) or not token.strip():
            raise LoginError(
                "DSS gives no access token for the user.",
                "Sign in again in DSS, under Profile > Credentials.",
            )
        return token.strip()

    def _can_renew(self, token: Token) -> bool:
        session, master_expires_at = token.grant
        return session.master_token is not None and self._clock() < master_expires_at

    def _renewed(self, token: Token, call: Call) -> Token:
        session, _ = token.grant
        return self._token(self._account.renew(session, call))

    def _token(self, session: Session) -> Token:
        now = self._clock()
        return Token.lasting(
            authorization(session.token), session.seconds, now, (session, now + session.master_seconds)
        )


class KeyPairLogin:
    """Tokens for one endpoint and role, each for an assertion signed anew."""

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

    def fetch(self, previous: Token | None, call: Call) -> Token:
        assertion = self._key_pair.assertion(self._wall_clock())
        granted = self._account.endpoint_token(assertion, self._host, self._role, call, self._wall_clock())
        return Token.lasting(authorization(granted.token), max(1.0, granted.seconds), self._clock())

    def credential(self) -> object:
        return self._key_pair


class FixedToken:
    """A programmatic access token: there is no other to try when it is refused."""

    def __init__(self, token: str) -> None:
        self._headers = authorization(token)

    def headers(self, call: Call) -> Mapping[str, str]:
        return self._headers

    def refused(self, headers: Mapping[str, str], error: SpcsError) -> bool:
        return False


class WithServiceKey:
    """The container's own bearer key in `Authorization`; the Snowflake token moves to the header that the ingress
    takes off, so that both arrive where they belong.
    """

    def __init__(self, tokens: TokenSource, key: str) -> None:
        self._tokens = tokens
        self._key = f"Bearer {key}"
        self._latest: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})

    def headers(self, call: Call) -> Mapping[str, str]:
        snowflake = self._tokens.headers(call)
        known, both = self._latest
        if snowflake is not known:
            both = {"Authorization": self._key, "X-SF-SPCS-Authorization": snowflake["Authorization"]}
            self._latest = (snowflake, both)
        return both

    def refused(self, headers: Mapping[str, str], error: SpcsError) -> bool:
        snowflake, both = self._latest
        return self._tokens.refused(snowflake, error) if headers is both else True


def authorization(token: str) -> Mapping[str, str]:
    return {"Authorization": f'Snowflake Token="{token}"'}
