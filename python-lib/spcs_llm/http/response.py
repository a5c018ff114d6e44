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
from collections.abc import Sequence
from typing import Any

from spcs_llm.http.headers import Headers

_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) +([1-9][0-9][0-9])(?: ([^\r\n]*))?\r?\n")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MAX_LINE = 65536
# Of a head, with all informational responses before it, and of a trailer. Some servers send more than the 100 lines
# that http.client takes (python/cpython#131724). curl takes as many bytes (its lib/http.h).
_MAX_HEAD = 300 * 1024
_MAX_HEAD_LINES = 1000
# Some servers send one every few seconds while they work (electric-sql/electric#4106).
_MAX_INFORMATIONAL = 1000
_LINE_END = (b"\r\n", b"\n")
_NO_MAIL = http.client.HTTPMessage()
_NO_BODY = (http.client.NO_CONTENT, http.client.RESET_CONTENT, http.client.NOT_MODIFIED)


class HeadTooLarge(http.client.HTTPException):
    """The headers are more than any server has use for. They will be so again."""


class HttpResponse(http.client.HTTPResponse):
    """A response that knows whether its connection may be used again.

    Informational responses (1xx) are passed over; http.client does so for 100 only. The head is read here, for a third
    of what the parser of mails costs that http.client uses, and because of what that makes of broken lines: the rest of
    the head becomes a body, which urllib3 writes to its log, with whatever of the request the server quotes there.

    Pools of urllib3 use it like one of urllib3's responses, which would wrap it and cost as much again.
    """

    headers: Headers  # type: ignore[assignment]
    length: int | None
    version_string = "HTTP/1.1"  # for a line of urllib3's log
    retries: Any = None
    _connection: Any = None
    _pool: Any = None
    _method: str
    _head_left = _MAX_HEAD  # bytes
    _framed = False
    _has_odd_names = False
    _ended_clean = False

    @property
    def reusable(self) -> bool:
        """Whether the body was read to the end of its framing and nothing was left on the connection by then."""
        return self._framed and self._ended_clean and not self.will_close

    @classmethod
    def from_httplib(
        cls, response: HttpResponse, pool: Any = None, connection: Any = None, **options: Any
    ) -> HttpResponse:
        """What pools of urllib3 before 2 make of the response that `getresponse` gave them."""
        response._pool, response._connection = pool, connection
        return response

    @property
    def length_remaining(self) -> int | None:
        return self.length

    def release_conn(self) -> None:
        """Gives the connection back to its pool."""
        connection, self._connection = self._connection, None
        if connection is not None and self._pool is not None:
            self._pool._put_conn(connection)

    def discard(self) -> None:
        """Closes the response and its connection."""
        self.close()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def begin(self) -> None:
        """Reads the status and the headers.

        Raises:
            HeadTooLarge: when they are more than is read.
            http.client.HTTPException: when they are none.
        """
        if getattr(self, "headers", None) is not None:
            return
        minor = self._begin_final()
        self.version = 11 if minor != b"0" else 10
        self._set_framing()

    def _begin_final(self) -> bytes:
        for _ in range(_MAX_INFORMATIONAL):
            minor, self.status = self._read_status_line()
            headers = self._read_headers()
            if not 100 <= self.status < 200 or self.status == http.client.SWITCHING_PROTOCOLS:
                self.code = self.status
                self.headers = headers
                self.msg = _NO_MAIL  # urllib3 before 2 looks for defects in it
                return minor
        raise http.client.HTTPException("informational responses without end")

    def _read_status_line(self) -> tuple[bytes, int]:
        line = self._line(_MAX_LINE + 1)
        if not line:
            raise http.client.RemoteDisconnected("the connection was closed without a response")
        if len(line) > _MAX_LINE:
            raise http.client.LineTooLong("status line")
        parts = _STATUS_LINE.fullmatch(line)
        if parts is None:
            raise http.client.BadStatusLine("no status line")
        self.reason = (parts[3] or b"").decode("latin-1").strip()
        return parts[1], int(parts[2])

    def _read_headers(self) -> Headers:
        fields: list[tuple[str, str]] = []
        lines = 0  # and not fields: one field may go on over any number of lines
        while (line := self._line(_MAX_LINE + 1)) and line not in _LINE_END:
            lines += 1
            self._head_left -= len(line)
            if len(line) > _MAX_LINE or lines > _MAX_HEAD_LINES or self._head_left < 0:
                raise HeadTooLarge("headers without end")
            text = line.decode("latin-1").rstrip("\r\n")
            name, colon, value = text.partition(":")
            if "\r" in text:  # some servers and proxies take it for the end of a line, others do not
                raise http.client.HTTPException("a carriage return within a header")
            if text[:1] in (" ", "\t") and fields:
                fields[-1] = (fields[-1][0], f"{fields[-1][1]} {text.strip()}")
            elif colon and name.strip():
                # A name with a blank behind it is another name: `Content-Length : 3` says nothing of the length.
                # A proxy on the way may read it otherwise, and have the answer end elsewhere.
                self._has_odd_names = self._has_odd_names or _NAME.fullmatch(name) is None
                fields.append((name, value.strip()))
            else:
                raise http.client.HTTPException("a header line without a name")
        return Headers(fields)

    def _set_framing(self) -> None:
        """As http.client does: the body ends by its chunks, its length, or the end of the connection."""
        codings = self._listed("Transfer-Encoding")
        lengths = self._listed("Content-Length")
        if len(lengths) > 1 and len(set(lengths)) > 1:
            raise http.client.HTTPException("several lengths of one body")
        self.chunked = len(codings) > 0 and codings[-1].lower() == "chunked"  # RFC 9112, section 6.3
        self.chunk_left = None
        connection = self.headers.get("Connection", "").lower()
        self.will_close = "close" in connection or (self.version == 10 and "keep-alive" not in connection)
        has_length = len(lengths) > 0 and _LENGTH.fullmatch(lengths[0]) is not None
        self.length = int(lengths[0]) if has_length and not self.chunked else None
        if self.status in (http.client.NO_CONTENT, http.client.NOT_MODIFIED) or self._method == "HEAD":
            self.length = 0
        if self.length is None and not self.chunked:
            self.will_close = True
        self._framed = not self._has_odd_names and self._has_one_framing(codings, lengths)

    def _listed(self, name: str) -> list[str]:
        """The values of a header, of which a proxy may join two by a comma (RFC 9110, sections 5.3 and 8.6)."""
        return [value.strip() for each in self.headers.get_all(name) for value in each.split(",")]

    def _has_one_framing(self, codings: Sequence[str], lengths: Sequence[str]) -> bool:
        if self.status in _NO_BODY:
            return not codings and all(length == "0" for length in lengths)
        if lengths and codings:
            return False
        if codings:  # HTTP/1.0 has no chunks: a proxy of that version takes them for the body
            return len(codings) == 1 and self.chunked and self.version == 11
        return len(set(lengths)) == 1 and _LENGTH.fullmatch(lengths[0]) is not None

    def _get_chunk_left(self) -> int | None:
        """As http.client's own, which takes any two bytes for the end of a chunk and `-1` or `1_0` for a size."""
        left = self.chunk_left
        if left:
            return left
        if left is not None and self._line(3) not in _LINE_END:
            raise http.client.IncompleteRead(b"")
        size = _CHUNK_SIZE.fullmatch(self._line(_MAX_LINE))
        if size is None:
            raise http.client.IncompleteRead(b"")
        self.chunk_left = int(size[1], 16) or None
        if self.chunk_left is None:
            self._read_trailer()
            self._close_conn()
        return self.chunk_left

    def _read_trailer(self) -> None:
        # As much as a head may have: without end, it would keep a query whose answer is there until its time is up,
        # because something always comes.
        left = _MAX_HEAD
        for _ in range(_MAX_HEAD_LINES + 1):
            line = self._line(_MAX_LINE)
            if line in _LINE_END:
                return
            left -= len(line)
            if not line.endswith(b"\n") or b":" not in line or left < 0:
                break
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
