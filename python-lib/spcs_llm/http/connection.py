"""Connections and pools of urllib3 that tell what they do, and cost a fraction of what its own do.

An `HTTPAdapter` of requests does the work, one floor below `Session`, with urllib3's connecting, TLS, proxies and
errors. Two things that every call pays for are done here instead: a request goes out as one text in one system
call, and its answer is one object, `HttpResponse`, and not two.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import prepend_scheme_if_needed

from spcs_llm.errors import NetworkError
from spcs_llm.http.exchange import Exchange
from spcs_llm.http.network_errors import ESCAPE_PASSWORD
from spcs_llm.http.response import HttpResponse
from spcs_llm.urls import BaseUrl

# Gateways of private networks forget an idle connection after four minutes or more (Azure) or six (AWS), and some
# tell neither side: a request on it would wait for an answer until its time is up.
_LONGEST_IDLE_SECONDS = 60.0
_SILENT_SECONDS_BEFORE_A_PROBE = 45  # what is silent because a model computes looks idle, too
# How sending ends where a server reads no further. From Python 3.10 on, a broken TLS connection is an "EOF" when it is
# written to (urllib3/urllib3#3148); a server that leaves its connection open is met by silence.
_NOT_READ_ON = (
    ConnectionResetError,
    BrokenPipeError,
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
    socket.timeout,
)
_SECONDS_FOR_AN_EARLY_ANSWER = 0.1
# Bytes. A server that answers before it has read a body may take the rest of it for the next request, and answer that,
# too. Where the kernel holds the rest, nothing shows it: after a body that is larger, one more handshake is cheap.
_LARGEST_TO_BE_USED_AFTER = 1 << 20

_current = threading.local()


def observe(exchange: Exchange | None) -> None:
    """Has the connection that this thread sends its next request on tell `exchange` of it; None ends that."""
    _current.exchange = exchange


class _ObservedConnection:
    """Informs the current exchange which connection carries it, and sends head and body in one go."""

    response_class: Any = HttpResponse
    sock: Any
    _used = False
    _asked = ""

    def _new_conn(self) -> Any:
        sock = super()._new_conn()  # type: ignore[misc]
        if (exchange := getattr(_current, "exchange", None)) is not None:
            exchange.connecting(sock)
        return sock

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self._used = False

    def request(
        self, method: str, url: str, body: bytes | None = None, headers: Any = None, **options: Any
    ) -> None:
        """As urllib3's own, which writes, checks and joins a head of seven lines by forty calls."""
        data = _head(method, url, headers or {}) + (body or b"")
        self._asked = method
        if self.sock is None:
            self.connect()
        exchange = getattr(_current, "exchange", None)
        if exchange is not None:
            exchange.on_wire(self.sock, self._used)
            exchange.may_be_unread = len(data) > _LARGEST_TO_BE_USED_AFTER
        self._used = True
        try:
            self.sock.sendall(data)
        except OSError as error:
            if exchange is not None:
                exchange.may_be_unread = True
            if not isinstance(error, _NOT_READ_ON):
                raise
            if isinstance(error, socket.timeout):
                self.sock.settimeout(_SECONDS_FOR_AN_EARLY_ANSWER)
            # A server may refuse a body before it has read it. urllib3 then reads its answer, if told by this error.
            raise BrokenPipeError from None

    def getresponse(self) -> HttpResponse:
        """The answer, once its head is there. Unlike urllib3's own it is the one that reads from the connection."""
        response = HttpResponse(self.sock, method=self._asked)
        try:
            response.begin()
        except BaseException:
            response.close()
            raise
        return response


def _head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Writes the lines before a body.

    Args:
        method: The HTTP method.
        target: The path, escaped.
        headers: All headers.

    Returns:
        The request line, the headers and the empty line behind them.

    Raises:
        ValueError: If a part of them holds what would end its line, or is not Latin-1. The error does not quote it.
    """
    lines = [f"{method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in headers.items()]]
    head = "\r\n".join(lines)
    try:
        encoded = head.encode("latin-1")
    except UnicodeEncodeError:
        encoded = b""
    ends = len(lines) - 1
    if not encoded or "\0" in head or head.count("\r") != ends or head.count("\n") != ends or " " in target:
        raise ValueError("a request line or header that HTTP does not allow")
    return encoded + b"\r\n\r\n"


class _IdleConnections:
    """The idle connections of a pool, the last one first, as urllib3 keeps them in a LifoQueue.

    Without that one's lock: the garbage collector may put a connection back in the middle of another's `get`.
    One that has been idle for too long is closed: urllib3 opens it again.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self._connections: deque[Any] = deque()

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        try:
            connection, idle_since = self._connections.pop()
        except IndexError:
            raise queue.Empty from None
        if connection is not None and time.monotonic() - idle_since > _LONGEST_IDLE_SECONDS:
            connection.close()
        return connection

    def put(self, connection: Any, block: bool = False, timeout: float | None = None) -> None:
        if len(self._connections) >= self.maxsize:
            raise queue.Full
        self._connections.append((connection, time.monotonic()))

    def qsize(self) -> int:
        return len(self._connections)


def _socket_options() -> list[tuple[int, int, int]]:
    """urllib3's own, and probes that keep firewalls from forgetting a connection on which an answer is waited for."""
    options = [*urllib3.connection.HTTPConnection.default_socket_options]
    options.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if hasattr(socket, name):  # of Linux
            options.append((socket.IPPROTO_TCP, getattr(socket, name), _SILENT_SECONDS_BEFORE_A_PROBE))
    return options


@functools.lru_cache(maxsize=8)
def _observed(pool: Any) -> Any:
    """A pool of urllib3's, or of its SOCKS proxies', whose connections are observed."""
    connection = pool.ConnectionCls
    return type(
        pool.__name__,
        (pool,),
        {
            "ConnectionCls": type(connection.__name__, (_ObservedConnection, connection), {}),
            "QueueCls": _IdleConnections,
            "ResponseCls": HttpResponse,  # urllib3 before 2
        },
    )


class Adapter(HTTPAdapter):
    """HTTPAdapter with one pool of observed connections, one shared SSL context, and no cookies or retries."""

    def __init__(
        self, url: BaseUrl, proxy: str | None, pool_size: int, context: ssl.SSLContext | None
    ) -> None:
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=0)
        self._origin = url.origin
        self._authority = url.netloc if url.port is not None else f"{url.netloc}:443"
        manager = self.poolmanager if proxy is None else self._proxy_manager(proxy)
        pools = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {scheme: _observed(pool) for scheme, pool in pools.items()}
        manager.connection_pool_kw["socket_options"] = _socket_options()
        if context is not None:
            manager.connection_pool_kw["ssl_context"] = context
        self.pool = manager.connection_from_url(url.origin)

    def _proxy_manager(self, proxy: str) -> Any:
        try:
            proxy_url = prepend_scheme_if_needed(proxy, "http")  # type: ignore[no-untyped-call]
            parts = urllib3.util.parse_url(proxy_url)
            rest = f"{parts.path or ''}?{parts.query or ''}#{parts.fragment or ''}"
            if not parts.host or "@" in rest:  # a part of the password is taken for the host
                raise ValueError("no host")
            return self.proxy_manager_for(proxy_url)
        except (ValueError, urllib3.exceptions.HTTPError):
            raise NetworkError(
                "The proxy that is set in the environment cannot be used.",
                f"Ask a DSS administrator to correct HTTPS_PROXY. {ESCAPE_PASSWORD} A SOCKS proxy needs the Python"
                " package PySocks.",
                transient=False,
            ) from None

    def check_proxy(self, ca_bundle: str) -> None:
        """Has a bundle vouch for a proxy that speaks TLS itself, too: the context is for the hosts behind it."""
        setattr(self.pool, "ca_cert_dir" if Path(ca_bundle).is_dir() else "ca_certs", ca_bundle)

    def proxy_headers(self, proxy: str) -> Any:
        """The headers of CONNECT, with the one that HTTP/1.1 requires and Python before 3.12 leaves out."""
        return {**super().proxy_headers(proxy), "Host": self._authority}

    def grow(self, pool_size: int) -> None:
        self.pool.pool.maxsize = pool_size

    def close_idle_connections(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                connection = self.pool.pool.get(block=False)
                if connection is not None:
                    connection.close()

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        return self.pool

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """What requests before 2.32 asks for."""
        return self.pool

    def request_url(self, request: Any, proxies: Any) -> str:
        url: str = request.url
        return url[len(self._origin) :]

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """The shared context verifies; loading the CA bundle into it for each connection is what this avoids."""

    def build_response(self, req: Any, resp: Any) -> Any:
        """What an exchange reads of a requests.Response, without its jar of cookies and the rest that costs time."""
        return _Response(req, resp)


class _Response:
    def __init__(self, request: Any, raw: Any) -> None:
        self.request = request
        self.raw = raw
        self.status_code = raw.status
        self.headers = raw.headers
