"""What an endpoint knows of signing in: who gives it headers, and who is told that they were refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from spcs_llm.errors import SpcsError
from spcs_llm.query_context import QueryContext


class TokenSource(Protocol):
    """Who authorises requests. Thread-safe."""

    def headers(self, context: QueryContext) -> Mapping[str, str]:
        """The headers that authorise a request now; signs in first if it must.

        Args:
            context: The query that waits for them.

        Returns:
            Headers and their values.

        Raises:
            LoginError: If Snowflake refuses the credential.
            SpcsError: If signing in fails in another way, or the query's time is up.
        """

    def at_hand(self) -> Mapping[str, str] | None:
        """The headers if they can be had at once, without signing in; None otherwise."""

    def refused(self, headers: Mapping[str, str], error: SpcsError) -> bool:
        """Reports that these headers were refused. A newer token than theirs is not thrown away.

        Args:
            headers: What `headers` or `at_hand` gave.
            error: The refusal.

        Returns:
            Whether it is worth asking for headers again: there are others, or may be.
        """


class ErrorFromResponse(Protocol):
    """Turns a response that is not a success into an error."""

    def __call__(self, status: int, headers: Mapping[str, str], body: bytes) -> SpcsError:
        """The error behind a response that is not a success."""


class NoToken:
    """A token source for endpoints that need no sign-in."""

    def at_hand(self) -> Mapping[str, str]:
        return {}

    def headers(self, context: QueryContext) -> Mapping[str, str]:
        return {}

    def refused(self, headers: Mapping[str, str], error: SpcsError) -> bool:
        return False
