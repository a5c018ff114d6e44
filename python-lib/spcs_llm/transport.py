"""One HTTP exchange with one host, over pooled connections, under a time limit that nothing can stretch.

requests' `HTTPAdapter` does the work, one floor below `Session`: pooling, TLS and proxies without cookies, `~/.netrc`,
redirects or a look at the environment for every call. What is added: a watchdog that cuts a connection when its
exchange is out of time (a server that sends a byte a minute never trips a socket timeout), a bound on the size of a
body, and one SSL context per process (reading a CA bundle costs more than a call).
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import itertools
import os
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies

from spcs_llm.errors import ModelError, NetworkError
from spcs_llm.network_errors import body_cut_short, explain_failure
from spcs_llm.urls import BaseUrl

LARGEST_BODY = 256 * 1024 * 1024
CONNECT_SECONDS = 10.0
_CHUNK = 65536
_DRAIN_SECONDS = 0.1
_DRAIN_CHUNKS = 4


class Exchange:
    """A response as it arrives. Must be closed; a connection whose body was not read to its end is dropped then."""

    def __init__(self, host: str, seconds: float) -> None:
        self._host = host
        self._until = time.monotonic() + seconds
        self._socket: Any = None
        self._response: Any = None
        self._drained = False
        self.cut = False
        self.reused_connection = False
        self.status = 0
        self.headers: Mapping[str, str] = {}

    @property
    def until(self) -> float:
        """When the watchdog cuts it, on the monotonic clock."""
        return self._until

    def on_wire(self, sock: Any, used_before: bool) -> None:
        self._socket = sock
        self.reused_connection = used_before
        if self.cut:
            self.cut_off()

    def cut_off(self) -> None:
        """Ends whatever a thread is waiting for on this exchange's socket."""
        self.cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # closed already
                self._socket.shutdown(socket.SHUT_RDWR)

    def answered(self, response: requests.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = response.headers

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes, decoded. Raises NetworkError when it breaks off, ModelError when it is too large."""
        size = 0
        for chunk in self._decoded(self._raw_chunks()):
            size += len(chunk)
            if size > LARGEST_BODY:
                raise ModelError(
                    f"The answer is larger than {LARGEST_BODY >> 20} MB.", "Ask for less in one query."
                )
            yield chunk

    def body(self) -> bytes:
        return b"".join(self.chunks())

    def _raw_chunks(self) -> Iterator[bytes]:
        raw = self._response.raw
        stream = getattr(
            raw, "_fp", raw
        )  # http.client's response: its read1 gives what is there, whatever the framing
        try:
            while True:
                chunk = stream.read1(_CHUNK)
                if not chunk:
                    break
                yield chunk
        except (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            raise explain_failure(error, self._host, cut=self.cut, answered=True) from None
        if self.cut or getattr(stream, "length", None):
            raise body_cut_short(self._host)
        stream.close()
        self._drained = True

    def drain(self) -> None:
        """Reads the end of a body whose content is over, if it comes at once: the connection can be used again then."""
        if self._drained or self._socket is None:
            return
        timeout = self._socket.gettimeout()
        try:
            self._socket.settimeout(_DRAIN_SECONDS)
            for _ in itertools.islice(self._raw_chunks(), _DRAIN_CHUNKS):
                pass
            self._socket.settimeout(timeout)
        except (NetworkError, OSError):
            pass  # it stays undrained, and closing closes the connection

    def _decoded(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        coding = self.headers.get("Content-Encoding", "").lower()
        if coding in ("", "identity"):
            return chunks
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise ModelError(f"The answer comes in an encoding that was not asked for ({coding[:20]!r}).")
        return _inflated(chunks)

    def close(self) -> None:
        if self._response is not None:
            if self._drained:
                self._response.raw.release_conn()
            else:
                self._response.raw.close()


def _inflated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    inflate = zlib.decompressobj(wbits=47)  # gzip or zlib, by its header
    try:
        for chunk in chunks:
            while chunk:
                yield inflate.decompress(chunk, _CHUNK)
                chunk = inflate.unconsumed_tail
        yield inflate.flush()
    except zlib.error:
        raise ModelError("The answer is compressed, and damaged.") from None


class Watchdog:
    """One thread that cuts exchanges whose time is up. It sleeps until the earliest of them ends."""

    def __init__(self) -> None:
        self._watched: dict[int, Exchange] = {}
        self._wake = threading.Condition()
        self._next_look = 0.0
        self._process = 0

    def watch(self, exchange: Exchange) -> None:
        self._watched[id(exchange)] = exchange
        if exchange.until < self._next_look or self._process != os.getpid():
            with self._wake:
                self._start_in_this_process()
                self._next_look = min(self._next_look, exchange.until)
                self._wake.notify()

    def release(self, exchange: Exchange) -> None:
        self._watched.pop(id(exchange), None)

    def _start_in_this_process(self) -> None:
        if self._process != os.getpid():  # the first exchange, or the first after a fork
            self._process = os.getpid()
            self._next_look = time.monotonic() + 3600.0
            threading.Thread(target=self._run, name="spcs-llm-watchdog", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait(max(0.0, self._next_look - time.monotonic()))
                now = time.monotonic()
                self._next_look = now + 3600.0
                for exchange in list(self._watched.values()):
                    if exchange.until <= now:
                        self.release(exchange)
                        exchange.cut_off()
                    else:
                        self._next_look = min(self._next_look, exchange.until)


WATCHDOG = Watchdog()
_current = threading.local()


class _ObservedConnection:
    """Tells the exchange under way which connection carries it. urllib3 calls `getresponse` once a request is sent."""

    used_before = False

    def getresponse(self) -> Any:
        exchange: Exchange | None = getattr(_current, "exchange", None)
        if exchange is not None:
            exchange.on_wire(self.sock, self.used_before)  # type: ignore[attr-defined]
        self.used_before = True
        return super().getresponse()  # type: ignore[misc]


class _HttpConnection(_ObservedConnection, urllib3.connection.HTTPConnection):
    pass


class _HttpsConnection(_ObservedConnection, urllib3.connection.HTTPSConnection):
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


_POOL_CLASSES = {"http": _HttpPool, "https": _HttpsPool}


@functools.lru_cache(maxsize=4)
def _ssl_context(ca_bundle: str) -> ssl.SSLContext:
    context = urllib3.util.ssl_.create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    if Path(ca_bundle).is_dir():
        context.load_verify_locations(capath=ca_bundle)
    else:
        context.load_verify_locations(cafile=ca_bundle)
    return context


def _ca_bundle() -> str:
    given = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return given or DEFAULT_CA_BUNDLE_PATH


class _Adapter(HTTPAdapter):
    """HTTPAdapter over observed connections and one shared SSL context; no cookies, no retries of its own."""

    def __init__(self, pool_size: int, context: ssl.SSLContext | None) -> None:
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        if self._context is not None:
            kwargs["ssl_context"] = self._context
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOL_CLASSES

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        if self._context is not None:
            kwargs["ssl_context"] = self._context
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOL_CLASSES
        return manager

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        return host, {} if self._context is None else {"ssl_context": self._context}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """The shared context verifies; loading the CA bundle into it for each connection is what this avoids."""

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        response = requests.Response()
        response.status_code = resp.status
        response.headers = resp.headers
        response.raw = resp
        response.request = req
        response.url = req.url
        return response


class Transport:
    """Pooled connections to one host. Thread-safe. `pool_size` should be the number of requests in flight."""

    def __init__(self, url: BaseUrl, pool_size: int = 10) -> None:
        self.url = url
        self._origin = str(url)
        self._proxies = get_environ_proxies(url.origin, no_proxy=None)
        try:
            self._context = _ssl_context(_ca_bundle()) if url.scheme == "https" else None
        except OSError as error:
            raise NetworkError(
                "The bundle of certificate authorities that REQUESTS_CA_BUNDLE names cannot be read"
                f" ({type(error).__name__}).",
                "Correct that environment variable of DSS.",
                transient=False,
            ) from None
        self._pool_size = pool_size
        self._adapter = _Adapter(pool_size, self._context)

    def grow(self, pool_size: int) -> None:
        """Makes room for more connections; those in use end where they are."""
        if pool_size > self._pool_size:
            self._pool_size = pool_size
            self._adapter = _Adapter(pool_size, self._context)

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        seconds: float,
        idle_seconds: float,
    ) -> Exchange:
        """Sends a request and returns once the status and headers are there. Redirects are not followed.

        seconds: for the whole exchange, body included. idle_seconds: the longest silence. The caller closes the
        exchange and takes it off the watchdog (`finish`). Raises NetworkError, TlsError.
        """
        exchange = Exchange(self.url.netloc, seconds)
        request = self._request(method, path, headers, body)
        timeout = (max(0.001, min(CONNECT_SECONDS, seconds)), max(0.001, min(idle_seconds, seconds)))
        WATCHDOG.watch(exchange)
        _current.exchange = exchange
        try:
            exchange.answered(
                self._adapter.send(request, stream=True, timeout=timeout, verify=True, proxies=self._proxies)
            )
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            OSError,
            http.client.HTTPException,
            ValueError,
        ) as error:
            WATCHDOG.release(exchange)
            failure = explain_failure(error, self.url.netloc, cut=exchange.cut)
            failure.stale = exchange.reused_connection and failure.reset
            raise failure from None
        finally:
            _current.exchange = None
        return exchange

    @staticmethod
    def finish(exchange: Exchange) -> None:
        WATCHDOG.release(exchange)
        exchange.close()

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> requests.PreparedRequest:
        request = requests.PreparedRequest()
        request.method = method
        request.url = self._origin + path
        request.headers = CaseInsensitiveDict(headers)
        if method == "POST":
            request.headers["Content-Length"] = str(len(body or b""))
        request.body = body
        request.hooks = {}
        return request
