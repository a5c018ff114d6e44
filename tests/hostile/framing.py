"""Answers whose framing is wrong, as data: bytes made of an honest body. The connection stays open behind each.

A body is given in pieces, and a fault may stand before the last of them or behind it: for a stream of events that is
before and after its finish reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.hostile.server import chunk, head

Make = Callable[[Sequence[bytes], str], bytes]  # pieces of the body and its content type -> what is sent


@dataclass(frozen=True)
class Fault:
    """reusable: whether its connection may serve again where nothing follows. control: whether it must, as the
    answer is right in everything: were it not used again, nothing could be learnt from the others.
    """

    name: str
    make: Make
    reusable: bool = False
    control: bool = False

    def __str__(self) -> str:
        return self.name


def _lengthed(pieces: Sequence[bytes], kind: str, more: int = 0) -> bytes:
    body = b"".join(pieces)
    return head(content_type=kind, content_length=str(len(body) + more)) + body


def _with_status_line(line: bytes) -> Make:
    return lambda pieces, kind: line + b"\r\n" + _lengthed(pieces, kind).split(b"\r\n", 1)[1]


def _with_header(*lines: bytes) -> Make:
    def make(pieces: Sequence[bytes], kind: str) -> bytes:
        first, rest = _lengthed(pieces, kind).split(b"\r\n", 1)
        return b"\r\n".join([first, *lines, rest])

    return make


def _with_length(*lengths: bytes) -> Make:
    def make(pieces: Sequence[bytes], kind: str) -> bytes:
        body = b"".join(pieces)
        lines = [b"HTTP/1.1 200 OK", b"Content-Type: " + kind.encode()]
        lines += [b"Content-Length: " + length.replace(b"N", str(len(body)).encode()) for length in lengths]
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    return make


def _chunked_as(*codings: bytes) -> Make:
    def make(pieces: Sequence[bytes], kind: str) -> bytes:
        lines = [b"HTTP/1.1 200 OK", b"Content-Type: " + kind.encode(), *codings]
        return b"\r\n".join(lines) + b"\r\n\r\n" + b"".join(map(chunk, pieces)) + b"0\r\n\r\n"

    return make


_CHUNKED = b"Transfer-Encoding: chunked"


def _with_version_1_0(coding: bytes) -> Make:
    chunked_as = _chunked_as(coding, b"Connection: keep-alive")
    return lambda pieces, kind: chunked_as(pieces, kind).replace(b"HTTP/1.1", b"HTTP/1.0", 1)


def _chunks(spoiled: Callable[[bytes], bytes], *, at: int, end: bytes = b"0\r\n\r\n") -> Make:
    """Good chunks, and in place of the one at `at` what `spoiled` makes of its data. at 99: behind all pieces."""

    def make(pieces: Sequence[bytes], kind: str) -> bytes:
        begin = head(content_type=kind, transfer_encoding="chunked")
        listed = [chunk(piece) for piece in pieces]
        place = len(listed) if at == 99 else at % len(listed)
        data = b"" if place == len(listed) else pieces[place]
        return begin + b"".join([*listed[:place], spoiled(data), *listed[place + 1 :]]) + end

    return make


def _sized(size: bytes) -> Callable[[bytes], bytes]:
    return lambda data: size.replace(b"N", b"%x" % len(data)) + b"\r\n" + data + b"\r\n"


def _too_long(data: bytes) -> bytes:
    """More data than the size says."""
    return b"%x\r\n" % len(data) + data + b"MORE\r\n"


def _too_short(data: bytes) -> bytes:
    return b"%x\r\n" % (len(data) + 9) + data + b"\r\n"


def _without_end(data: bytes) -> bytes:
    return b"%x\r\n" % len(data) + data


def _whole(pieces: Sequence[bytes], kind: str) -> bytes:
    return _lengthed(pieces, kind)


def _whole_in_chunks(pieces: Sequence[bytes], kind: str) -> bytes:
    return _chunked_as(_CHUNKED)(pieces, kind)


def _after(*heads: bytes) -> Make:
    return lambda pieces, kind: b"".join(heads) + _lengthed(pieces, kind)


def _bodiless(status: bytes) -> Make:
    """A status without a body, and yet with a length and a body."""
    return lambda pieces, kind: _with_status_line(b"HTTP/1.1 " + status)(pieces, kind)


FAULTS = [
    # nothing is wrong with these but what follows
    Fault("whole, by length", _whole, reusable=True, control=True),
    Fault("whole, in chunks", _whole_in_chunks, reusable=True, control=True),
    # status lines
    Fault("status: letters", _with_status_line(b"HTTP/1.1 2OO OK")),
    Fault("status: another protocol", _with_status_line(b"ICY 200 OK")),
    Fault("status: negative", _with_status_line(b"HTTP/1.1 -200 OK")),
    Fault("status: too long", _with_status_line(b"HTTP/1.1 2000 OK")),
    Fault("status: below 100", _with_status_line(b"HTTP/1.1 099 OK")),
    Fault("status: a version to come", _with_status_line(b"HTTP/9.9 200 OK")),
    Fault("status: none, only the body", lambda pieces, kind: b"".join(pieces) + b"\r\n\r\n"),
    Fault("status: half of the line", lambda pieces, kind: b"HTTP/1.1 20"),
    # headers
    Fault("headers: a line without a colon", _with_header(b"no colon here")),
    Fault("headers: a line that begins with a colon", _with_header(b": nameless")),
    Fault("headers: a blank before the colon", _with_header(b"Content-Encoding : identity")),
    Fault("headers: NUL", _with_header(b"X-Odd: a\0b"), reusable=True),
    Fault("headers: a bare CR", _with_header(b"X-Odd: a\rContent-Length: 3")),
    Fault("headers: a folded length", _with_header(b"X-Odd: a\r\n Content-Length: 3"), reusable=True),
    Fault(
        "headers: without an end",
        lambda pieces, kind: _lengthed(pieces, kind).split(b"\r\n\r\n")[0] + b"\r\n",
    ),
    # lengths
    Fault("length: too short", lambda pieces, kind: _lengthed(pieces, kind, -3)),
    Fault("length: too long", lambda pieces, kind: _lengthed(pieces, kind, 9)),
    Fault("length: two that differ", _with_length(b"N", b"3")),
    Fault("length: two that differ, the short one first", _with_length(b"3", b"N")),
    Fault("length: a list", _with_length(b"N, 3")),
    Fault("length: negative", _with_length(b"-5")),
    Fault("length: no number", _with_length(b"many")),
    Fault("length: a sign", _with_length(b"+N")),
    Fault("length: underscores", _with_length(b"1_0")),
    Fault("length: digits of another script", _with_length("\u0663".encode())),
    Fault("length: hexadecimal", _with_length(b"0x10")),
    Fault("length: empty", _with_length(b"")),
    # transfer codings
    Fault("coding: chunked and a length", _chunked_as(_CHUNKED, b"Content-Length: 3")),
    Fault("coding: a length and chunked", _chunked_as(b"Content-Length: 3", _CHUNKED)),
    Fault("coding: an unknown one", _chunked_as(b"Transfer-Encoding: xchunked")),
    Fault("coding: chunked twice", _chunked_as(_CHUNKED, _CHUNKED)),
    Fault("coding: two in one", _chunked_as(b"Transfer-Encoding: identity, chunked")),
    Fault("coding: chunked in HTTP/1.0 that is kept alive", _with_version_1_0(_CHUNKED)),
    Fault("coding: chunked, then another", _chunked_as(b"Transfer-Encoding: chunked, gzip")),
    # chunks
    *(
        Fault(f"chunk: {what} {where}", _chunks(spoiled, at=at))
        for where, at in (("first", 0), ("last", -1))
        for what, spoiled in (
            ("a size that is none", _sized(b"zz")),
            ("a negative size", _sized(b"-N")),
            ("a size with a sign", _sized(b"+N")),
            ("a size with a prefix", _sized(b"0xN")),
            ("a size beyond all memory", _sized(b"ffffffffffffffff")),
            ("longer than its size", _too_long),
            ("shorter than its size", _too_short),
            ("without a line end", _without_end),
            ("an empty size", _sized(b"")),
        )
    ),
    Fault("chunk: a size that is none behind all", _chunks(_sized(b"zz"), at=99)),
    Fault("chunk: a huge size behind all", _chunks(_sized(b"7fffffff"), at=99)),
    Fault("chunk: no last one", _chunks(chunk, at=0, end=b"")),
    Fault("chunk: the last one without an end", _chunks(chunk, at=0, end=b"0\r\n")),
    Fault("chunk: the last one with a sign", _chunks(chunk, at=0, end=b"-0\r\n\r\n")),
    Fault("trailer: without a colon", _chunks(chunk, at=0, end=b"0\r\nno colon\r\n\r\n")),
    Fault("trailer: without an end", _chunks(chunk, at=0, end=b"0\r\nX-Odd: a\r\n")),
    # answers that have no body, with one
    Fault("204 with a body", _bodiless(b"204 No Content")),
    Fault("205 with a body", _bodiless(b"205 Reset Content")),
    Fault("304 with a body", _bodiless(b"304 Not Modified")),
    # interim answers
    Fault("100 before the answer", _after(b"HTTP/1.1 100 Continue\r\n\r\n"), reusable=True),
    Fault("103 before the answer", _after(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), reusable=True),
    Fault("101 before the answer", _after(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")),
    Fault("150 before the answer", _after(b"HTTP/1.1 150 What\r\n\r\n"), reusable=True),
    Fault("half of a 100", lambda pieces, kind: b"HTTP/1.1 100 Continue\r\n"),
]
