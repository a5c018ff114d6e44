"""Bodies that are compressed, as Snowflake's external functions send them by default (COMPRESSION = AUTO).

Snowflake documentation, "CREATE EXTERNAL FUNCTION". Whether functions of services are sent so is not documented.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from spcs_llm.http.inflater import Inflater

CODINGS = ("gzip", "x-gzip", "deflate")


class Broken(Exception):
    """A body that is not what its coding says."""


class Unpacking:
    """Takes a body in, and gives out what it stands for."""

    def __init__(self) -> None:
        self._inflater = Inflater()

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Takes in a part of the body.

        Args:
            chunk: What is new.

        Yields:
            What it stands for, in small pieces, so that the caller may stop.

        Raises:
            Broken: If it is not compressed, or goes on behind the end.
        """
        try:
            yield from self._inflater.pieces(chunk)
        except zlib.error:
            raise Broken from None

    def rest(self) -> bytes:
        """Ends the body.

        Returns:
            What was still within.

        Raises:
            Broken: If the body is cut.
        """
        rest = self._inflater.flush()
        if not self._inflater.is_whole:
            raise Broken
        return rest
