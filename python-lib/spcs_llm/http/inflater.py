"""Bodies in gzip or deflate, in all the forms in which clients and servers send them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

_PIECE = 65536
_GZIP = zlib.MAX_WBITS + 16
_HEADER_BYTES = 2


def is_gzip(packed: bytes) -> bool:
    """Whether a body begins as one of gzip, which no text does."""
    return packed.startswith(b"\x1f\x8b")


class Inflater:
    """Unpacks gzip or deflate, a piece at a time: a few bytes may stand for very many.

    A body of gzip may have several members, one after the other, and zeros behind them (RFC 1952, section 2.2). Old
    servers send deflate without the header that RFC 9110, section 8.4.1.2, asks for.
    """

    def __init__(self) -> None:
        self._part: Any = None
        self._head = b""

    @property
    def is_whole(self) -> bool:
        """Whether it has come to an end, and no other member has begun."""
        return self._part is not None and bool(self._part.eof)

    def pieces(self, packed: bytes) -> Iterator[bytes]:
        """Unpacks the next bytes of a body.

        Args:
            packed: The bytes.

        Yields:
            What they hold, in parts.

        Raises:
            zlib.error: If they are damaged.
        """
        if self._part is None:
            packed = self._head = self._head + packed
            if len(packed) < _HEADER_BYTES:
                return
            self._part = zlib.decompressobj(wbits=_wbits_of(packed))
        while packed:
            if self._part.eof:
                packed = packed.lstrip(b"\0")
                if not packed:
                    return
                self._part = zlib.decompressobj(wbits=_GZIP)
            piece = self._part.decompress(packed, _PIECE)
            packed = self._part.unconsumed_tail or self._part.unused_data
            if piece:
                yield piece

    def flush(self) -> bytes:
        """What is still within, when no more comes."""
        return b"" if self._part is None else self._part.flush()


def _wbits_of(packed: bytes) -> int:
    """The form of a packed body, by its first two bytes: gzip, or deflate with or without the header of zlib."""
    if is_gzip(packed):
        return _GZIP
    first, second = packed[0], packed[1]
    has_header = first & 0x0F == zlib.DEFLATED and first >> 4 <= 7 and (first << 8 | second) % 31 == 0
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
