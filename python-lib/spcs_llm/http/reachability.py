"""How far a host can be reached, layer by layer, by the way that requests take: name, connection, certificate.

What fails is the error that a query would fail with. Each function ends by its limit for each address, apart from the
look-up of a name, which the system's resolver bounds: whoever must not wait for that calls it in another thread.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3
from requests.utils import prepend_scheme_if_needed

from spcs_llm.http.transport import Transport

T = TypeVar("T")
_PROXY_PORTS = {"https": 443, "socks4": 1080, "socks5": 1080}


@dataclass(frozen=True)
class Addresses:
    """What a name is resolved to.

    Attributes:
        count: The number of different addresses.
        private: How many of them are of private networks; those of this machine do not count.
        loopback: How many of them are this machine's own.
        version_6: How many of them are of IPv6.
        of_proxy: Whether they are the proxy's, through which requests go.
    """

    count: int
    private: int
    loopback: int
    version_6: int
    of_proxy: bool


@dataclass(frozen=True)
class TlsFacts:
    """What a TLS handshake agreed on.

    Attributes:
        version: Such as TLSv1.3.
        issuer: The organisation that issued the certificate, or "".
        days_left: Days until the certificate expires; None if it does not say.
    """

    version: str
    issuer: str
    days_left: float | None


def versions() -> dict[str, str]:
    """The versions of the libraries that requests are sent with."""
    return {
        "requests": requests.__version__,
        "urllib3": str(urllib3.__version__),  # type: ignore[attr-defined, unused-ignore]
        "openssl": ssl.OPENSSL_VERSION,
    }


def look_up(transport: Transport) -> Addresses:
    """Resolves the name that connections are made to: the proxy's, if there is one.

    Args:
        transport: Connections to the host.

    Returns:
        What the addresses are like.

    Raises:
        NetworkError: If the name cannot be resolved.
    """
    host, port = _destination(transport)
    found = _explained(transport, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    addresses = {ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found}
    loopback = {address for address in addresses if address.is_loopback}
    return Addresses(
        count=len(addresses),
        private=sum(address.is_private for address in addresses - loopback),
        loopback=len(loopback),
        version_6=sum(address.version == 6 for address in addresses),
        of_proxy=transport.proxy is not None,
    )


def connect(transport: Transport, seconds: float) -> float:
    """Makes a TCP connection as a request would, and closes it.

    Args:
        transport: Connections to the host.
        seconds: The longest that each address may take.

    Returns:
        Seconds that it took, the look-up of the name included.

    Raises:
        NetworkError: If no address takes the connection.
    """
    began = time.monotonic()
    destination = _destination(transport)
    _explained(transport, lambda: socket.create_connection(destination, seconds)).close()
    return time.monotonic() - began


def shake_hands(transport: Transport, seconds: float) -> TlsFacts:
    """Makes a TLS connection as a request would, through the proxy if there is one, and closes it.

    Args:
        transport: Connections to the host, whose scheme is https.
        seconds: The longest silence.

    Returns:
        What was agreed on.

    Raises:
        NetworkError: If the connection is not made; TlsError if the certificate is not accepted.
    """
    with contextlib.closing(transport.pool._new_conn()) as connection:
        connection.timeout = seconds
        _explained(transport, lambda: _open(transport, connection), wrapped=False)
        return _facts(connection.sock)


def _open(transport: Transport, connection: Any) -> None:
    """Opens a connection of urllib3's as its pool does, up to the end of the TLS handshake."""
    if transport.pool.proxy is not None and transport.url.scheme == "https":
        transport.pool._prepare_proxy(connection)
    else:
        connection.connect()


def _facts(sock: Any) -> TlsFacts:
    certificate = sock.getpeercert() or {}
    issuer = {key: value for parts in certificate.get("issuer", ()) for key, value in parts}
    return TlsFacts(
        sock.version() or "TLS",
        str(issuer.get("organizationName") or issuer.get("commonName") or ""),
        _days_until(certificate.get("notAfter")),
    )


def _days_until(moment: str | None) -> float | None:
    if not moment:
        return None
    left = ssl.cert_time_to_seconds(moment) - datetime.now(timezone.utc).timestamp()
    return left / 86_400


def _destination(transport: Transport) -> tuple[str, int]:
    if transport.proxy is None:
        return transport.url.host, transport.url.port or (443 if transport.url.scheme == "https" else 80)
    parts = urlsplit(prepend_scheme_if_needed(transport.proxy, "http"))  # type: ignore[no-untyped-call]
    return parts.hostname or "", parts.port or _PROXY_PORTS.get(parts.scheme.rstrip("ah"), 80)


def _explained(transport: Transport, act: Callable[[], T], *, wrapped: bool = True) -> T:
    """Does something on the way to the host, and turns what fails into the error that a request would fail with."""
    failure: BaseException
    try:
        return act()
    except (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
        failure = error
    if transport.proxy is not None and wrapped:
        failure = urllib3.exceptions.ProxyError("", failure)  # type: ignore[arg-type, unused-ignore]
    raise transport.failure_of(failure) from None
