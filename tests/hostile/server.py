"""A server that answers each request as it is told to, byte for byte. Standard library only."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Union

# An address of its own for each server without TLS: what a process remembers of one is never met again.
_addresses = (f"127.{random.randrange(1, 250)}.{at >> 8 & 255}.{at & 255}" for at in itertools.count(256))


@dataclass(frozen=True)
class Request:
    """path: without its query. connection: its number at the server, from 1. at: the request's number on it, from 1."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    at: int
    sock: Any = field(repr=False, compare=False)


Answer = Union[
    bytes, None
]  # bytes to send on the request's connection; None: all that there is was sent, it ends


class Server:
    """`answer` gives the bytes for a request, or sends what it likes itself and returns b"" to keep the connection."""

    def __init__(self, answer: Callable[[Request], Answer], tls: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._tls = tls
        self._lock = threading.Lock()
        self._open: set[Any] = set()
        self._threads: list[threading.Thread] = []
        host = "127.0.0.1" if tls else next(_addresses)
        self._listener = socket.create_server((host, 0), backlog=128)
        self.url = f"{'https' if tls else 'http'}://{host}:{self._listener.getsockname()[1]}"
        self.requests: list[Request] = []
        self.connections = 0
        self._threads.append(threading.Thread(target=self._accept, daemon=True))
        self._threads[0].start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(5)

    def of(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: Any, number: int) -> None:
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            with self._lock:
                self._open.add(sock)
            at = 0
            while (request := read_request(sock, number, at := at + 1)) is not None:
                self.requests.append(request)
                answer = self._answer(request)
                if answer is None:
                    return
                sock.sendall(answer)
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._open.discard(sock)
            with contextlib.suppress(OSError):
                sock.close()


def read_request(sock: Any, connection: int, at: int) -> Request | None:
    received = bytearray()
    while b"\r\n\r\n" not in received:
        if not (more := sock.recv(65536)):
            return None
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    line, *rest = head.decode("latin-1").split("\r\n")
    method, target, _ = line.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
    while len(body) < int(headers.get("content-length", 0)):
        if not (more := sock.recv(1 << 20)):
            return None
        body += more
    return Request(method, target.partition("?")[0], headers, bytes(body), connection, at, sock)


# -- bytes of answers -----------------------------------------------------------------------------------------


def head(status: int = 200, reason: str = "OK", **headers: str) -> bytes:
    """Names of headers: `content_type` for Content-Type."""
    lines = [
        f"HTTP/1.1 {status} {reason}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def reply(body: bytes, status: int = 200, content_type: str = "application/json", **headers: str) -> bytes:
    """A whole answer, framed by its length."""
    return head(status, **{"content_type": content_type, "content_length": str(len(body)), **headers}) + body


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def chunked(*pieces: bytes, status: int = 200, content_type: str = "application/json") -> bytes:
    """A whole answer in chunks."""
    begin = head(status, content_type=content_type, transfer_encoding="chunked")
    return begin + b"".join(map(chunk, pieces)) + b"0\r\n\r\n"
