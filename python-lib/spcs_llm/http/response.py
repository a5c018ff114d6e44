"""The reading of one HTTP/1.1 response off a connection, strict where http.client is lenient.

The connection is shared: by the queries of one user after another, and with a service key or a key pair by several
users. Whoever reads past the end of an answer, or stops before it, hands the next query bytes that are not meant for
it. So a connection may carry another request only if the answer on it was framed in one unmistakable way (RFC 9112,
section 6.3), was read to the end of that framing, and left nothing behind.
"""

from __future__ import annotations

import http.client
import re
import ssl
from typing import Any

_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_MAX_CHUNK_LINE = 65536
_MAX_INFORMATIONAL = 16
_NO_BODY = (http.client.NO_CONTENT, http.client.RESET_CONTENT, http.client.NOT_MODIFIED)


class HttpResponse(http.client.HTTPResponse):
    """A response that knows whether its connection may be used again.

    Informational responses (1xx) are passed over; http.client does so for 100 only. A header block that is none
    raises `http.client.HTTPException`: urllib3 would write the broken lines, which may quote the request, to its log.
    """

    _framed = False
    _ended_clean = False

    @property
    def reusable(self) -> bool:
        """Whether the body was read to the end of its framing and nothing was left on the connection by then."""
        return self._framed and self._ended_clean and not self.will_close

    def begin(self) -> None:
        super().begin()
        if self.headers.defects or self.headers.get_payload():
            self._close_conn()
            raise http.client.HTTPException("malformed header lines")
        self._framed = self._has_one_framing()

    def _read_status(self) -> Any:
        for _ in range(_MAX_INFORMATIONAL):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 101 < status < 200:  # 100 is http.client's own to pass over, 101 is final
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException("informational responses without end")

    def _has_one_framing(self) -> bool:
        lengths = self.headers.get_all("Content-Length", [])
        codings = self.headers.get_all("Transfer-Encoding", [])
        if self.status in _NO_BODY:
            return not codings and all(length.strip() == "0" for length in lengths)
        if lengths and codings:
            return False
        if codings:
            return len(codings) == 1 and codings[0].strip().lower() == "chunked"
        return len(set(lengths)) == 1 and bool(_LENGTH.fullmatch(lengths[0].strip()))

    def _get_chunk_left(self) -> int | None:
        """As http.client's own, which takes any two bytes for the end of a chunk and `-1` or `1_0` for a size."""
        left = self.chunk_left
        if left:
            return left
        if left is not None and self._line(3) not in (b"\r\n", b"\n"):
            raise http.client.IncompleteRead(b"")
        size = _CHUNK_SIZE.fullmatch(self._line(_MAX_CHUNK_LINE))
        if size is None:
            raise http.client.IncompleteRead(b"")
        self.chunk_left = int(size[1], 16) or None
        if self.chunk_left is None:
            self._read_trailer()
            self._close_conn()
        return self.chunk_left

    def _read_trailer(self) -> None:
        while (line := self._line(_MAX_CHUNK_LINE)) not in (b"\r\n", b"\n"):
            if not line.endswith(b"\n"):
                raise http.client.IncompleteRead(b"")

    def _line(self, limit: int) -> bytes:
        return self.fp.readline(limit) if self.fp is not None else b""

    def _close_conn(self) -> None:
        """Called by http.client at the end of the framing, while the stream still shows what follows it."""
        if self.fp is not None and self._framed:
            self._ended_clean = not self._left_over()
        super()._close_conn()  # type: ignore[misc]

    def _left_over(self) -> bool:
        """Whether anything follows the response: in the stream's buffer, in TLS, or in the socket. Does not wait."""
        stream: Any = self.fp
        try:
            sock = stream.raw._sock
            sock.settimeout(0)  # the next request on this connection sets it anew
            return bool(stream.peek(1))
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except (AttributeError, OSError, ValueError):
            return True  # nothing can be proved
