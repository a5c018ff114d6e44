"""Why no answer came, in a sentence: from the exceptions of requests, urllib3, http.client, ssl and socket.

Of their texts only fixed phrases and statuses are looked for: they hold addresses of proxies, with passwords.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Iterator

import requests
import urllib3

from spcs_llm.errors import NetworkError, TlsError
from spcs_llm.http.response import HeadTooLarge

LLM_ENDPOINT_URL, SNOWFLAKE_ACCOUNT_URL = "LLM endpoint URL", "Snowflake account URL"  # as the form has them
# Gateways end what is silent for 30 s or longer, Snowflake's for 90 s. What took that long would take as long again.
LONG_SILENCE_SECONDS = 30.0
# Snowflake documentation, "Account identifiers"
_LOCATORS = (
    ", and after a locator its region and, in most regions, its cloud: xy12345.us-central1.gcp. The form"
    " <organization>-<account> needs neither"
)
ESCAPE_PASSWORD = "Special characters of its password are written as in a URL, such as %23 for #."
# X509_V_ERR_* of OpenSSL's x509_vfy.h
_NOT_YET_VALID, _EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 9, 10, 62, 64
_REASON_OF_OPENSSL = re.compile(r"[A-Z][A-Z0-9_]{3,60}")  # a constant, such as WRONG_VERSION_NUMBER
# In TLS 1.3, a server says so after the handshake: RFC 8446, sections 4.4.2.4 and 6.2.
_CLIENTS_CERTIFICATE = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
_TLS_CUT_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
_ONLY_STRICT = frozenset(range(80, 94))  # what VERIFY_X509_STRICT refuses: Python's default from 3.13 on


def error_from_exception(
    error: BaseException,
    host: str,
    *,
    cut: bool = False,
    sent: bool = False,
    answered: bool = False,
    silence: float = 0.0,
    field: str = LLM_ENDPOINT_URL,
) -> NetworkError:
    """The error for an exchange that failed with an exception.

    Args:
        error: What was raised.
        host: The name of the host.
        cut: Whether the watchdog ended the exchange.
        sent: Whether there was a connection, ready for the request.
        answered: Whether the body had begun.
        silence: Seconds since the last byte was sent or received.
        field: The field of the form that names the host.

    Returns:
        The error. It quotes nothing that was sent.
    """
    causes = list(_causes(error))
    reach = f"Check '{field}', and that this DSS node may reach it (firewall, proxy)."
    if cut:
        return time_is_up(host)
    if answered or sent:
        return _failure_of_exchange(causes, host, answered, silence, reach)
    if _any(causes, requests.exceptions.ProxyError, urllib3.exceptions.ProxyError) or _tunnel_status(causes):
        return _proxy_failure(causes, host)
    if _any(causes, socket.gaierror):
        renewed = "; a service that was dropped and created again has a new one: SHOW ENDPOINTS IN SERVICE"
        return NetworkError(
            f"The name {host} cannot be resolved.",
            f"Check '{field}'{renewed if field == LLM_ENDPOINT_URL else ', and the name servers of this DSS node'}.",
        )
    if _any(causes, ConnectionRefusedError):
        return NetworkError(f"{host} refuses connections.", reach)
    if _timed_out(causes):
        return NetworkError(f"{host} could not be reached in time.", reach)
    if _any(causes, ssl.SSLError, urllib3.exceptions.SSLError, ssl.CertificateError):
        return _tls_failure(causes, host, field, reach)
    if _any(causes, ConnectionError):
        return NetworkError(f"{host} closed the connection before it was ready.", reach)
    return NetworkError(f"{host} could not be reached ({_name(causes)}).", reach)


def time_is_up(host: str) -> NetworkError:
    """The error for an answer that had not ended when the query's time was up."""
    return NetworkError(f"{host} had not finished its answer when the query's time expired.", silent=True)


def body_cut_short(host: str, silence: float = 0.0) -> NetworkError:
    """The error for a connection that ended in the middle of the body, after `silence` seconds without a byte."""
    if silence >= LONG_SILENCE_SECONDS:
        return _closed_in_silence(host)
    return NetworkError(f"{host} closed the connection in the middle of its answer.")


def _closed_in_silence(host: str) -> NetworkError:
    return NetworkError(
        f"{host} closed the connection after a long silence.",
        "Snowflake's ingress ends a request after 90 s of silence, and other gateways earlier: ask for fewer tokens,"
        " let the model stream, or lower 'Max batch size'.",
        silent=True,
    )


def _failure_of_exchange(
    causes: list[BaseException], host: str, answered: bool, silence: float, reach: str
) -> NetworkError:
    if _timed_out(causes):
        return NetworkError(
            f"{host} was silent for longer than a request may wait.",
            "Raise 'Request timeout', ask for fewer tokens, or let the model stream.",
            silent=True,
        )
    if answered:
        return body_cut_short(host, silence)
    if any(getattr(cause, "reason", None) == _CLIENTS_CERTIFICATE for cause in causes):
        return TlsError(
            f"{host} requires a certificate of its clients, and the plugin has none.",
            "Ask whoever runs the proxy in front of the service to admit this DSS node without one.",
            transient=False,
        )
    if _any(causes, ConnectionError, ssl.SSLError):  # http.client.RemoteDisconnected is a ConnectionError
        if silence >= LONG_SILENCE_SECONDS:
            return _closed_in_silence(host)
        return NetworkError(f"{host} closed the connection before it answered.", reset=True)
    if _any(causes, HeadTooLarge):
        return NetworkError(
            f"The headers of an answer from {host} are too large, or too many.",
            "Ask whoever runs the service, or the gateway in front of it, to send fewer headers.",
            transient=False,
        )
    malformed = (http.client.HTTPException, urllib3.exceptions.InvalidHeader)
    if _any(causes, *malformed) and not _any(causes, http.client.InvalidURL):
        return NetworkError(f"{host} answered with something that is not HTTP.", reach)
    if _any(causes, ValueError, http.client.InvalidURL):
        return NetworkError(
            "The request cannot be sent: its path or a header contains a character that HTTP forbids.",
            "Check tokens and keys for line breaks and for characters of other alphabets.",
            transient=False,
        )
    return NetworkError(f"The request to {host} failed ({_name(causes)}).", reach)


def _tunnel_status(causes: list[BaseException]) -> int:
    """The status with which a proxy refused to connect through (http.client gives it in an OSError's text), or 0."""
    for cause in causes:
        if isinstance(cause, OSError) and (found := _TUNNEL_REFUSED.match(str(cause))):
            return int(found[1])
    return 0


_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})\b")


def _proxy_failure(causes: list[BaseException], host: str) -> NetworkError:
    status = _tunnel_status(causes)
    if status == 407:
        return NetworkError(
            "The proxy requires a user name and password, or does not accept those in HTTPS_PROXY (407).",
            f"Ask a DSS administrator to add or correct them in HTTPS_PROXY. {ESCAPE_PASSWORD} The plugin signs in to"
            " proxies by Basic authentication only.",
            transient=False,
        )
    if status:
        return NetworkError(
            f"The proxy refuses to connect to {host} ({status}).",
            "Ask an administrator to allow this host in the proxy, or to add it to NO_PROXY of DSS.",
            transient=status >= 500,
        )
    if _any(causes, ssl.SSLError) and not _any(causes, ssl.CertificateError, *_TLS_CUT_OFF):
        return NetworkError(
            "The proxy does not answer by TLS, as the https:// before its name in HTTPS_PROXY says.",
            "Ask a DSS administrator to write http:// before the proxy's name in HTTPS_PROXY: requests to Snowflake are"
            " encrypted within that connection.",
            transient=False,
        )
    if _any(causes, ssl.CertificateError):
        return TlsError(
            "The certificate of the proxy is not accepted here.",
            "Ask a DSS administrator to check the proxy's name in HTTPS_PROXY, and to set REQUESTS_CA_BUNDLE to a"
            " bundle with the authority of its certificate.",
            transient=False,
        )
    return NetworkError(
        "The proxy cannot be used.",
        "Ask a DSS administrator to check the environment variables HTTPS_PROXY and NO_PROXY.",
    )


def _tls_failure(causes: list[BaseException], host: str, field: str, reach: str) -> NetworkError:
    codes = {getattr(cause, "verify_code", None) for cause in causes}
    if _EXPIRED in codes:
        return TlsError(
            f"The certificate of {host} has expired.",
            "Ask the owner of that host to renew it.",
            transient=False,
        )
    if _NOT_YET_VALID in codes:
        return TlsError(
            f"The certificate of {host} is not valid yet.",
            "Ask a DSS administrator to check the clock of this DSS node.",
            transient=False,
        )
    if codes & {_OTHER_HOST, _OTHER_ADDRESS} or any("doesn't match" in str(cause) for cause in causes):
        return TlsError(
            f"The certificate of {host} is for another name.",
            f"Check '{field}': in hosts, Snowflake writes a dash where an account name has an underscore"
            f"{_LOCATORS if field == SNOWFLAKE_ACCOUNT_URL else ''}.",
            transient=False,
        )
    if codes & _ONLY_STRICT:
        return TlsError(
            f"The certificate of {host}, or of its authority, does not follow a rule that Python 3.13 and later check.",
            "If a proxy inspects TLS, ask its administrator for an authority that follows RFC 5280. Until then, a DSS"
            " administrator can build the plugin's code environment with Python 3.12 or earlier.",
            transient=False,
        )
    if _any(causes, ssl.CertificateError):
        return TlsError(
            f"The certificate of {host} is from an authority that is not trusted here.",
            "If a proxy inspects TLS, ask a DSS administrator to set REQUESTS_CA_BUNDLE to a bundle with the proxy's"
            " authority.",
            transient=False,
        )
    cut_off = _any(causes, *_TLS_CUT_OFF)
    reasons = [str(getattr(cause, "reason", "")) for cause in causes if isinstance(cause, ssl.SSLError)]
    told = next((f" ({reason})" for reason in reasons if _REASON_OF_OPENSSL.fullmatch(reason)), "")
    return TlsError(f"The TLS connection to {host} could not be set up{told}.", reach, transient=cut_off)


def _timed_out(causes: list[BaseException]) -> bool:
    # urllib3 1.26 counts every failure to connect among the timeouts
    kinds = (socket.timeout, urllib3.exceptions.TimeoutError, requests.exceptions.Timeout)
    failed = urllib3.exceptions.NewConnectionError
    return any(isinstance(cause, kinds) and not isinstance(cause, failed) for cause in causes)


def _any(causes: list[BaseException], *types: type[BaseException]) -> bool:
    return any(isinstance(cause, types) for cause in causes)


def _name(causes: list[BaseException]) -> str:
    """The type of the innermost: what wraps it says less."""
    return type(causes[-1]).__name__


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
