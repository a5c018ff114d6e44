"""Pooled connections to one host, and one request at a time over them.

requests' `HTTPAdapter` does the work, one floor below `Session`: pooling, TLS and proxies without cookies, `~/.netrc`,
redirects or a look at the environment for every call. What is added: a watchdog that bounds the whole of an exchange
from the TCP connection on (looking a name up and connecting have a bound for each address), and one SSL context per
process (reading a CA bundle costs more than a call).
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import queue
import ssl
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import (
    DEFAULT_CA_BUNDLE_PATH,
    get_environ_proxies,
    prepend_scheme_if_needed,
    select_proxy,
)

from spcs_llm.errors import NetworkError
from spcs_llm.http.exchange import Exchange
from spcs_llm.http.network_errors import LLM_ENDPOINT_URL, error_from_exception
from spcs_llm.http.response import HttpResponse
from spcs_llm.http.watchdog import Watchdog
from spcs_llm.urls import BaseUrl

CONNECT_SECONDS = 10.0
WATCHDOG = Watchdog()
_current = threading.local()


class Transport:
    """Connections to one host. Thread-safe.

    The environment's proxies and CA bundle are read here, once. Plain http, which is for loopback addresses, goes
    through no proxy, whatever the environment says: that would send a token over the network in clear text.

    Args:
        url: Where the host is.
        pool_size: How many connections to keep; it should be the number of requests in flight.
        field: The field of the form that the URL comes from; errors name it.

    Raises:
        NetworkError: If the proxy or the CA bundle cannot be used.
    """

    def __init__(self, url: BaseUrl, pool_size: int = 10, field: str = LLM_ENDPOINT_URL) -> None:
        self.url = url
        self._field = field
        self._context = _ssl_context(_ca_bundle()) if url.scheme == "https" else None
        proxies = {} if url.scheme == "http" else get_environ_proxies(url.origin, no_proxy=None)
        self._proxy = select_proxy(url.origin, proxies)
        self._pool_size = pool_size
        self._renew()

    def _renew(self) -> None:
        self._process = os.getpid()
        self._adapter = _Adapter(self.url, self._proxy, self._pool_size, self._context)

    def grow(self, pool_size: int) -> None:
        """Makes room for more connections."""
        if pool_size > self._pool_size:
            self._pool_size = pool_size
            self._adapter.grow(pool_size)

    def close(self) -> None:
        """Ends the idle connections; it may be used on, with new ones."""
        self._adapter.close_idle_connections()

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        seconds: float,
        idle_seconds: float,
        max_body: int | None = None,
        on_cut: Callable[[], None] | None = None,
    ) -> Exchange:
        """Sends a request and returns once the status and headers are there. Redirects are not followed.

        Args:
            method: of HTTP.
            path: below the URL's own.
            headers: all of them, apart from the length of the body.
            body: bytes, or None for a request without one.
            seconds: for the whole exchange, body included.
            idle_seconds: the longest silence.
            max_body: bytes that the answer's body may have; None for `exchange.MAX_BODY`.
            on_cut: called when the exchange's time is up, in another thread.

        Returns:
            The exchange, which the caller must `finish`.

        Raises:
            NetworkError: when there is no answer; TlsError, when the certificate is not accepted.
        """
        if self._process != os.getpid():
            self._renew()  # after a fork: a connection shared with the parent would mix up the answers
        idle_seconds = max(0.001, min(idle_seconds, seconds))
        exchange = Exchange(
            self.url.netloc, seconds, idle_seconds, has_body=bool(body), max_body=max_body, on_cut=on_cut
        )
        request = self._request(method, path, headers, body)
        timeout = (max(0.001, min(CONNECT_SECONDS, seconds)), idle_seconds)
        WATCHDOG.watch(exchange)
        _current.exchange = exchange
        try:
            exchange.answered(self._adapter.send(request, stream=True, timeout=timeout))
        except (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            failure = self._failure(error, exchange)
        except BaseException:
            self.finish(exchange)
            raise
        else:
            return exchange
        finally:
            _current.exchange = None
        raise failure  # out here, where the exception that holds the request does not become its context

    def _failure(self, error: BaseException, exchange: Exchange) -> NetworkError:
        self.finish(exchange)
        failure = error_from_exception(
            error, self.url.netloc, cut=exchange.cut, sent=exchange.sent, field=self._field
        )
        failure.stale = exchange.reused_connection and failure.reset
        if failure.stale:
            self._adapter.close_idle_connections()  # as old as this one, or older
        return failure

    @staticmethod
    def finish(exchange: Exchange) -> None:
        """Closes the exchange; its connection is used again if nothing of it is left there."""
        exchange.close(keep_connection=WATCHDOG.release(exchange))

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> requests.PreparedRequest:
        request = requests.PreparedRequest()
        request.method = method
        request.url = self.url.origin + self.url.path + path
        request.headers = dict(headers)  # type: ignore[assignment]  # enough here, and cheaper to make
        if body is not None or method == "POST":
            request.headers["Content-Length"] = str(len(body or b""))
        request.body = body
        return request


class _ObservedConnection:
    """Tells the exchange under way which connection carries it, and sends head and body in one go.

    http.client sends them one after the other: twice the system calls, each of which lets go of Python's lock.
    """

    response_class: Any = HttpResponse
    sock: Any
    _used = False
    _body_follows = False
    _head = b""

    def _new_conn(self) -> Any:
        sock = super()._new_conn()  # type: ignore[misc]
        if (exchange := getattr(_current, "exchange", None)) is not None:
            exchange.connecting(sock)
        return sock

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self._used = False

    def putrequest(self, *args: Any, **options: Any) -> Any:
        self._body_follows, self._head = False, b""  # of a request that failed half-way
        if self.sock is None:
            self.connect()
        if (exchange := getattr(_current, "exchange", None)) is not None:
            exchange.on_wire(self.sock, self._used)
        self._body_follows = exchange is not None and exchange.has_body
        self._used = True
        return super().putrequest(*args, **options)  # type: ignore[misc]

    def send(self, data: Any) -> None:
        if self._body_follows:
            self._body_follows, self._head = False, data
            return
        if self._head:
            data, self._head = self._head + data, b""
        try:
            super().send(data)  # type: ignore[misc]
        except OSError as error:
            if (exchange := getattr(_current, "exchange", None)) is not None:
                exchange.sent_in_part = True
            if not isinstance(error, ConnectionResetError):
                raise
            # A server may refuse a body before it has read it. urllib3 then reads its answer, if told by this error.
            raise BrokenPipeError from None


class _HttpConnection(_ObservedConnection, urllib3.connection.HTTPConnection):
    pass


class _HttpsConnection(_ObservedConnection, urllib3.connection.HTTPSConnection):
    pass


class _IdleConnections:
    """The idle connections of a pool, the last one first, as urllib3 keeps them in a LifoQueue.

    Without that one's lock: the garbage collector may put a connection back in the middle of another's `get`.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self._connections: deque[Any] = deque()

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        try:
            return self._connections.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: Any, block: bool = False, timeout: float | None = None) -> None:
        if len(self._connections) >= self.maxsize:
            raise queue.Full
        self._connections.append(connection)

    def qsize(self) -> int:
        return len(self._connections)


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection
    QueueCls: Any = _IdleConnections


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection
    QueueCls: Any = _IdleConnections


_POOL_CLASSES = {"http": _HttpPool, "https": _HttpsPool}


class _Adapter(HTTPAdapter):
    """HTTPAdapter with one pool of observed connections, one shared SSL context, and no cookies or retries."""

    def __init__(
        self, url: BaseUrl, proxy: str | None, pool_size: int, context: ssl.SSLContext | None
    ) -> None:
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=0)
        self._origin = url.origin
        manager = self.poolmanager if proxy is None else self._proxy_manager(proxy)
        socks = proxy is not None and proxy.lower().startswith("socks")
        if not socks:  # which has connection classes of its own
            manager.pool_classes_by_scheme = _POOL_CLASSES
        if context is not None:
            manager.connection_pool_kw["ssl_context"] = context
        self._pool = manager.connection_from_url(url.origin)

    def _proxy_manager(self, proxy: str) -> Any:
        try:
            proxy_url = prepend_scheme_if_needed(proxy, "http")  # type: ignore[no-untyped-call]
            if not urllib3.util.parse_url(proxy_url).host:
                raise ValueError("no host")
            return self.proxy_manager_for(proxy_url)
        except (ValueError, urllib3.exceptions.HTTPError):
            raise NetworkError(
                "The proxy that the environment names cannot be used.",
                "Ask a DSS administrator to correct HTTPS_PROXY; a SOCKS proxy needs the Python package PySocks.",
                transient=False,
            ) from None

    def grow(self, pool_size: int) -> None:
        self._pool.pool.maxsize = pool_size

    def close_idle_connections(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                connection = self._pool.pool.get(block=False)
                if connection is not None:
                    connection.close()

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        return self._pool

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """What requests before 2.32 asks for."""
        return self._pool

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


def _ca_bundle() -> str:
    given = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return given or DEFAULT_CA_BUNDLE_PATH


@functools.lru_cache(maxsize=4)
def _ssl_context(ca_bundle: str) -> ssl.SSLContext:
    context = urllib3.util.ssl_.create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # urllib3 1.26 leaves it to OpenSSL
    try:
        if Path(ca_bundle).is_dir():
            context.load_verify_locations(capath=ca_bundle)
        else:
            context.load_verify_locations(cafile=ca_bundle)
    except OSError as error:
        raise NetworkError(
            "The bundle of certificate authorities that REQUESTS_CA_BUNDLE names cannot be read"
            f" ({type(error).__name__}).",
            "Ask a DSS administrator to correct this environment variable.",
            transient=False,
        ) from None
    return context
