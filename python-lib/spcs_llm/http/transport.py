"""Pooled connections to one host, and one request at a time over them.

There are no cookies, no `~/.netrc`, no redirects, and no look at the environment for every call. What is added: a
watchdog that bounds the whole of an exchange from the TCP connection on (looking a name up and connecting have a bound
for each address), and one SSL context per process (reading a CA bundle costs more than a call).
"""

from __future__ import annotations

import functools
import http.client
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, NamedTuple

import requests
import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy

from spcs_llm.errors import NetworkError, TlsError
from spcs_llm.http.connection import Adapter, observe
from spcs_llm.http.exchange import Exchange
from spcs_llm.http.network_errors import LLM_ENDPOINT_URL, error_from_exception
from spcs_llm.http.watchdog import Watchdog
from spcs_llm.urls import BaseUrl

CONNECT_SECONDS = 10.0
# X509_V_FLAG_PARTIAL_CHAIN: an authority of the bundle is trusted, whether its own root is there or not.
_PARTIAL_CHAIN = getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0x80000)
WATCHDOG = Watchdog()
_USER_AGENT = f"python-urllib3/{urllib3.__version__}"  # type: ignore[attr-defined]


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
        self._bundle = _Bundle.of_environment()
        self._context = _ssl_context(self._bundle) if url.scheme == "https" else None
        self._proxy = None if url.scheme == "http" or _is_excepted(url.host) else _proxy_for(url)
        self._pool_size = pool_size
        self._origin = url.origin + url.path
        self._headers = {"Host": url.netloc, "Accept-Encoding": "identity", "User-Agent": _USER_AGENT}
        self._renew()

    def _renew(self) -> None:
        self._process = os.getpid()
        self._adapter = Adapter(self.url, self._proxy, self._pool_size, self._context)
        if self._proxy is not None and self._proxy.lower().startswith("https:"):
            self._adapter.check_proxy(self._bundle.path)

    @property
    def proxy(self) -> str | None:
        """The proxy's URL, which may hold a password; None where requests go straight to the host."""
        return self._proxy

    @property
    def pool(self) -> Any:
        """urllib3's pool of connections, for a look at the way."""
        return self._adapter.pool

    def failure_of(self, error: BaseException) -> NetworkError:
        """The error for a connection that could not be made."""
        return error_from_exception(error, self.url.netloc, field=self._field)

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
            max_body: bytes that the answer's body may have; None for the usual, which `exchange` has.
            on_cut: called when the exchange's time is up, in another thread.

        Returns:
            The exchange, which the caller must `finish`.

        Raises:
            NetworkError: when there is no answer; TlsError, when the certificate is not accepted.
        """
        if self._process != os.getpid():
            self._renew()  # after a fork: a connection shared with the parent would mix up the answers
        idle_seconds = max(0.001, min(idle_seconds, seconds))
        exchange = Exchange(self.url.netloc, seconds, idle_seconds, max_body=max_body, on_cut=on_cut)
        request = self._request(method, path, headers, body)
        timeout = (max(0.001, min(CONNECT_SECONDS, seconds)), idle_seconds)
        WATCHDOG.watch(exchange)
        observe(exchange)
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
            observe(None)
        raise failure  # out here, where the exception that holds the request does not become its context

    def _failure(self, error: BaseException, exchange: Exchange) -> NetworkError:
        if not exchange.connected and (self._proxy or "").lower().startswith("socks"):
            error = urllib3.exceptions.ProxyError("", error)  # type: ignore[arg-type, unused-ignore]
        self.finish(exchange)
        failure = error_from_exception(
            error,
            self.url.netloc,
            cut=exchange.cut,
            sent=exchange.sent,
            silence=exchange.silence,
            field=self._field,
        )
        failure.stale = exchange.reused_connection and failure.reset
        if isinstance(failure, TlsError) and self._has_another_bundle():
            failure.transient = True
        if exchange.reused_connection and (failure.reset or failure.silent):
            self._adapter.close_idle_connections()  # as old as this one, or older
        return failure

    def _has_another_bundle(self) -> bool:
        """Reads the bundle of authorities again if it is another by now: an administrator has added what is missing."""
        bundle = _Bundle.of_environment()
        if bundle == self._bundle:
            return False
        try:
            self._context = _ssl_context(bundle)
        except NetworkError:  # it is just being written
            return False
        self._bundle = bundle
        self._renew()
        return True

    @staticmethod
    def finish(exchange: Exchange) -> None:
        """Closes the exchange; its connection is used again if nothing of it is left there."""
        exchange.close(keep_connection=WATCHDOG.release(exchange))

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> requests.PreparedRequest:
        request = requests.PreparedRequest()
        request.method = method
        request.url = self._origin + path
        request.headers = {**self._headers, **headers}  # type: ignore[assignment]  # enough here, and cheaper to make
        if body is not None or method == "POST":
            request.headers["Content-Length"] = str(len(body or b""))
        request.body = body
        return request


def _proxy_for(url: BaseUrl) -> str | None:
    proxy = select_proxy(url.origin, get_environ_proxies(url.origin, no_proxy=None))
    return _unquoted(proxy) if proxy else None


def _unquoted(value: str) -> str:
    """A variable's value as it was meant: files of variables keep quotes, and Kubernetes' secrets a line end."""
    return value.strip().strip("\"'").strip()


def _is_excepted(host: str) -> bool:
    """Whether NO_PROXY excepts a host in a form that requests does not know.

    These are a star before a domain, as Java takes it, blanks between names (curl/curl#10209), and quotes.

    Args:
        host: The host's name.

    Returns:
        Whether it does.
    """
    names = _unquoted(os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").lower()
    return any(_excepts(name, host) for name in re.split(r"[\s,]+", names))


def _excepts(name: str, host: str) -> bool:
    domain = name[1:] if name.startswith("*.") else name
    return len(domain) > 1 and (host == name or host.endswith("." + domain.lstrip(".")))


def _ca_bundle() -> str:
    """What requests takes, or else what OpenSSL takes if it is there, as companies that inspect TLS set it."""
    given = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    of_openssl = os.environ.get("SSL_CERT_FILE", "")
    return given or (of_openssl if Path(of_openssl).is_file() else DEFAULT_CA_BUNDLE_PATH)


class _Bundle(NamedTuple):
    """A bundle of authorities: a file or a folder, as it is at a time."""

    path: str
    changed_at: int = 0
    size: int = 0

    @classmethod
    def of_environment(cls) -> _Bundle:
        path = _ca_bundle()
        try:
            state = Path(path).stat()
        except OSError:
            return cls(path)
        return cls(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=4)
def _ssl_context(bundle: _Bundle) -> ssl.SSLContext:
    context = urllib3.util.ssl_.create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # urllib3 1.26 leaves it to OpenSSL
    context.verify_flags |= _PARTIAL_CHAIN  # as for curl, and for Python from 3.13 on
    try:
        if Path(bundle.path).is_dir():
            context.load_verify_locations(capath=bundle.path)
        else:
            context.load_verify_locations(cafile=bundle.path)
    except OSError as error:
        raise NetworkError(
            "The bundle of certificate authorities that is set in the environment cannot be read"
            f" ({type(error).__name__}).",
            "Ask a DSS administrator to correct REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE.",
            transient=False,
        ) from None
    return context
