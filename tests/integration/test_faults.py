"""The fault table: what is armed, what the caller sees, how often is asked, and how long it may take.

A row says how its fault is armed (`arm` returns the URL to call) and through what the call goes (`through`): the
endpoint alone over raw sockets, or whatever a further function of that shape joins together. Pauses between attempts
are injected and take no time; `slept` has them in seconds, at the full of their jitter. The clock of the queries stands
still but for these pauses, and what a server lets run out.
"""

# ruff: noqa: E501 - a row is easier to compare with its neighbours than to read on its own
from __future__ import annotations

import gc
import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from spcs_llm.errors import (
    AccessDenied,
    BadRequest,
    GatewayDown,
    ModelError,
    NetworkError,
    NotFound,
    QueryTimeout,
    RequestTooLarge,
    ServiceBusy,
    ServiceDown,
    ServiceError,
    ServiceStarting,
    SpcsError,
    TlsError,
    TokenRefused,
)
from spcs_llm.http import exchange
from spcs_llm.http.asked_wait import wait_in_headers
from spcs_llm.http.request import HttpRequest
from spcs_llm.query_context import QueryContext
from spcs_llm.snowflake import ingress
from tests.integration.arena import POST, Arena
from tests.integration.raw_server import (
    CHUNKED,
    CLOSE,
    Proxy,
    RawServer,
    Step,
    chunk,
    dripping,
    endless,
    hanging_connect,
    head,
    refused,
    reply,
    reset_at_once,
    then_close,
    then_reset,
    then_silence,
)
from tests.waiting import FAR_TOO_LONG, wait_for

# Before 3.10, http.client leaves a proxy's refusal to the garbage collector.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*socket.socket \[closed\]")

BACKOFF = (0.5, 1.0, 2.0)
FIREWALL = "firewall, proxy"
QUERY_SECONDS = 600.0
CANARIES = ("token-canary", "prompt-canary", "proxy-canary", "Traceback")


@dataclass(frozen=True)
class Outcome:
    """What became of a call. asked: how often a server was; slept: the pauses between."""

    answer: Any
    error: SpcsError | None
    slept: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class Fault:
    """sees: the class of the error, None for an answer. words: in its text, hint: in what to do about it.

    attempts: requests that the armed server gets, where it can count them. query_seconds, idle_seconds: the limits in
    force. within: real seconds, fewer than any limit in force that the call must not wait out, far more than it takes.
    """

    name: str
    arm: Callable[[Any], str]
    sees: type[SpcsError] | None = None
    words: str = ""
    hint: str = ""
    place: str = ""
    attempts: int | None = 1
    slept: tuple[float, ...] = ()
    query_seconds: float = QUERY_SECONDS
    idle_seconds: float = 4 * FAR_TOO_LONG
    cold_start: float = 20.0
    http_request: HttpRequest = POST
    within: float = 3 * FAR_TOO_LONG
    answer: Any = None


def over_endpoint(arena: Arena, fault: Fault) -> Outcome:
    arena.pauses.stand_still()
    url = fault.arm(arena)
    began = time.monotonic()
    call = arena.call(fault.query_seconds)
    answer, error = None, None
    try:
        endpoint = arena.endpoint(url, idle_seconds=fault.idle_seconds, cold_start=fault.cold_start)
        answer = endpoint.send(fault.http_request, call)
    except SpcsError as raised:
        error = raised
    finally:
        _no_canary_in(call)
    return Outcome(answer, error, tuple(arena.pauses.slept), time.monotonic() - began)


def check(fault: Fault, outcome: Outcome) -> None:
    """What holds for every row, whatever its call went through."""
    error = outcome.error
    if fault.sees is None:
        assert error is None, f"an answer was due, not: {error}"
        assert outcome.answer == fault.answer if fault.answer is not None else True
    else:
        is_both = len(type(error).__bases__) > 1  # a refusal of which nobody can say whose it is
        assert type(error) is fault.sees or (is_both and isinstance(error, fault.sees)), repr(error)
        assert fault.words in error.message
        assert fault.hint in error.hint
        assert error.place == (fault.place or fault.sees.place)
        assert error.message.endswith("."), "a sentence"
        assert len(str(error)) < 1000
        assert not any(canary in str(error) + repr(error) for canary in CANARIES)
    assert outcome.slept == pytest.approx(fault.slept)
    assert outcome.seconds < fault.within


def _no_canary_in(call: QueryContext) -> None:
    for step in call.steps:
        assert not any(canary in repr(step) for canary in CANARIES)


# -- ways to arm ----------------------------------------------------------------------------------------------

OK = {"ok": 1}


def serve(*script: Step, **options: Any) -> Callable[[Arena], str]:
    return lambda arena: arena.serve(*script, **options)


def always(status: int, body: bytes = b"", **headers: str) -> Callable[[Arena], str]:
    return serve(reply(status, body, **headers))


def once(*script: Step) -> Callable[[Arena], str]:
    return serve(*script, reply())


def gateway(status: int, detail: str) -> Callable[[Arena], str]:
    told = {"responseType": "ERROR", "requestId": "0b6f-42", "detail": detail}
    return always(status, json.dumps(told).encode())


def nobody_there(arena: Arena) -> str:
    return "http://" + arena.undo.enter_context(refused())


def nobody_answers(arena: Arena) -> str:
    arena.environment.setattr("spcs_llm.http.transport.CONNECT_SECONDS", 0.05)  # all of them are waited out
    return "http://" + arena.undo.enter_context(hanging_connect())


def unknown_name(arena: Arena) -> str:
    def fail(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    arena.environment.setattr(socket, "getaddrinfo", fail)
    return "https://abc-gone.snowflakecomputing.app"


def small_bodies_only(armed: Callable[[Arena], str]) -> Callable[[Arena], str]:
    def arm(arena: Arena) -> str:
        arena.environment.setattr(exchange, "MAX_BODY", 1 << 20)
        return armed(arena)

    return arm


def redirect(status: int) -> Callable[[Arena], str]:
    """To another host, which must see nothing; its requests are counted when the row ends."""

    def arm(arena: Arena) -> str:
        arena.elsewhere = arena.undo.enter_context(RawServer(reply()))
        return arena.serve(
            reply(status, b"<html>", location=f"{arena.elsewhere.url}/x", content_type="text/html")
        )

    return arm


def tls(context: Callable[[Arena], Any], *script: Step, trusted: bool = True) -> Callable[[Arena], str]:
    def arm(arena: Arena) -> str:
        if trusted:
            arena.trust()
        return arena.serve(*(script or (reply(),)), tls=context(arena))

    return arm


def https_to(arm: Callable[[Arena], str]) -> Callable[[Arena], str]:
    """Calls over TLS what does not speak it."""
    return lambda arena: arm(arena).replace("http:", "https:")


def hanging_handshake(arena: Arena) -> str:
    arena.environment.setattr("spcs_llm.http.transport.CONNECT_SECONDS", 0.1)  # all of them are waited out
    return https_to(serve(reply(), on_connect=lambda c: c.recv(1 << 20) and c.recv(1)))(arena)


def through_proxy(refuses: bytes | None = None) -> Callable[[Arena], str]:
    def arm(arena: Arena) -> str:
        arena.undo.callback(gc.collect)
        arena.environment.setenv("HTTPS_PROXY", arena.undo.enter_context(Proxy(refuses)).url)
        return tls(Arena.certificate)(arena)

    return arm


def dead_proxy(arena: Arena) -> str:
    arena.environment.setenv("HTTPS_PROXY", f"http://user:proxy-canary@{arena.undo.enter_context(refused())}")
    return tls(Arena.certificate)(arena)


def unreadable_bundle(arena: Arena) -> str:
    arena.environment.setenv("REQUESTS_CA_BUNDLE", str(arena.folder / "missing.pem"))
    return "https://host.example"


def in_thirty_seconds(arena: Arena) -> str:
    now = datetime.now(timezone.utc).replace(microsecond=0)
    arena.environment.setattr(ingress, "wait_in_headers", partial(wait_in_headers, now=lambda: now))
    date = format_datetime(now + timedelta(seconds=30), usegmt=True)
    return arena.serve(reply(429, retry_after=date), reply())


def lapsing(step: Callable[..., Step]) -> Callable[[Arena], str]:
    """The query's time is up as soon as the server has its request, and has sent what comes before the drip."""
    return lambda arena: arena.serve(step(reached=lambda: arena.skip(QUERY_SECONDS)))


def silent_once(arena: Arena) -> str:
    """Only the first attempt is impatient: that a machine takes its time for the second is no silence."""

    def silence(connection: Any) -> str:
        arena.made[-1]._idle_seconds = FAR_TOO_LONG
        connection.recv(1)
        return CLOSE

    return arena.serve(silence, reply())


def refuse_unread(connection: Any) -> str:
    """Answers before the body is read, and closes: the client meets a reset while it still sends."""
    connection.sendall(reply(413, b"", connection="close"))
    connection.shutdown(socket.SHUT_WR)
    return CLOSE


def with_one_more_answer(connection: Any) -> None:
    connection.sendall(reply() + reply(body=b'{"of": "somebody else"}'))


def asked_before(arm: Callable[[Arena], str], meanwhile: Callable[[Arena], None] = lambda arena: None) -> Any:
    """The endpoint has a connection from an earlier call."""

    def armed(arena: Arena) -> str:
        url = arm(arena)
        endpoint = arena.endpoint(url)
        endpoint.send(POST, arena.call())
        assert arena.server is not None
        arena.server.requests.clear()
        meanwhile(arena)
        arena.endpoint = lambda *args, **options: endpoint  # type: ignore[method-assign]
        return url

    return armed


LARGE = HttpRequest("/predict", body=b"[" + b" " * 30_000_000 + b"]")
UNREACHED: dict[str, Any] = {"sees": NetworkError, "hint": FIREWALL, "attempts": 4, "slept": BACKOFF}
CUT: dict[str, Any] = {
    "sees": NetworkError,
    "words": "in the middle of its answer",
    "attempts": 4,
    "slept": BACKOFF,
}
NO_HTTP: dict[str, Any] = {**UNREACHED, "words": "something that is not HTTP"}
TOO_MANY_HEADERS: dict[str, Any] = {
    "sees": NetworkError,
    "words": "too large, or too many",
    "hint": "to send fewer headers",
}
TIME_IS_UP: dict[str, Any] = {
    "sees": QueryTimeout,
    "words": f"No answer within the {QUERY_SECONDS:g} s",
    "hint": "'Query timeout'",
}
LOST: dict[str, Any] = {
    "sees": NetworkError,
    "words": "closed the connection before it answered",
    "attempts": 4,
    "slept": BACKOFF,
}
PROTOCOL = "'Service protocol'"

NETWORK = [
    Fault("nothing listens", nobody_there, words="refuses connections", **{**UNREACHED, "attempts": None}),
    Fault(
        "the connection hangs", nobody_answers, words="reached in time", **{**UNREACHED, "attempts": None}
    ),
    Fault(
        "the name is unknown",
        unknown_name,
        NetworkError,
        "abc-gone.snowflakecomputing.app cannot be resolved",
        "SHOW ENDPOINTS IN SERVICE",
        attempts=None,
        slept=BACKOFF,
    ),
    Fault(
        "connected, and silent",
        serve(then_silence()),
        NetworkError,
        "silent for longer than a request may wait",
        "'Request timeout'",
        attempts=2,
        slept=(0.5,),
        idle_seconds=0.1,
    ),
    Fault("silent once", silent_once, attempts=2, slept=(0.5,), idle_seconds=0.1, answer=OK),
    Fault("silent until the query's time is up", lapsing(then_silence), **TIME_IS_UP),
    Fault("reset once before a byte", once(then_reset()), attempts=2, slept=(0.5,), answer=OK),
    Fault("reset each time", serve(then_reset()), **LOST),
    Fault("closed each time", serve(then_close(b"")), **LOST),
    Fault("reset within the headers", serve(then_reset(b"HTTP/1.1 200 OK\r\nContent-")), **LOST),
    Fault("closed within the headers once", once(then_close(b"HTTP/1.1 200 OK\r\nContent-")), attempts=2, slept=(0.5,), answer=OK),
    Fault("reset within the body once", once(then_reset(head(content_length="9") + b'{"ok"')), attempts=2, slept=(0.5,), answer=OK),
    Fault("closed within the body", serve(then_close(head(content_length="99") + b'{"ok": 1}')), **CUT),
    Fault("closed within the chunks", serve(then_close(head(**CHUNKED) + chunk(b'{"ok": 1}'))), **CUT),
    Fault("closed within a chunk", serve(then_close(head(**CHUNKED) + b"ff\r\n{")), **CUT),
    Fault("a chunk without a size", serve(then_close(head(**CHUNKED) + b"zz\r\n{}\r\n")), **CUT),
    Fault("silent within the body", serve(then_silence(head(content_length="9") + b'{"ok"')), NetworkError, "silent", "'Request timeout'", attempts=2, slept=(0.5,), idle_seconds=0.1),
    Fault("the body drips without end", lapsing(partial(dripping, head(**CHUNKED), b"1\r\n \r\n")), **TIME_IS_UP),
    Fault("the headers drip without end", lapsing(partial(dripping, b"HTTP/1.1 200 OK\r\nx: ", b"y")), **TIME_IS_UP),
    Fault("an error's body drips without end", lapsing(partial(dripping, head(500, **CHUNKED), b"1\r\n \r\n")), **{**TIME_IS_UP, "hint": "SYSTEM$GET_SERVICE_LOGS"}),
    Fault("closed by the server while idle", asked_before(serve(reply()), lambda arena: arena.server.close_connections()), answer=OK),
    Fault("reset while idle", asked_before(serve(reply()), lambda arena: arena.server.close_connections(reset=True)), answer=OK),
    Fault("reset under the next request", asked_before(once(reply(), then_reset())), attempts=2, answer=OK),
    Fault("an answer too many before", asked_before(once(with_one_more_answer)), answer=OK),
]  # fmt: skip

HTTP = [
    Fault("garbage", serve(then_close(b"\x16\x03\x01 not HTTP at all\r\n\r\n")), **NO_HTTP),
    Fault("another protocol", serve(then_close(b"SSH-2.0-OpenSSH_9.6\r\n")), **NO_HTTP),
    Fault("a header line of 100 kB", serve(then_close(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n")), **TOO_MANY_HEADERS),
    Fault("a header without end", serve(endless(b"HTTP/1.1 200 OK\r\nx: ", b"y" * 4096)), **TOO_MANY_HEADERS),
    Fault("headers without end", serve(endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n")), **TOO_MANY_HEADERS),
    Fault("large headers without end", serve(endless(b"HTTP/1.1 200 OK\r\n", b"x: " + b"y" * 60_000 + b"\r\n")), **TOO_MANY_HEADERS),
    Fault("large early hints without end", serve(endless(b"", b"HTTP/1.1 103 Early Hints\r\nx: " + b"y" * 60_000 + b"\r\n\r\n")), **TOO_MANY_HEADERS),
    Fault("900 headers", serve(reply().replace(b"\r\n", b"\r\nx: " + b"\r\nx: y" * 900 + b"\r\n", 1)), answer=OK),
    Fault("two lengths", serve(then_close(reply(content_length="9\r\ncontent-length: 8"))), **NO_HTTP),
    Fault("a length that is none", serve(then_close(reply(content_length="many"))), answer=OK),
    Fault("HTTP 1.0", serve(then_close(b'HTTP/1.0 200 OK\r\n\r\n{"ok": 1}')), answer=OK),
    Fault("an end by closing", serve(then_close(head() + b'{"ok": 1}')), answer=OK),
    Fault("100 Continue before the answer", serve(b"HTTP/1.1 100 Continue\r\n\r\n" + reply()), answer=OK),
    *[
        Fault(
            f"{status} to another host",
            redirect(status),
            TokenRefused,
            f"asks for a sign-in (HTTP {status})",
            "GRANT SERVICE ROLE",
        )
        for status in (301, 302, 303, 307, 308)
    ],
    Fault("304 without a cause", always(304), TokenRefused, "HTTP 304"),
    Fault("refused before the body is read", serve(refuse_unread), RequestTooLarge, "too large", "'Max batch size'", http_request=LARGE, attempts=None),
]  # fmt: skip

STATUS = [
    Fault("400 of a service", always(400, b'{"error": {"message": "no such option: \'top_q\'"}}'), BadRequest, "no such option: 'top_q'", "what the service names"),
    Fault("400 with a traceback", always(400, b'{"error": "Traceback (most recent call last):\\n  File x\\nValueError: bad"}'), BadRequest, "ValueError: bad"),
    Fault("400 that quotes the prompt", always(400, b'{"error": "cannot read prompt-canary of some length"}'), BadRequest, "cannot read …"),
    Fault("422 that quotes the prompt", always(422, b'{"detail": [{"loc": ["body", "data"], "msg": "too long", "input": "prompt-canary of some length"}]}'), BadRequest, "body.data: too long"),
    Fault("400 with half a body", serve(then_close(head(400, content_length="99") + b'{"error": "ba')), BadRequest, "HTTP 400"),
    Fault("400 packed", serve(reply(400, gzip.compress(b'{"error": "packed reason"}'), content_encoding="gzip")), BadRequest, "packed reason"),
    Fault("400 packed badly", serve(reply(400, b"\x1f\x8bnot gzip", content_encoding="gzip")), BadRequest, "HTTP 400"),
    Fault("400 of 100 MB", serve(endless(head(400, content_length="100000000"), b"x" * 65536)), BadRequest, "HTTP 400"),
    Fault("401 of the gateway", gateway(401, "token expired"), TokenRefused, "HTTP 401", "GRANT SERVICE ROLE"),
    Fault("401 of the container", always(401, b'{"error": "Unauthorized"}'), ServiceError, "The service itself refuses", "'Service API key'"),
    Fault("403 of the gateway", gateway(403, "no"), TokenRefused, "HTTP 403"),
    Fault("403 by network policy", gateway(403, "blocked by network policy X"), AccessDenied, "network policy", "address"),
    Fault("403 of a host that is gone", gateway(403, "Could not find the service associated with endpoint abc."), AccessDenied, "gateway", "SHOW ENDPOINTS"),
    Fault("404 of the service", always(404, b'{"detail": "Not Found"}'), NotFound, "no such path or model", PROTOCOL, place="service"),
    Fault("404 that may hide a refusal", always(404, b""), NotFound, "which Snowflake hides behind a 404", "GRANT SERVICE ROLE", place="ingress"),
    Fault("405", always(405, b"Method Not Allowed"), ServiceError, "HTTP 405", PROTOCOL),
    Fault("413", always(413), RequestTooLarge, "too large", "'Max batch size'"),
    Fault("418", always(418, b"teapot"), ServiceError, "HTTP 418"),
    Fault("429 each time", always(429), ServiceBusy, "HTTP 429", "'Max parallelism'", attempts=4, slept=BACKOFF),
    Fault("500", always(500, b'{"error": "CUDA error: out of memory"}'), ServiceError, "CUDA error: out of memory", "more memory"),
    Fault("500 of the gateway each time", gateway(500, "Internal server error"), GatewayDown, "gateway fails", "status.snowflake.com", attempts=4, slept=BACKOFF),
    Fault("501", always(501), ServiceError, "HTTP 501"),
    *[
        Fault(f"{status} each time", always(status, b"oops"), ServiceDown, f"HTTP {status}", "SYSTEM$GET_SERVICE_LOGS", attempts=4, slept=BACKOFF)
        for status in (502, 503)
    ],
    Fault("504 each time", always(504), ServiceDown, "HTTP 504", "90 s", attempts=2, slept=(0.5,)),
    Fault("503 three times", once(*[reply(503)] * 3), attempts=4, slept=BACKOFF, answer=OK),
    Fault("999", always(999), ServiceError, "HTTP 999"),
    Fault("no hosts each time", gateway(503, "Service X not reachable: no service hosts found."), ServiceStarting, "not reachable yet", "'Cold start wait'", attempts=6, slept=(1.0, 2.0, 4.0, 8.0, 5.0), cold_start=20.0),
    Fault("upstream connect error, then up", once(*[reply(503, b"upstream connect error or disconnect/reset before headers")] * 3), attempts=4, slept=(1.0, 2.0, 4.0), answer=OK),
]  # fmt: skip

RETRY_AFTER = [
    Fault("Retry-After 2", once(reply(429, retry_after="2")), attempts=2, slept=(2.0,), answer=OK),
    Fault("Retry-After as a date", in_thirty_seconds, attempts=2, slept=(30,), answer=OK),
    Fault("Retry-After of an hour", always(503, retry_after="3600"), ServiceDown, "HTTP 503"),
    Fault("Retry-After beyond the query's time", always(503, b"down", retry_after="30"), QueryTimeout, "Last failure: [service]", query_seconds=5.0),
    *[
        Fault(f"Retry-After {value!r}", once(reply(429, retry_after=value)), attempts=2, slept=(0.5,), answer=OK)
        for value in ("0", "-1", "nan", "soon", "", "Tue, 24 Nov 1970 12:00:00 GMT")
    ],
]  # fmt: skip

BODY = [
    Fault("an empty answer", always(200), ModelError, "an empty body (0 bytes)", PROTOCOL, "service"),
    Fault("204", serve(head(204)), ModelError, "an empty body", PROTOCOL, "service"),
    Fault("half a JSON", always(200, b'{"data": [[0, {"out'), ModelError, "no valid JSON", PROTOCOL, "service"),
    Fault("Latin-1", always(200, '{"a": "é"}'.encode("latin-1"), content_type="application/json; charset=latin-1"), ModelError, "not UTF-8", PROTOCOL, "service"),
    Fault("a byte order mark", always(200, b'\xef\xbb\xbf{"ok": 1}'), answer=OK),
    Fault("nested without measure", always(200, b"[" * 200_000), ModelError, "nested too deeply", PROTOCOL, "service"),
    Fault("a web page", always(200, b"hello", content_type="text/html; charset=utf-8"), ModelError, "A web page", "'LLM endpoint URL'", "service"),
    Fault("a web page that does not say so", always(200, b"\n<!DOCTYPE html>"), ModelError, "A web page", "'LLM endpoint URL'", "service"),
    Fault("a web page, packed", serve(reply(body=gzip.compress(b"<html>"), content_encoding="gzip")), ModelError, "A web page", place="service"),
    Fault("packed", serve(reply(body=gzip.compress(b'{"ok": 1}'), content_encoding="gzip")), answer=OK),
    Fault("packed badly", serve(reply(body=b"\x1f\x8bnot gzip", content_encoding="gzip")), ModelError, "compressed and damaged", place="service"),
    Fault("packed, without its end", serve(reply(body=gzip.compress(b'{"ok": 1}')[:-4], content_encoding="gzip")), **CUT),
    Fault("packed in an unknown way", serve(reply(body=b"\x8b\x03\x80{\"ok\": 1}\x03", content_encoding="br")), ModelError, "encoding that was not asked for ('br')"),
    Fault("a bomb", small_bodies_only(serve(reply(body=gzip.compress(b"[" + b" " * (8 << 20)), content_encoding="gzip"))), ModelError, "larger than 1 MB"),
    Fault("a body without end", small_bodies_only(serve(endless(head(), b" " * 65536))), ModelError, "larger than 1 MB", "Ask for less"),
]  # fmt: skip

TLS = [
    Fault("a good certificate", tls(Arena.certificate), answer=OK),
    Fault("an expired certificate", tls(Arena.expired), TlsError, "has expired", "to renew it", attempts=0),
    Fault("a certificate for another host", tls(lambda arena: arena.certificate("other.example")), TlsError, "for another name", "a dash where", attempts=0),
    Fault("an unknown authority", tls(Arena.certificate, trusted=False), TlsError, "not trusted here", "REQUESTS_CA_BUNDLE", attempts=0),
    Fault("a server without TLS", https_to(serve(reply(), on_connect=lambda c: c.sendall(reply(400)) or c.recv(1 << 20))), TlsError, "could not be set up", FIREWALL, attempts=0),
    Fault("a handshake that is cut", https_to(serve(reply(), on_connect=reset_at_once)), **{**UNREACHED, "attempts": 0}),
    Fault("a handshake that hangs", hanging_handshake, words="reached in time", **{**UNREACHED, "attempts": 0}),
    Fault("cut within the body", tls(Arena.certificate, then_reset(head(content_length="99") + b"{"), reply()), attempts=2, slept=(0.5,), answer=OK),
    Fault("closed without TLS's goodbye", tls(Arena.certificate, then_close(head(content_length="99") + b"{")), **CUT),
    Fault("a bundle that cannot be read", unreadable_bundle, NetworkError, "cannot be read", "to correct REQUESTS_CA_BUNDLE", attempts=None),
]  # fmt: skip

PROXY = [
    Fault("a proxy that works", through_proxy(), answer=OK),
    Fault("a proxy that is not there", dead_proxy, NetworkError, "proxy cannot be used", "HTTPS_PROXY", attempts=0, slept=BACKOFF),
    Fault("a proxy that wants a password", through_proxy(b"407 Proxy Authentication Required"), NetworkError, "does not accept those in HTTPS_PROXY (407)", "%23 for #", attempts=0),
    Fault("a proxy that forbids the host", through_proxy(b"403 Forbidden"), NetworkError, "refuses to connect to 127.0.0.1", "NO_PROXY", attempts=0),
    Fault("a proxy that cannot connect", through_proxy(b"502 Bad Gateway"), NetworkError, "(502)", "NO_PROXY", attempts=0, slept=BACKOFF),
]  # fmt: skip

TABLE = {
    "network": NETWORK,
    "HTTP": HTTP,
    "status": STATUS,
    "Retry-After": RETRY_AFTER,
    "body": BODY,
    "TLS": TLS,
    "proxy": PROXY,
}
ROWS = [pytest.param(fault, id=f"{part}: {fault.name}") for part, rows in TABLE.items() for fault in rows]


@pytest.fixture
def arena(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Arena]:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    made = Arena(monkeypatch, tmp_path)
    with made.undo:
        yield made


@pytest.mark.sample(60)
@pytest.mark.parametrize("fault", ROWS)
def test_every_fault_ends_in_an_answer_or_in_an_error_that_says_what_to_do(
    fault: Fault, arena: Arena
) -> None:
    outcome = over_endpoint(arena, fault)
    check(fault, outcome)
    if fault.attempts is not None and arena.server is not None:
        asked = arena.server.requests
        # A caller whose time is up may be gone before its request is read.
        wait_for(lambda: len(asked) >= fault.attempts)
        assert len(arena.server.requests) == fault.attempts
    if arena.elsewhere is not None:
        assert arena.elsewhere.connections == 0, "another host must see nothing, least of all the token"
    arena.assert_nothing_is_held()
