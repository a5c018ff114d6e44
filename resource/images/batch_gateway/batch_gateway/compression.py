"""Bodies that are compressed, as Snowflake's external functions send them by default (COMPRESSION = AUTO).

Snowflake documentation, "CREATE EXTERNAL FUNCTION". Whether functions of services are sent so is not documented.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

CODINGS = ("gzip", "x-gzip", "deflate")
_PIECE = 1 << 20  # bytes: a few bytes may stand for very many
_ANY_HEADER = 32 + zlib.MAX_WBITS


class Broken(Exception):
    """A body that is not what its coding says."""


class Unpacking:
    """Takes a body in, and gives out what it stands for."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_ANY_HEADER)

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Takes in a part of the body.

        Args:
            chunk: What is new.

        Yields:
            What it stands for, a megabyte at most at a time, so that the caller may stop.

        Raises:
            Broken: If it is not compressed, or goes on behind the end.
        """
        while chunk:
            try:
                piece = self._stream.decompress(chunk, _PIECE)
            except zlib.error:
                raise Broken from None
            if self._stream.unused_data:
                raise Broken
            chunk = self._stream.unconsumed_tail
            yield piece

    def rest(self) -> bytes:
        """Ends the body.

        Returns:
            What was still within.

        Raises:
            Broken: If the body is cut.
        """
        rest = self._stream.flush()
        if not self._stream.eof:
            raise Broken
        return rest
