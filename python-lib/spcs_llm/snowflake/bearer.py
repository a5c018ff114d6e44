"""Tokens that Snowflake's own APIs take as they are: no login comes before them.

Headers: Snowflake documentation, "Authenticating to the SQL API".
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Callable

from spcs_llm.query_context import QueryContext
from spcs_llm.snowflake.key_pair import ASSERTION_SECONDS, KeyPair
from spcs_llm.snowflake.sign_in import access_token
from spcs_llm.snowflake.token_cache import Token

# DSS refreshes an access token that is about to end when it is read: it is read again after half of these seconds.
_SECONDS_UNTIL_READ_AGAIN = 120.0


def bearer(token: str, kind: str) -> Mapping[str, str]:
    """The headers that carry a token.

    Args:
        token: The token.
        kind: OAUTH, KEYPAIR_JWT or PROGRAMMATIC_ACCESS_TOKEN.

    Returns:
        The headers.
    """
    return {"Authorization": f"Bearer {token}", "X-Snowflake-Authorization-Token-Type": kind}


class OAuthBearer:
    """A user's OAuth access token, read again now and then.

    Args:
        read_access_token: Reads the user's current access token.
        clock: Seconds that never go back.
    """

    def __init__(
        self, read_access_token: Callable[[], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read_access_token = read_access_token
        self._clock = clock

    def credential(self) -> str:
        return access_token(self._read_access_token)

    def log_in(self, credential: str, context: QueryContext) -> Token:
        return Token.lasting(bearer(credential, "OAUTH"), _SECONDS_UNTIL_READ_AGAIN, self._clock())

    def renew(self, token: Token, context: QueryContext) -> Token | None:
        return None


class KeyPairBearer:
    """Assertions of a key pair. Each is signed when it is needed."""

    def __init__(
        self,
        key_pair: KeyPair,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._key_pair = key_pair
        self._clock = clock
        self._wall_clock = wall_clock

    def credential(self) -> str:
        return "key pair"  # always the same one

    def log_in(self, credential: str, context: QueryContext) -> Token:
        assertion = self._key_pair.assertion(self._wall_clock())
        return Token.lasting(bearer(assertion, "KEYPAIR_JWT"), ASSERTION_SECONDS, self._clock())

    def renew(self, token: Token, context: QueryContext) -> Token | None:
        return None
