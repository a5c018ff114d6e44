"""A response as it arrives: status and headers first, then the body, piece by piece, within bounds of time and size."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import math
import socket
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable

import requests
import urllib3

from spcs_llm.errors import MISDIRECTED, ModelError, NetworkError
from spcs_llm.http.inflater import Inflater, is_gzip
from spcs_llm.http.json_body import begins_as_answer
from spcs_llm.http.network_errors import body_cut_short, error_from_exception, time_is_up
from spcs_llm.http.response import HttpResponse

MAX_BODY = 16 * 1024 * 1024
# Of an event stream, whose events have some 270 bytes for each token: Qwen3's thinking models are made to write 81,920
# (their model cards on Hugging Face), others more.
MAX_STREAM = 64 * 1024 * 1024
_CHUNK = 65536
_DRAIN_SECONDS = 0.1
_DRAIN_CHUNKS = 4
_MAX_SMALL_BODY = 4 << 20
_MAX_RATIO = 100
_LONGEST_CODING = 40  # of which an error shows no more
_INFLATED = ("gzip", "x-gzip", "deflate")
_PACKED = (*_INFLATED, "br", "zstd", "compress", "x-compress", "lzma", "xz")


class Exchange:
    """One request and its answer on one connection. It must be closed.

    The connection is used again only when the request was sent whole and the body was read to the end of its framing
    without a failure: anything left on it would answer the next query, whoever asks.

    Args:
        host: The name of the host, for errors.
        seconds: When the watchdog cuts it, from now.
        idle_seconds: The longest silence.
        max_body: How many bytes the answer's body may have, unpacked; None for the usual: MAX_BODY, or for an event
            stream MAX_STREAM.
        on_cut: Called by the watchdog's thread after it has cut the exchange; it neither waits nor raises.

    Attributes:
        until: When the watchdog cuts it, on the monotonic clock.
        sent: Whether there was a connection to send the request on.
        may_be_unread: Whether the server may answer before it has read all of it: sending it failed, or it is large.
        reused_connection: Whether the connection had served an earlier request.
    """

    def __init__(
        self,
        host: str,
        seconds: float,
        idle_seconds: float,
        *,
        max_body: int | None = None,
        on_cut: Callable[[], None] | None = None,
    ) -> None:
        self.until = time.monotonic() + seconds
        self.sent = False
        self.may_be_unread = False
        self.reused_connection = False
        self.cut = False
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._host = host
        self._max_body = max_body
        self._on_cut = on_cut
        self._must_end_by = math.inf
        self._heard_at = math.inf
        self._idle_seconds = idle_seconds
        self._socket: Any = None
        self._handle: socket.socket | None = None
        self._response: Any = None
        self._drained = False
        self._broken = False

    def connecting(self, sock: socket.socket) -> None:
        """A TCP connection is there; a proxy's tunnel and TLS may follow, which take the socket object away."""
        self._handle = self._socket = sock.dup()

    @property
    def connected(self) -> bool:
        """Whether there was a TCP connection that led to the host, or to a proxy that is asked for it over HTTP."""
        return self._socket is not None

    @property
    def silence(self) -> float:
        """Seconds since the request went out, or since the last byte of its answer."""
        return max(0.0, time.monotonic() - self._heard_at)

    def on_wire(self, sock: Any, used_before: bool) -> None:
        """The connection is ready, and the request goes out next."""
        self.sent = True
        self._heard_at = time.monotonic()
        self.reused_connection = used_before
        self._socket = getattr(sock, "socket", sock)  # urllib3 wraps it for TLS to a proxy within TLS
        self._drop_handle()
        # It had the time for connecting, or what an earlier request left it: too little to send a large body.
        sock.settimeout(self._idle_seconds)
        if self.cut:
            self._shut_down()

    def cut_off(self) -> None:
        """Ends whatever a thread waits for on this exchange's connection."""
        self.cut = True
        self._shut_down()
        on_cut = self._on_cut
        if on_cut is not None:
            on_cut()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # closed already
                # SSLSocket.shutdown would take the TLS layer away under the feet of the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def answered(self, response: requests.Response) -> None:
        self._response = response.raw
        self.status = response.status_code
        self.headers = response.headers
        self._heard_at = time.monotonic()

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes, unpacked.

        Yields:
            Its parts.

        Raises:
            NetworkError: If it stops before its end, or the exchange's time is up.
            ModelError: If it is too large, or packed in a way that cannot be read.
        """
        most = self._max_body
        if most is None:
            is_stream = self.headers.get("Content-Type", "").lower().startswith("text/event-stream")
            most = MAX_STREAM if is_stream else MAX_BODY
        yield from bounded(self._decoded(self._raw_chunks()), most)

    def expect_end(self, seconds: float) -> None:
        """What the body still has to bring must come within `seconds`; reading on raises NetworkError after that."""
        self._must_end_by = time.monotonic() + seconds
        if self._socket is not None:
            with contextlib.suppress(OSError):  # closed already
                self._socket.settimeout(min(seconds, self._idle_seconds))

    def body(self) -> bytes:
        return b"".join(self.chunks())

    def _raw_chunks(self) -> Iterator[bytes]:
        # http.client's response, which urllib3's holds: its read1 gives what is there, whatever the framing
        stream = getattr(self._response, "_fp", self._response)
        # It takes a connection that is closed within the headers for their end: what follows is then empty.
        may_lack_headers = getattr(stream, "length", 0) is None and not stream.chunked
        try:
            while chunk := stream.read1(_CHUNK):
                may_lack_headers = False
                self._heard_at = time.monotonic()
                if self.cut or self._heard_at > self._must_end_by:
                    break
                yield chunk
        except (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            self._broken = True  # http.client reads on as if at the end of the body
            raise error_from_exception(
                error, self._host, cut=self.cut, sent=True, answered=True, silence=self.silence
            ) from None
        if self.cut or time.monotonic() > self._must_end_by:
            self._broken = True
            raise time_is_up(self._host)
        if may_lack_headers or getattr(stream, "length", None):
            self._broken = True
            raise body_cut_short(self._host, self.silence)
        stream.close()
        self._drained = True

    def drain(self) -> None:
        """Reads the end of a body after its content, if it comes at once: the connection can be used again then."""
        if self._drained or self._broken or self._socket is None:
            return
        # Where that fails it stays undrained, and closing closes the connection.
        with contextlib.suppress(NetworkError, OSError):
            self._socket.settimeout(_DRAIN_SECONDS)
            for _ in itertools.islice(self._raw_chunks(), _DRAIN_CHUNKS):
                pass

    def _decoded(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The body without its content coding.

        Requests ask for `identity`, which a server may disregard (RFC 9110, section 12.5.3), and some proxies compress
        all the same. Refusing what they send would make the services behind them unusable, and reading it costs no
        more than a plain body of the largest size, so one layer of gzip or deflate is read within bounds. Other
        codings need packages that DSS does not have. What is not a coding at all, such as `utf-8`, is read as it is.
        So is a body that begins as an answer: proxies that decompress often leave the header (agentgateway#3040), and
        others take the header off and leave the body compressed (gadievron/raptor#547).

        Args:
            chunks: The body as it comes.

        Returns:
            The body in parts.

        Raises:
            ModelError: If the body is in another coding, or in more than one.
        """
        first = next(chunks, b"")
        chunks = itertools.chain([first], chunks)
        if begins_as_answer(first):
            return chunks
        coding = self.headers.get("Content-Encoding", "")
        codings = [
            each for each in coding.lower().replace(" ", "").split(",") if each not in ("", "identity")
        ]
        if (len(codings) == 1 and codings[0] in _INFLATED) or (not codings and is_gzip(first)):
            return _inflated(chunks, self._host)
        packed = [each for each in codings if each in _PACKED]  # others are not named: they may be any text
        if packed:
            raise ModelError(
                f"The answer comes in an encoding that was not asked for ({', '.join(packed)[:_LONGEST_CODING]!r}).",
                "Ask whoever runs the proxy in front of the service to pass answers on unchanged.",
            )
        return chunks

    def close(self, keep_connection: bool = True) -> None:
        self._on_cut = None  # a method of the attempt that holds this: a circle
        self._drop_handle()
        if self._response is None:
            return
        if keep_connection and self._is_clean():
            self._response.release_conn()
        elif isinstance(self._response, HttpResponse):
            self._response.discard()
        else:
            self._response.close()

    def _is_clean(self) -> bool:
        is_whole = self._drained and not (self._broken or self.cut or self.may_be_unread)
        is_for_it = self.status != MISDIRECTED
        return is_whole and is_for_it and isinstance(self._response, HttpResponse) and self._response.reusable

    def _drop_handle(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None


def bounded(chunks: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Hands on the parts of an answer.

    Args:
        chunks: The parts.
        most: The most bytes that they may have together.

    Yields:
        The parts.

    Raises:
        ModelError: If they have more.
    """
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise ModelError(
                f"The answer is larger than {most / (1 << 20):g} MB.", "Ask for less in one query."
            )
        yield chunk


def _inflated(chunks: Iterator[bytes], host: str) -> Iterator[bytes]:
    """Unpacks a body.

    No honest answer shrinks to a hundredth: a small body that unpacks without end is given up early.

    Args:
        chunks: The packed body.
        host: The name of the host, for errors.

    Yields:
        Parts of the body.

    Raises:
        ModelError: If it is damaged, or unpacks to too much.
        NetworkError: If it is cut short.
    """
    inflater = Inflater()
    packed = unpacked = 0
    try:
        for chunk in chunks:
            packed += len(chunk)
            for piece in inflater.pieces(chunk):
                unpacked += len(piece)
                if unpacked > _MAX_SMALL_BODY and unpacked > _MAX_RATIO * packed:
                    raise ModelError(
                        "The answer is compressed, and is far larger than an answer can be when it is decompressed."
                    )
                yield piece
        if piece := inflater.flush():
            yield piece
    except zlib.error:
        raise ModelError("The answer is compressed and damaged.", place="service") from None
    if packed and not inflater.is_whole:
        raise body_cut_short(host)
