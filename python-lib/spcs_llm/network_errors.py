"""Why no answer came, in a sentence: from the exceptions of requests, urllib3, http.client, ssl and socket.

Only their types and TLS reasons are used, never their texts: those hold addresses of proxies with passwords.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator

import requests
import urllib3

from spcs_llm.errors import NetworkError, TlsError


def explain_failure(
    error: BaseException, host: str, *, cut: bool = False, answered: bool = False
) -> NetworkError:
    """The failure of an exchange with `host`. cut: the watchdog ended it. answered: the body had begun."""
    causes = list(_causes(error))
    if cut:
        return NetworkError(f"{host} had not ended its answer when the query's time was up.", silent=True)
    if _any(causes, requests.exceptions.ProxyError, urllib3.exceptions.ProxyError):
        return _proxy_failure(causes)
    if _any(causes, ssl.SSLError, urllib3.exceptions.SSLError, ssl.CertificateError):
        return _tls_failure(causes, host)
    if _any(causes, socket.gaierror):
        return NetworkError(
            f"The name {host} cannot be resolved.",
            "Check the URL; a service that was dropped and created again has a new one: SHOW ENDPOINTS IN SERVICE.",
        )
    if _any(causes, urllib3.exceptions.ConnectTimeoutError, requests.exceptions.ConnectTimeout):
        return NetworkError(f"{host} could not be reached in time.", _REACH)
    if _any(causes, ConnectionRefusedError):
        return NetworkError(f"{host} refuses connections.", _REACH)
    if _any(causes, socket.timeout, urllib3.exceptions.ReadTimeoutError, requests.exceptions.ReadTimeout):
        return NetworkError(
            f"{host} was silent for longer than a request may wait.",
            "Raise 'Request timeout', ask for fewer tokens, or let the model stream.",
            silent=True,
        )
    if _any(causes, urllib3.exceptions.NewConnectionError):
        return NetworkError(f"{host} could not be reached.", _REACH)
    if answered:
        return body_cut_short(host)
    if _any(causes, http.client.BadStatusLine) and not _any(causes, http.client.RemoteDisconnected):
        return NetworkError(f"{host} answered with something that is not HTTP.", _REACH)
    if _any(causes, ConnectionError, urllib3.exceptions.ProtocolError, requests.exceptions.ConnectionError):
        return NetworkError(f"{host} closed the connection before it answered.", reset=True)
    return NetworkError(f"The request to {host} failed ({type(error).__name__}).", _REACH)


_REACH = "Check the URL, and that this DSS node may reach it (firewall, proxy)."


def body_cut_short(host: str) -> NetworkError:
    return NetworkError(f"{host} closed the connection in the middle of its answer.")


def _proxy_failure(causes: list[BaseException]) -> NetworkError:
    wants_password = any("407" in str(cause) for cause in causes)
    if wants_password:
        return NetworkError(
            "The proxy wants a user name and password (407).",
            "Set them in HTTPS_PROXY of DSS.",
            transient=False,
        )
    return NetworkError("The proxy cannot be used.", "Check HTTPS_PROXY and NO_PROXY of DSS.")


def _tls_failure(causes: list[BaseException], host: str) -> NetworkError:
    reasons = " ".join(str(cause) for cause in causes).lower()
    if "expired" in reasons:
        return TlsError(
            f"The certificate of {host} has expired.", "Its owner must renew it.", transient=False
        )
    if "hostname" in reasons or "doesn't match" in reasons or "mismatch" in reasons:
        return TlsError(
            f"The certificate of {host} is for another name.",
            "Check the URL: in hosts, Snowflake writes a dash where an account name has an underscore.",
            transient=False,
        )
    if "certificate" in reasons and "verify" in reasons:
        return TlsError(
            f"The certificate of {host} is from an authority that is not trusted here.",
            "Behind a TLS-inspecting proxy, set REQUESTS_CA_BUNDLE of DSS to a bundle with its authority.",
            transient=False,
        )
    return TlsError(f"The TLS connection to {host} could not be set up.", _REACH)


def _any(causes: list[BaseException], *types: type[BaseException]) -> bool:
    return any(isinstance(cause, types) for cause in causes)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and all that it wraps: by cause, context, urllib3's `reason`, or as an argument."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        wrapped = [current.__cause__, current.__context__, getattr(current, "reason", None), *current.args]
        waiting.extend(item for item in wrapped if isinstance(item, BaseException))
