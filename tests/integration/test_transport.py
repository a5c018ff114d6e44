"""Exchanges over real sockets: connections and their reuse, bounds of time and size, proxies, TLS, threads, forks."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import gc
import gzip
import importlib
import ipaddress
import multiprocessing
import os
import socket
import ssl
import sys
import threading
import time
import types
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import requests
import trustme
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from spcs_llm.errors import ModelError, NetworkError, QueryTimeout, RequestTooLarge, TlsError
from spcs_llm.http import exchange as exchange_module
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.network_errors import SNOWFLAKE_ACCOUNT_URL
from spcs_llm.http.request import HttpRequest
from spcs_llm.http.transport import WATCHDOG, Transport, _Bundle, _ca_bundle, _ssl_context
from spcs_llm.urls import parse_base_url
from tests.integration.arena import POST, TOKEN, Arena
from tests.integration.raw_server import (
    CHUNKED,
    Proxy,
    RawServer,
    chunk,
    dripping,
    endless,
    head,
    refused,
    reply,
    reset_on_close,
    then_close,
    then_reset,
    then_silence,
)
from tests.waiting import FAR_TOO_LONG, longer_each_time, wait_for

PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@pytest.fixture
def arena(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Arena]:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    made = Arena(monkeypatch, tmp_path)
    with made.undo:
        yield made
        made.assert_nothing_is_held()


def is_urllib3_2() -> bool:
    return not urllib3.__version__.startswith("1.")  # type: ignore[attr-defined]


def send(transport: Transport, path: str = "/x", body: bytes | None = b"{}", **times: Any) -> Any:
    times = {"seconds": FAR_TOO_LONG, "idle_seconds": FAR_TOO_LONG, **times}
    return transport.send("POST", path, {}, body, **times)


def whole(transport: Transport, **times: Any) -> bytes:
    exchange = send(transport, **times)
    try:
        return exchange.body()
    finally:
        transport.finish(exchange)


# -- connections ----------------------------------------------------------------------------------------------


def test_a_connection_is_used_again_after_a_whole_answer(arena: Arena) -> None:
    endpoint = arena.endpoint(arena.serve(reply()))
    for _ in range(5):
        assert endpoint.send(POST, arena.call()) == {"ok": 1}
    assert arena.server is not None
    assert [request.over for request in arena.server.requests] == [1] * 5


@pytest.mark.parametrize(
    "answer",
    [
        reply(),
        head(**CHUNKED) + chunk(b'{"ok"') + chunk(b": 1}") + b"0\r\n\r\n",
        head(**CHUNKED) + chunk(b'{"ok": 1}') + b"0\r\nx-trailer: 1\r\n\r\n",
        reply(400, b'{"error": "no"}'),
        reply(204, b"", content_length="0"),
    ],
    ids=["length", "chunks", "trailer", "error", "no content"],
)
def test_every_framing_leaves_the_connection_usable(arena: Arena, answer: bytes) -> None:
    transport = arena.transport(arena.serve(answer))
    first, second = whole(transport), whole(transport)
    assert first == second
    assert arena.server is not None
    assert arena.server.connections == 1


def test_equal_lengths_in_one_header_are_one_length(arena: Arena) -> None:
    """A proxy joins headers of one name (RFC 9110, section 8.6): dukus/digiCamControl#324, where a client waited on."""
    answer = head(content_length="9, 9") + b'{"ok": 1}'
    transport = arena.transport(arena.serve(answer))
    assert whole(transport, idle_seconds=2.0) == b'{"ok": 1}'
    assert whole(transport, idle_seconds=2.0) == b'{"ok": 1}'


@pytest.mark.parametrize("lengths", ["9, 8", "9,", "9, x", ",9"])
def test_lengths_that_differ_are_none(arena: Arena, lengths: str) -> None:
    answer = then_close(head(content_length=lengths) + b'{"ok": 1}')
    with pytest.raises(NetworkError, match="not HTTP"):
        whole(arena.transport(arena.serve(answer)))


def test_an_answer_that_is_not_read_to_its_end_takes_its_connection_along(arena: Arena) -> None:
    endpoint = arena.endpoint(arena.serve(head(content_length="100000") + b"x" * 50_000))
    with endpoint.open(POST, arena.call(), lambda opened: opened) as stream:
        next(stream.chunks())
        assert arena.server is not None
    assert arena.server.gone.wait(20), "the connection must close at once"


def test_the_end_of_an_answer_that_comes_late_does_not_hold_its_reader(arena: Arena) -> None:
    endpoint = arena.endpoint(arena.serve(then_silence(head(**CHUNKED) + chunk(b"data: [DONE]"))))
    stream = endpoint.open(POST, arena.call(), lambda opened: opened)
    next(stream.chunks())
    began = time.monotonic()
    stream.done()
    assert time.monotonic() - began < FAR_TOO_LONG
    assert arena.server is not None
    assert arena.server.gone.wait(20)


def test_trailers_without_end_hold_no_reader(arena: Arena) -> None:
    """python/cpython#150741: something always comes, so that no timeout of a socket ends them."""
    start = head(**CHUNKED) + chunk(b'{"ok": 1}') + b"0\r\n"
    transport = arena.transport(arena.serve(endless(start, b"X-More: 1\r\n" * 1000)))
    with pytest.raises(NetworkError, match="in the middle"):
        whole(transport)
    assert arena.server is not None
    assert arena.server.gone.wait(20)


def test_connections_closed_by_the_server_while_idle_are_replaced_unnoticed(arena: Arena) -> None:
    endpoint = arena.endpoint(arena.serve(reply()))
    endpoint.send(POST, arena.call())
    assert arena.server is not None
    for reset in (False, True):
        arena.server.close_connections(reset=reset)
        call = arena.call()
        assert endpoint.send(POST, call) == {"ok": 1}
    assert arena.pauses.slept == []


@pytest.mark.parametrize("end", [then_reset(), then_close(b"")], ids=["reset", "closed"])
def test_a_connection_that_dies_under_a_request_is_replaced_without_a_pause(arena: Arena, end: Any) -> None:
    endpoint = arena.endpoint(arena.serve(reply(), end, reply()))
    endpoint.send(POST, arena.call())
    call = arena.call()
    assert endpoint.send(POST, call) == {"ok": 1}
    assert (call.attempts, arena.pauses.slept) == (2, [])
    assert [step.attributes.get("reusedConnection") for step in call.steps] == [None, False]


def test_the_other_idle_connections_go_with_a_stale_one(arena: Arena) -> None:
    """After a firewall forgot them all, a call must not meet one after the other."""
    wait = threading.Barrier(4)

    def together(connection: Any) -> None:
        wait.wait(FAR_TOO_LONG)
        connection.sendall(reply())

    endpoint = arena.endpoint(arena.serve(*[together] * 4, then_reset(), reply()))
    threads = [threading.Thread(target=endpoint.send, args=(POST, arena.call())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert arena.server is not None
    assert arena.server.connections == 4
    endpoint.send(POST, arena.call())
    assert arena.server.requests[-1].over == 5, "a new one, though three others were idle"


def test_the_other_idle_connections_go_with_a_silent_one(arena: Arena) -> None:
    """A firewall may forget connections without a word to either side: shotgunsoftware/python-api#457."""
    wait = threading.Barrier(2)

    def together(connection: Any) -> None:
        wait.wait(FAR_TOO_LONG)
        connection.sendall(reply())

    transport = arena.transport(arena.serve(together, together, then_silence(), reply()))
    threads = [threading.Thread(target=whole, args=(transport,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with pytest.raises(NetworkError, match="silent"):
        whole(transport, idle_seconds=0.2)
    assert transport.pool.pool.qsize() == 0, "the other one is as old: it may be as dead"


@pytest.mark.parametrize("proxied", [False, True], ids=["straight", "through a proxy"])
def test_a_connection_that_idled_for_long_is_not_used_again(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, proxied: bool
) -> None:
    """A NAT gateway forgets it after 240 or 350 s, and not all of them say so: urllib3/urllib3#3184."""
    arena.trust()
    if proxied:
        monkeypatch.setenv("HTTPS_PROXY", arena.undo.enter_context(Proxy()).url)
    transport = arena.transport(arena.serve(reply(), tls=arena.certificate()))
    whole(transport)
    whole(transport)
    assert arena.server is not None
    assert arena.server.connections == 1
    monkeypatch.setattr("spcs_llm.http.connection._LONGEST_IDLE_SECONDS", -1.0)
    exchange = send(transport)
    assert exchange.body() == b'{"ok": 1}'
    assert not exchange.reused_connection
    transport.finish(exchange)
    assert arena.server.connections == 2


def test_a_silent_connection_is_kept_alive_by_the_system(arena: Arena) -> None:
    """A firewall forgets a connection on which an answer is waited for, too: googleapis/python-genai#2705."""
    exchange = send(arena.transport(arena.serve(reply())))
    sock = exchange._socket
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    if hasattr(socket, "TCP_KEEPIDLE"):
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 60
    assert exchange.body() == b'{"ok": 1}'
    exchange.close()


def test_a_new_connection_that_is_reset_is_a_failure(arena: Arena) -> None:
    endpoint = arena.endpoint(arena.serve(then_reset(), reply()))
    endpoint.send(POST, arena.call())
    assert arena.pauses.slept == [0.5]


def test_a_connection_that_was_opened_anew_is_not_taken_for_a_used_one(arena: Arena) -> None:
    closing = then_close(reply(connection="close"))
    endpoint = arena.endpoint(arena.serve(closing, closing, then_reset(), reply()))
    for _ in range(3):
        endpoint.send(POST, arena.call())
    assert arena.pauses.slept == [0.5], (
        "the reset struck a new connection, whatever object urllib3 keeps it in"
    )


def test_a_pool_grows_with_the_parallelism(arena: Arena) -> None:
    wait = threading.Barrier(6)

    def together(connection: Any) -> None:
        wait.wait(FAR_TOO_LONG)
        connection.sendall(reply())

    transport = arena.transport(arena.serve(together), 1)
    transport.grow(6)
    for _ in range(3):
        threads = [threading.Thread(target=whole, args=(transport,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert arena.server is not None
    assert arena.server.connections == 6


def test_requests_above_the_pools_size_work_too(arena: Arena, caplog: pytest.LogCaptureFixture) -> None:
    transport = arena.transport(arena.serve(reply()), 1)
    first, second = send(transport), send(transport)
    assert (first.body(), second.body()) == (b'{"ok": 1}', b'{"ok": 1}')
    transport.finish(first)
    transport.finish(second)


# -- time -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "drip",
    [
        partial(dripping, b"", b"HTTP/1.1 "),
        partial(dripping, b"HTTP/1.1 200 OK\r\nx: ", b"y"),
        partial(dripping, b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        partial(dripping, head(**CHUNKED), b"1\r\n \r\n"),
        partial(dripping, head(content_length="1000000"), b" "),
        partial(dripping, head(), b" "),
        partial(dripping, head(**CHUNKED) + b"1;", b"x"),
        partial(then_silence, head(**CHUNKED) + chunk(b"{")),
    ],
    ids=["status", "header", "continue", "chunks", "length", "no length", "chunk's extension", "silence"],
)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_nothing_stretches_a_query(arena: Arena, drip: Any, tls: bool) -> None:
    """The query has 0.3 s from the moment at which the server has begun to drip."""
    arena.trust()
    step = drip(reached=lambda: arena.skip(600 - 0.3))
    endpoint = arena.endpoint(arena.serve(step, tls=arena.certificate() if tls else None))
    began = time.monotonic()
    with pytest.raises(QueryTimeout):
        endpoint.send(POST, arena.call(600))
    assert time.monotonic() - began < FAR_TOO_LONG
    assert arena.server is not None
    assert arena.server.gone.wait(20)


def test_a_tls_handshake_that_trickles_is_cut(arena: Arena) -> None:
    """Each byte would renew the socket's own timeout."""

    def record_without_end(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"\x16\x03\x03\x3f\xff")  # a handshake record of 16 kB
        wait = threading.Event()
        while True:
            connection.sendall(b"\x02")
            wait.wait(0.02)

    arena.trust()
    url = arena.serve(reply(), on_connect=record_without_end).replace("http:", "https:")
    began = time.monotonic()
    with pytest.raises(QueryTimeout):
        arena.endpoint(url).send(POST, arena.call(0.3))
    assert time.monotonic() - began < FAR_TOO_LONG


def test_silence_is_bounded_by_the_idle_time(arena: Arena) -> None:
    endpoint = arena.endpoint(arena.serve(then_silence()), idle_seconds=0.1)
    with pytest.raises(NetworkError, match="silent for longer than a request may wait"):
        endpoint.send(POST, arena.call())
    assert len(arena.pauses.slept) == 1


def test_an_answer_may_take_longer_than_the_idle_time_if_it_is_never_silent(arena: Arena) -> None:
    for idle in longer_each_time(1.0):

        def slowly(connection: Any, pause: float = idle / 20) -> None:
            connection.sendall(head(**CHUNKED))
            for piece in (b'{"o', b'k": ', b"1", b"}", *[b" "] * 20):
                time.sleep(pause)
                connection.sendall(chunk(piece))
            connection.sendall(b"0\r\n\r\n")

        arena.pauses.slept.clear()
        endpoint = arena.endpoint(arena.serve(slowly), idle_seconds=idle)
        assert endpoint.send(POST, arena.call()) == {"ok": 1}
        if not arena.pauses.slept:
            break
    assert arena.pauses.slept == []


# Snowflake documentation, "Service network communications": a connection without activity for 90 s is ended. Others
# do so after 30 or 60 s. What has taken that long would take as long again.
@pytest.mark.parametrize(
    "end",
    [
        then_close(b""),
        then_reset(),
        then_close(head(content_length="9") + b'{"ok"'),
        then_close(head(**CHUNKED) + chunk(b'{"ok"')),
        then_close(head(**CHUNKED)),
    ],
    ids=["closed", "reset", "within the body", "within the chunks", "before the body"],
)
def test_a_connection_that_is_closed_after_a_long_silence_is_tried_once_more(
    arena: Arena, end: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spcs_llm.http.network_errors.LONG_SILENCE_SECONDS", 0.0)
    endpoint = arena.endpoint(arena.serve(end, end, reply()))
    with pytest.raises(NetworkError, match="after a long silence") as failed:
        endpoint.send(POST, arena.call())
    assert failed.value.is_silence, "or a batch would not be tried with fewer rows"
    assert "fewer tokens" in failed.value.hint
    assert len(arena.pauses.slept) == 1


def test_a_connection_that_is_closed_early_is_no_silence(arena: Arena) -> None:
    end = then_close(b"")
    endpoint = arena.endpoint(arena.serve(end, end, end, reply()))
    assert endpoint.send(POST, arena.call()) == {"ok": 1}
    assert len(arena.pauses.slept) == 3


LARGE = HttpRequest("/predict", body=b"[" + b" " * 30_000_000 + b"]")


def test_a_large_request_has_more_time_than_connecting_and_than_the_call_before_left(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spcs_llm.http.transport.CONNECT_SECONDS", 0.2)

    def slow_to_read(connection: socket.socket) -> None:
        time.sleep(0.5)

    endpoint = arena.endpoint(arena.serve(reply(), on_connect=slow_to_read))
    assert endpoint.send(LARGE, arena.call()) == {"ok": 1}
    assert arena.pauses.slept == []


def closes(connection: Any) -> None:
    """By FIN at once, though a request is still coming: the client meets a reset."""


def resets(connection: Any) -> None:
    reset_on_close(connection)


def says_that_it_closes(connection: Any) -> None:
    if isinstance(connection, ssl.SSLSocket):
        with contextlib.suppress(OSError):
            connection.unwrap()


class Hasty(RawServer):
    """Answers as soon as it has a connection, reads nothing, and ends in some way."""

    def __init__(self, end: Callable[[Any], object], tls: ssl.SSLContext | None) -> None:
        self._end = end
        super().__init__(b"", tls=tls)

    def _serve(self, connection: Any, number: int) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            connection.sendall(reply(413, b"too large", connection="close"))
            connection.recv(1)
            self._end(connection)
        connection.close()


# urllib3/urllib3#3148: the end of a TLS connection that is written to is another error from Python 3.10 on
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("end", [closes, resets, says_that_it_closes])
def test_an_answer_to_a_request_that_was_not_read_is_taken(
    arena: Arena, end: Callable[[Any], object], tls: bool
) -> None:
    if tls:
        arena.trust()
    with Hasty(end, arena.certificate() if tls else None) as server:
        endpoint = arena.endpoint(server.url)
        with pytest.raises(RequestTooLarge, match="too large"):
            endpoint.send(LARGE, arena.call())


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_server_that_has_answered_need_not_read_the_request(arena: Arena, tls: bool) -> None:
    if tls:
        arena.trust()
    over = threading.Event()
    with Hasty(lambda connection: over.wait(FAR_TOO_LONG), arena.certificate() if tls else None) as server:
        for idle in longer_each_time(0.5):
            with pytest.raises((RequestTooLarge, NetworkError)) as refused:
                arena.endpoint(server.url, idle_seconds=idle).send(LARGE, arena.call())
            if isinstance(refused.value, RequestTooLarge):
                break
        over.set()
    assert isinstance(refused.value, RequestTooLarge)


def test_a_query_that_ended_does_not_cut_the_next_on_its_connection(arena: Arena) -> None:
    for seconds in longer_each_time(0.2):

        def later(connection: Any, pause: float = 2 * seconds) -> None:
            time.sleep(pause)
            connection.sendall(reply())

        endpoint = arena.endpoint(arena.serve(reply(), later))
        with contextlib.suppress(QueryTimeout):
            endpoint.send(POST, arena.call(seconds))
            break
    call = arena.call()
    assert endpoint.send(POST, call) == {"ok": 1}
    assert call.attempts == 1
    assert arena.server is not None
    assert arena.server.connections == 1


def test_the_watchdog_forgets_what_has_ended(arena: Arena) -> None:
    before = dict(WATCHDOG._watched)  # what another test may have left
    endpoint = arena.endpoint(arena.serve(reply(), then_reset(), reply(400), reply()))
    for _ in range(4):
        with contextlib.suppress(Exception):
            endpoint.send(POST, arena.call())
    assert WATCHDOG._watched.keys() <= before.keys()


# -- bodies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(b'{"ok": 1}' + b" " * 200_000, mtime=0)),
        ("x-gzip", gzip.compress(b'{"ok": 1}', mtime=0)),
        ("deflate", zlib.compress(b'{"ok": 1}')),
        ("Identity", b'{"ok": 1}'),
        ("identity, gzip", gzip.compress(b'{"ok": 1}', mtime=0)),
        ("utf-8", b'{"ok": 1}'),  # no encoding at all, but some servers say so
        ("", gzip.compress(b'{"ok": 1}', mtime=0)),  # gadievron/raptor#547: a proxy takes the header off
        ("identity", gzip.compress(b'{"ok": 1}', mtime=0)),
    ],
)
def test_compressed_answers_are_unpacked(arena: Arena, coding: str, packed: bytes) -> None:
    answer = reply(body=packed, content_encoding=coding)
    assert arena.endpoint(arena.serve(answer)).send(POST, arena.call()) == {"ok": 1}


def test_answers_that_were_compressed_for_the_transfer_are_unpacked(arena: Arena) -> None:
    """RFC 9112, section 7: such a coding is not to be used unless it was asked for, and it was not."""
    packed = gzip.compress(b'{"ok": 1}', mtime=0)
    answer = head(transfer_encoding="gzip, chunked") + chunk(packed[:9]) + chunk(packed[9:]) + b"0\r\n\r\n"
    assert arena.endpoint(arena.serve(answer)).send(POST, arena.call()) == {"ok": 1}


def _deflated(data: bytes, wbits: int) -> bytes:
    deflate = zlib.compressobj(wbits=wbits)
    return deflate.compress(data) + deflate.flush()


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        # urllib3/urllib3#1285, pydantic/pydantic-ai#7159, tornadoweb/tornado pull 3654: some pack piece by piece
        ("gzip", gzip.compress(b'{"ok"') + gzip.compress(b": 1}")),
        ("gzip", gzip.compress(b'{"ok": 1}') + gzip.compress(b"")),
        # bdarnell/tornado pull 6: as gunzip takes them
        ("gzip", gzip.compress(b'{"ok": 1}') + b"\0" * 9),
        # sindresorhus/decompress-response#34, axios/axios pull 5497: old servers take `deflate` at its word
        ("deflate", _deflated(b'{"ok": 1}', wbits=-15)),
        # oven-sh/bun pull 31520: the header of a small window
        ("deflate", _deflated(b'{"ok": 1}', wbits=9)),
    ],
    ids=["members", "empty member", "zeros", "raw", "small window"],
)
@pytest.mark.parametrize("pieces", ["whole", "bytes"])
def test_compressed_answers_are_whole_however_they_were_packed(
    arena: Arena, coding: str, packed: bytes, pieces: str
) -> None:
    parts = [packed] if pieces == "whole" else [bytes([byte]) for byte in packed]
    answer = head(content_encoding=coding, **CHUNKED) + b"".join(map(chunk, parts)) + b"0\r\n\r\n"
    endpoint = arena.endpoint(arena.serve(answer))
    assert endpoint.send(POST, arena.call()) == {"ok": 1}
    assert arena.pauses.slept == []


def test_what_follows_a_compressed_answer_and_is_none_is_damage(arena: Arena) -> None:
    answer = reply(body=gzip.compress(b'{"ok": 1}') + b"more", content_encoding="gzip")
    with pytest.raises(ModelError, match="damaged"):
        arena.endpoint(arena.serve(answer)).send(POST, arena.call())


def test_the_second_member_of_a_compressed_answer_may_be_cut_short(arena: Arena) -> None:
    cut = reply(body=gzip.compress(b'{"ok": 1}') + gzip.compress(b" ")[:-3], content_encoding="gzip")
    endpoint = arena.endpoint(arena.serve(cut, reply()))
    assert endpoint.send(POST, arena.call()) == {"ok": 1}
    assert arena.pauses.slept == [0.5]


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "gzip,br", "BR"])
def test_other_encodings_than_gzip_and_deflate_are_refused(arena: Arena, coding: str) -> None:
    answer = reply(body=b"whatever", content_encoding=coding)
    with pytest.raises(ModelError, match="not asked for") as refused:
        arena.endpoint(arena.serve(answer)).send(POST, arena.call())
    assert coding.lower().replace(" ", "").split(",")[-1] in refused.value.message


def test_no_encoding_is_asked_for(arena: Arena) -> None:
    endpoint = arena.endpoint(arena.serve(reply()))
    endpoint.send(POST, arena.call())
    assert arena.server is not None
    assert arena.server.requests[0].headers["accept-encoding"] == "identity"


def test_a_compressed_answer_that_lacks_its_end_is_asked_for_again(arena: Arena) -> None:
    half = gzip.compress(b'{"ok": 1}')[:-12]
    endpoint = arena.endpoint(arena.serve(reply(body=half, content_encoding="gzip"), reply()))
    assert endpoint.send(POST, arena.call()) == {"ok": 1}
    assert arena.pauses.slept == [0.5]


@pytest.mark.sample(1)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip bomb"])
def test_a_body_without_measure_is_given_up_at_the_limit(
    arena: Arena, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_module, "MAX_BODY", 1 << 20)
    body = b"[" + b" " * (64 << 20)
    answer = reply(body=gzip.compress(body), content_encoding="gzip") if packed else reply(body=body)
    read = 0
    transport = arena.transport(arena.serve(answer))
    exchange = send(transport)
    with pytest.raises(ModelError, match="larger than 1 MB"):
        for piece in exchange.chunks():
            assert len(piece) <= 65536
            read += len(piece)
    transport.finish(exchange)
    assert read <= 1 << 20
    assert arena.server is not None
    assert arena.server.gone.wait(20)


# -- what is sent ---------------------------------------------------------------------------------------------


def test_an_event_stream_may_be_longer_than_other_bodies(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token takes a hundred times as many bytes there, and models may write a hundred thousand of them."""
    assert exchange_module.MAX_STREAM > 100_000 * 300
    monkeypatch.setattr(exchange_module, "MAX_BODY", 1000)
    monkeypatch.setattr(exchange_module, "MAX_STREAM", 2000)
    url = arena.serve(
        reply(body=b"x" * 1500, content_type="Text/Event-Stream; charset=utf-8"),
        reply(body=b"x" * 1500, content_type="application/json"),
        reply(body=b"x" * 2500, content_type="text/event-stream"),
    )
    endpoint = arena.endpoint(url)
    assert len(endpoint.send_for_body(POST, arena.call())) == 1500
    for _ in range(2):
        with pytest.raises(ModelError, match="larger than"):
            endpoint.send_for_body(POST, arena.call())


def test_the_request_on_the_wire(arena: Arena) -> None:
    endpoint = arena.endpoint(arena.serve(reply()) + "/base")
    endpoint.send(HttpRequest("/v1/x?y=1", {"a": "é"}), arena.call())
    assert arena.server is not None
    (request,) = arena.server.requests
    assert request.line == "POST /base/v1/x?y=1 HTTP/1.1"
    assert request.body == '{"a":"é"}'.encode()
    assert request.headers["host"] == arena.server.address
    assert request.headers["authorization"] == TOKEN
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == "10"
    assert "transfer-encoding" not in request.headers
    assert "cookie" not in request.headers


def test_cookies_are_not_kept(arena: Arena) -> None:
    endpoint = arena.endpoint(arena.serve(reply(set_cookie="sfc-ss-ingress-auth-v1=x; Path=/")))
    for _ in range(2):
        endpoint.send(POST, arena.call())
    assert arena.server is not None
    assert "cookie" not in arena.server.requests[1].headers


def test_netrc_never_replaces_the_token(arena: Arena) -> None:
    netrc = arena.folder / ".netrc"
    netrc.write_text("machine 127.0.0.1 login mallory password netrc-canary\n")
    netrc.chmod(0o600)
    arena.environment.setenv("HOME", str(arena.folder))
    arena.environment.setenv("NETRC", str(netrc))
    url = arena.serve(reply())
    assert requests.utils.get_netrc_auth(url) is not None, "requests itself would use it"
    arena.endpoint(url).send(POST, arena.call())
    assert arena.server is not None
    assert arena.server.requests[0].headers["authorization"] == TOKEN


def test_responses_can_stand_in_for_the_network() -> None:
    responses = pytest.importorskip("responses")
    with responses.RequestsMock() as mock:
        mock.post("https://host.example/x", json={"ok": 1})
        transport = Transport(parse_base_url("host.example"))
        assert whole(transport) == b'{"ok": 1}'


# -- proxies --------------------------------------------------------------------------------------------------


def test_a_proxy_of_the_environment_is_used_and_sees_no_token(arena: Arena) -> None:
    arena.trust()
    url = arena.serve(reply(), tls=arena.certificate())
    proxy = arena.undo.enter_context(Proxy())
    arena.environment.setenv("HTTPS_PROXY", proxy.url)
    endpoint = arena.endpoint(url)
    for _ in range(3):
        assert endpoint.send(POST, arena.call()) == {"ok": 1}
    assert arena.server is not None
    assert [line.rpartition(" ")[0] for line in proxy.asked] == [f"CONNECT {arena.server.address}"]
    seen = proxy.server.requests[0].headers
    assert seen["proxy-authorization"].startswith("Basic ")
    assert "authorization" not in seen
    assert "proxy-authorization" not in arena.server.requests[0].headers


def test_a_proxy_is_told_the_host_as_http_1_1_asks(arena: Arena) -> None:
    """Python before 3.12 leaves it out, and some proxies demand it: snowflakedb/snowflake-connector-python pull 599."""
    arena.trust()
    url = arena.serve(reply(), tls=arena.certificate())
    proxy = arena.undo.enter_context(Proxy())
    arena.environment.setenv("HTTPS_PROXY", proxy.url)
    arena.endpoint(url).send(POST, arena.call())
    assert arena.server is not None
    assert proxy.server.requests[0].headers["host"] == arena.server.address
    assert arena.server.requests[0].headers["host"] == arena.server.address


def test_a_stale_tunnel_is_replaced(arena: Arena) -> None:
    arena.trust()
    url = arena.serve(reply(), then_reset(), reply(), tls=arena.certificate())
    proxy = arena.undo.enter_context(Proxy())
    arena.environment.setenv("HTTPS_PROXY", proxy.url)
    endpoint = arena.endpoint(url)
    for _ in range(2):
        endpoint.send(POST, arena.call())
    assert arena.pauses.slept == []


@pytest.mark.parametrize("excepted", ["127.0.0.1", "*"])
def test_no_proxy_is_honoured(arena: Arena, excepted: str) -> None:
    arena.trust()
    url = arena.serve(reply(), tls=arena.certificate())
    proxy = arena.undo.enter_context(Proxy())
    arena.environment.setenv("HTTPS_PROXY", proxy.url)
    arena.environment.setenv("NO_PROXY", excepted)
    arena.endpoint(url).send(POST, arena.call())
    assert proxy.asked == []


@pytest.mark.parametrize(
    ("excepted", "through_proxy"),
    [
        # request/request#2194, psf/requests pull 3195: with a star, as Java's `http.nonProxyHosts` has it
        ("localhost, *.privatelink.snowflakecomputing.app", False),
        ("*.snowflakecomputing.app,localhost", False),
        ("*.SNOWFLAKECOMPUTING.app", False),
        (".privatelink.snowflakecomputing.app", False),
        ("privatelink.snowflakecomputing.app:443", True),
        ("*.example.com", True),
        ("*snowflakecomputing.app", True),
        ("*.", True),
        ("", True),
        # curl/curl#10209, psf/requests#5465: blanks between the names, which requests makes one name of
        ("localhost .snowflakecomputing.app", False),
        ("localhost,127.0.0.1 privatelink.snowflakecomputing.app\tdss", False),
        ("localhost abc-myorg.privatelink.snowflakecomputing.app", False),
        ("localhost computing.app", True),
        # hashicorp/consul-template#132, kubernetes/kubernetes#23404: quotes and line ends that are part of the value
        ('"localhost,.snowflakecomputing.app"', False),
        ("'.snowflakecomputing.app'\n", False),
        ('""', True),
        (". ,", True),
    ],
)
def test_no_proxy_may_be_written_as_others_take_it(arena: Arena, excepted: str, through_proxy: bool) -> None:
    arena.environment.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    arena.environment.setenv("NO_PROXY", excepted)
    transport = arena.transport("https://abc-myorg.privatelink.snowflakecomputing.app")
    assert (transport.proxy is not None) is through_proxy


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_what_is_not_encrypted_goes_through_no_proxy(arena: Arena, variable: str) -> None:
    """Only loopback is spoken to without TLS: a proxy elsewhere would get the token and the prompt in clear text."""
    proxy = arena.undo.enter_context(RawServer(reply()))
    arena.environment.setenv(variable, proxy.url)
    url = arena.serve(reply())
    assert arena.endpoint(url).send(POST, arena.call()) == {"ok": 1}
    assert proxy.requests == []


def test_tls_before_1_2_is_refused_whatever_openssl_allows(arena: Arena) -> None:
    context = _ssl_context(_Bundle.of_environment())
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    # Before version 2, urllib3 compares the names itself: see the faults of certificates.
    assert context.check_hostname or requests.urllib3.__version__.startswith("1.")  # type: ignore[attr-defined]


def test_a_failure_does_not_keep_the_request_in_its_context(arena: Arena) -> None:
    url = arena.serve(then_reset(), then_reset())
    with pytest.raises(NetworkError) as failed:
        arena.transport(url).send("POST", "/", {"Authorization": "canary"}, b"{}", seconds=5, idle_seconds=5)
    assert failed.value.__context__ is None
    assert failed.value.__cause__ is None


@pytest.mark.parametrize("proxy", ["http://", "socks5://127.0.0.1:1"])
def test_a_proxy_that_cannot_be_used_is_told_at_once(arena: Arena, proxy: str) -> None:
    arena.environment.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(NetworkError, match="HTTPS_PROXY") as refused:
        arena.endpoint("https://host.example")
    assert not refused.value.transient


# psf/requests#2703 and #2846, minishift/minishift#2283: a password as it is, not as a URL has it
@pytest.mark.parametrize(
    "password", ["canary#1", "ca@nary#1", "canary/1", "canary?1", "ca@nary/1", "#canary", "c#anary@"]
)
def test_a_proxys_password_that_is_not_escaped_is_told_without_it(arena: Arena, password: str) -> None:
    arena.environment.setenv("HTTPS_PROXY", f"http://user:{password}@proxy.invalid:3128")
    with pytest.raises(NetworkError) as refused:
        arena.endpoint("https://host.example").send(POST, arena.call(5.0))
    assert "%23" in refused.value.hint
    assert not refused.value.transient
    said = str(refused.value)
    assert all(part not in said for part in ("canary", "nary", "anary", "proxy.invalid"))


@pytest.mark.parametrize("password", ["canary%231", "ca%40nary", "ca:nary", "ca!nary$&", "c%C3%A4nary"])
def test_a_proxys_password_may_be_escaped(arena: Arena, password: str) -> None:
    arena.trust()
    url = arena.serve(reply(), tls=arena.certificate())
    proxy = arena.undo.enter_context(Proxy())
    arena.environment.setenv("HTTPS_PROXY", f"http://user:{password}@{proxy.server.address}")
    arena.endpoint(url).send(POST, arena.call())
    given = proxy.server.requests[0].headers["proxy-authorization"].partition(" ")[2]
    assert base64.b64decode(given) == f"user:{unquote(password)}".encode("latin-1")


def test_a_proxy_that_does_not_take_the_password_is_told(arena: Arena) -> None:
    arena.trust()
    url = arena.serve(reply(), tls=arena.certificate())
    proxy = arena.undo.enter_context(
        Proxy(b"407 Proxy Authentication Required\r\nproxy-authenticate: Negotiate")
    )
    arena.environment.setenv("HTTPS_PROXY", proxy.url)
    with pytest.raises(NetworkError) as refused:
        arena.endpoint(url).send(POST, arena.call())
    assert "does not accept" in refused.value.message
    assert "Basic" in refused.value.hint
    assert "canary" not in str(refused.value)
    assert len(proxy.asked) == 1


# hashicorp/consul-template#132, kubernetes/kubernetes#23404
@pytest.mark.parametrize("written", ['"{}"', "'{}'", "{}\n", " {}\r\n", '"{}"\n'])
def test_a_proxys_address_may_be_in_quotes_or_end_its_line(arena: Arena, written: str) -> None:
    arena.trust()
    url = arena.serve(reply(), tls=arena.certificate())
    proxy = arena.undo.enter_context(Proxy())
    arena.environment.setenv("HTTPS_PROXY", written.format(proxy.url))
    assert arena.endpoint(url).send(POST, arena.call()) == {"ok": 1}
    assert len(proxy.asked) == 1


def proxy_with_tls(arena: Arena, tls: ssl.SSLContext) -> Proxy:
    proxy = arena.undo.enter_context(Proxy())
    proxy.server._tls = tls
    url = proxy.url.replace("http://", "https://").replace("127.0.0.1", "localhost")
    arena.environment.setenv("HTTPS_PROXY", url)
    return proxy


def test_the_proxys_own_certificate_may_be_of_the_bundles_authority(arena: Arena) -> None:
    """psf/requests#6103: of the certificates that a company issues, the proxy's is the first to be met."""
    arena.trust()
    url = arena.serve(reply(), tls=arena.certificate())
    proxy = proxy_with_tls(arena, arena.certificate())
    assert arena.endpoint(url).send(POST, arena.call()) == {"ok": 1}
    assert len(proxy.asked) == 1


@pytest.mark.parametrize(
    "fault",
    [
        "of another authority",
        pytest.param(
            "for another name",
            marks=pytest.mark.skipif(not is_urllib3_2(), reason="urllib3 before 2 leaves the socket open"),
        ),
    ],
)
def test_a_proxys_certificate_that_is_not_accepted_is_told_as_that(arena: Arena, fault: str) -> None:
    arena.trust()
    tls = arena.certificate("other.example")
    if fault == "of another authority":
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("localhost").configure_cert(tls)
    proxy = proxy_with_tls(arena, tls)
    of_whom = "the proxy" if is_urllib3_2() else "host.example"  # urllib3 before 2 does not say
    with pytest.raises(TlsError, match=f"certificate of {of_whom}") as refused:
        arena.endpoint("https://host.example").send(POST, arena.call())
    assert not refused.value.transient
    assert "proxy-canary" not in str(refused.value)
    assert proxy.asked == []


def test_a_proxy_that_speaks_no_tls_itself_is_told_as_that(arena: Arena) -> None:
    """encode/httpx#897: HTTPS_PROXY names the proxy by https, which speaks plain HTTP as most do."""
    proxy = arena.undo.enter_context(socket.create_server(("127.0.0.1", 0)))
    arena.undo.callback(proxy.shutdown, socket.SHUT_RDWR)  # ends the thread's wait
    threading.Thread(target=_refuse_each, args=(proxy,), daemon=True).start()
    arena.environment.setenv("HTTPS_PROXY", f"https://user:proxy-canary@127.0.0.1:{proxy.getsockname()[1]}")
    with pytest.raises(NetworkError, match="proxy") as refused:
        arena.endpoint("https://host.example").send(POST, arena.call())
    assert not refused.value.transient
    assert "HTTPS_PROXY" in refused.value.hint
    assert "http://" in refused.value.hint
    assert "proxy-canary" not in str(refused.value)


def _refuse_each(listener: socket.socket) -> None:
    """What a proxy answers to the first bytes of TLS, which to it are no request."""
    with contextlib.suppress(OSError):  # until the listener is closed
        while True:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")


class PySocks(types.ModuleType):
    """The package that a SOCKS proxy needs, as far as urllib3 uses it. There is no proxy on its way."""

    PROXY_TYPE_SOCKS4, PROXY_TYPE_SOCKS5 = 1, 2

    class ProxyError(OSError):
        socket_err: OSError | None = None

    class socksocket(socket.socket):
        pass

    @classmethod
    def create_connection(cls, host: tuple[str, int], **options: Any) -> socket.socket:
        sock = cls.socksocket()
        try:
            sock.connect(host)
        except OSError:
            sock.close()
            raise
        return sock


@pytest.fixture
def socks_proxy(arena: Arena) -> Arena:
    """The arena, whose requests go through a SOCKS proxy."""
    arena.environment.setitem(sys.modules, "socks", PySocks("socks"))
    arena.environment.delitem(sys.modules, "urllib3.contrib.socks", raising=False)
    manager = importlib.import_module("urllib3.contrib.socks").SOCKSProxyManager
    arena.environment.setattr("requests.adapters.SOCKSProxyManager", manager)
    arena.environment.setenv("HTTPS_PROXY", "socks5h://127.0.0.1:9")
    arena.trust()
    return arena


def test_connections_of_a_socks_proxy_are_used_again(socks_proxy: Arena) -> None:
    endpoint = socks_proxy.endpoint(socks_proxy.serve(reply(), tls=socks_proxy.certificate()))
    for _ in range(3):
        assert endpoint.send(POST, socks_proxy.call()) == {"ok": 1}
    assert socks_proxy.server is not None
    assert [request.over for request in socks_proxy.server.requests] == [1] * 3


def test_a_head_without_end_behind_a_socks_proxy_is_cut(socks_proxy: Arena) -> None:
    drip = dripping(b"HTTP/1.1 200 OK\r\nX-Name: ", b"b", lambda: socks_proxy.skip(600))
    endpoint = socks_proxy.endpoint(socks_proxy.serve(drip, tls=socks_proxy.certificate()))
    with pytest.raises(QueryTimeout):
        endpoint.send(POST, socks_proxy.call())


def test_a_socks_proxy_that_does_not_connect_is_told_as_that(socks_proxy: Arena) -> None:
    with refused() as address, pytest.raises(NetworkError, match="proxy cannot be used") as failed:
        socks_proxy.endpoint(f"https://{address}").send(POST, socks_proxy.call())
    assert "HTTPS_PROXY" in failed.value.hint


def test_a_certificate_behind_a_socks_proxy_is_told_as_the_hosts(socks_proxy: Arena) -> None:
    url = socks_proxy.serve(reply(), tls=socks_proxy.expired())
    with pytest.raises(TlsError, match="has expired"):
        socks_proxy.endpoint(url).send(POST, socks_proxy.call())


def test_an_answer_behind_a_socks_proxy_to_a_request_that_was_not_read_is_taken(socks_proxy: Arena) -> None:
    with Hasty(closes, socks_proxy.certificate()) as server:
        endpoint = socks_proxy.endpoint(server.url)
        with pytest.raises(RequestTooLarge, match="too large"):
            endpoint.send(LARGE, socks_proxy.call())


# -- TLS ------------------------------------------------------------------------------------------------------


def test_the_variable_of_openssl_counts_where_those_of_requests_are_not_set(
    arena: Arena, tmp_path: Path
) -> None:
    """What companies with a proxy that inspects TLS set: snowflakedb/snowflake-connector-python#2972."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        arena.environment.delenv(name, raising=False)
    bundle = tmp_path / "company.pem"
    arena.authority.cert_pem.write_to_path(str(bundle))
    arena.environment.setenv("SSL_CERT_FILE", str(bundle))
    url = arena.serve(reply(), tls=arena.certificate())
    assert arena.endpoint(url).send(POST, arena.call()) == {"ok": 1}
    arena.environment.setenv(
        "SSL_CERT_FILE", str(tmp_path / "gone.pem")
    )  # which OpenSSL does not mind either
    assert _ca_bundle() == requests.utils.DEFAULT_CA_BUNDLE_PATH
    arena.environment.setenv("REQUESTS_CA_BUNDLE", "/first")
    assert _ca_bundle() == "/first"


def test_the_bundle_of_the_environment_is_the_one_that_counts(arena: Arena) -> None:
    url = arena.serve(reply(), tls=arena.certificate())
    with pytest.raises(TlsError, match="not trusted here"):
        arena.endpoint(url).send(POST, arena.call())
    arena.trust()
    assert arena.endpoint(url).send(POST, arena.call()) == {"ok": 1}


def test_an_authority_that_is_added_to_the_bundle_is_trusted_from_then_on(arena: Arena) -> None:
    """What the README advises where a proxy inspects TLS. A process of DSS goes on for as long as it is used."""
    arena.trust()
    bundle = Path(os.environ["REQUESTS_CA_BUNDLE"])
    with_it = bundle.read_bytes()
    trustme.CA().cert_pem.write_to_path(str(bundle))
    endpoint = arena.endpoint(arena.serve(reply(), tls=arena.certificate()))
    with pytest.raises(TlsError, match="not trusted here"):
        endpoint.send(POST, arena.call())
    bundle.write_bytes(b"half of a bundle")
    with pytest.raises(TlsError, match="not trusted here"):
        endpoint.send(POST, arena.call())
    bundle.write_bytes(with_it * 2)
    assert endpoint.send(POST, arena.call()) == {"ok": 1}


def test_a_failed_handshake_is_told_with_the_reason_of_openssl(arena: Arena) -> None:
    """urllib3/urllib3#2653: each reason, such as an old proxy's, has a remedy of its own that is looked up by it."""
    arena.trust()
    plain = arena.serve(reply(), on_connect=lambda sock: sock.sendall(reply(400)) or sock.recv(1 << 20))
    with pytest.raises(TlsError, match=r"could not be set up \([A-Z0-9_]+\)\.") as refused:
        arena.endpoint(plain.replace("http://", "https://")).send(POST, arena.call())
    assert not refused.value.transient


@pytest.mark.parametrize("reason", ["UNSAFE_LEGACY_RENEGOTIATION_DISABLED", None, "a <b>secret</b>", 7])
def test_only_a_name_of_openssl_is_told(arena: Arena, reason: Any) -> None:
    error = ssl.SSLError(1, "canary")
    error.reason = reason
    said = arena.transport("https://host.example").failure_of(error).message
    assert said.endswith(f"could not be set up{f' ({reason})' if str(reason).isupper() else ''}.")


@pytest.mark.skipif(not ssl.HAS_TLSv1_3, reason="before TLS 1.3 it is a failure of the handshake")
def test_a_server_that_requires_a_certificate_of_its_clients_is_told_as_that(arena: Arena) -> None:
    """encode/httpx#3441: the handshake succeeds for the client, and the server ends the connection behind it."""
    arena.trust()
    tls = arena.certificate()
    tls.verify_mode = ssl.CERT_REQUIRED
    arena.authority.configure_trust(tls)
    endpoint = arena.endpoint(arena.serve(reply(), tls=tls))
    with pytest.raises(TlsError, match="requires a certificate of its clients") as refused:
        endpoint.send(POST, arena.call())
    assert not refused.value.transient


def test_a_locator_without_its_cloud_is_told_by_its_certificate(arena: Arena) -> None:
    """Snowflake answers for every name below its domain: estuary/connectors#210."""
    error = ssl.SSLCertVerificationError(1, "canary")
    error.verify_code = 62
    url = parse_base_url("https://xy12345.us-central1.snowflakecomputing.com")
    account, endpoint = Transport(url, field=SNOWFLAKE_ACCOUNT_URL), Transport(url)
    assert "xy12345.us-central1.gcp" in account.failure_of(error).hint
    assert "gcp" not in endpoint.failure_of(error).hint


def test_a_certificate_that_only_strict_checks_refuse_is_told_as_that(arena: Arena) -> None:
    """urllib3/urllib3#3665: from Python 3.13, authorities of TLS inspection are refused that were trusted before."""
    url = arena.serve(reply(), tls=_certificate_of_a_lax_authority(arena.folder))
    arena.environment.setenv("REQUESTS_CA_BUNDLE", str(arena.folder / "lax.pem"))
    endpoint = arena.endpoint(url)
    context = _ssl_context(_Bundle.of_environment())  # the one that the endpoint uses
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # as from Python 3.13
    with pytest.raises(TlsError, match=r"Python 3\.13") as refused:
        endpoint.send(POST, arena.call())
    assert "not trusted here" not in refused.value.message
    assert not refused.value.transient
    assert "administrator" in refused.value.hint
    assert "Python 3.12" in refused.value.hint


def _certificate_of_a_lax_authority(folder: Path) -> ssl.SSLContext:
    """The authority's own certificate, in `lax.pem`, does not mark as critical that it is one."""
    key = rsa.generate_private_key(65537, 2048)
    lax, localhost = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("lax", "localhost")
    )
    now = dt.datetime.now(dt.timezone.utc)
    common = (
        x509.CertificateBuilder()
        .issuer_name(lax)
        .public_key(key.public_key())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
    )
    authority = common.serial_number(1).subject_name(lax)
    authority = authority.add_extension(x509.BasicConstraints(True, None), critical=False)
    local = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = common.serial_number(2).subject_name(localhost).add_extension(local, critical=False)
    pem = serialization.Encoding.PEM
    (folder / "lax.pem").write_bytes(authority.sign(key, hashes.SHA256()).public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(private + server.sign(key, hashes.SHA256()).public_bytes(pem))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(str(folder / "server.pem"))
    return context


def test_an_authority_between_root_and_host_may_be_all_that_is_trusted(arena: Arena) -> None:
    """Whoever trusts it needs no root, as for curl: psf/requests#6978. Python does so from 3.13 on."""
    between = arena.authority.create_child_ca()
    bundle = arena.folder / "between.pem"
    between.cert_pem.write_to_path(str(bundle))
    arena.environment.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    between.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    assert arena.endpoint(arena.serve(reply(), tls=context)).send(POST, arena.call()) == {"ok": 1}


def test_a_folder_of_authorities_is_a_bundle_too(arena: Arena) -> None:
    url = arena.serve(reply(), tls=arena.certificate())
    arena.environment.setenv("REQUESTS_CA_BUNDLE", str(arena.folder))
    with pytest.raises(TlsError):
        arena.endpoint(url).send(POST, arena.call())


@pytest.mark.parametrize("content", [None, b"no certificate"], ids=["missing", "unreadable"])
def test_a_bundle_that_cannot_be_read_is_told_at_once(arena: Arena, content: bytes | None) -> None:
    bundle = arena.folder / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    arena.environment.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with pytest.raises(NetworkError, match="cannot be read") as refused:
        arena.endpoint("https://host.example")
    assert not refused.value.transient


def test_tls_connections_are_used_again(arena: Arena) -> None:
    arena.trust()
    endpoint = arena.endpoint(arena.serve(reply(), tls=arena.certificate()))
    for _ in range(5):
        endpoint.send(POST, arena.call())
    assert arena.server is not None
    assert arena.server.connections == 1


# -- threads, forks and leaks ---------------------------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.exhaustive
def test_128_threads_never_exceed_the_limit_nor_open_more_connections(arena: Arena) -> None:
    lock, in_flight, most, limit = threading.Lock(), 0, 0, 32
    all_slots = threading.Barrier(limit)

    def all_at_once(connection: Any) -> None:
        all_slots.wait(FAR_TOO_LONG)
        connection.sendall(reply())

    def counted(connection: Any) -> None:
        nonlocal in_flight, most
        with lock:
            in_flight += 1
            most = max(most, in_flight)
        time.sleep(0.002)
        with lock:
            in_flight -= 1
        connection.sendall(reply())

    arena.limiter.resize(limit)
    endpoint = arena.endpoint(arena.serve(*[all_at_once] * limit, counted), pool_size=limit)
    failures: list[Exception] = []

    def ask() -> None:
        try:
            for _ in range(8):
                assert endpoint.send(POST, arena.call()) == {"ok": 1}
        except Exception as failure:  # noqa: BLE001
            failures.append(failure)

    def all_ask() -> None:
        threads = [threading.Thread(target=ask) for _ in range(128)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    all_ask()
    assert arena.server is not None
    opened = arena.server.connections
    all_ask()
    assert failures == []
    assert most <= limit
    assert opened == limit
    assert arena.server.connections == opened, "in steady state no connection is made"
    assert len(arena.server.requests) == 2 * 128 * 8


@pytest.mark.exhaustive
def test_nothing_leaks_over_thousands_of_calls_that_succeed_and_fail(arena: Arena) -> None:
    answers = [
        reply(),
        reply(400, b'{"error": "no"}'),
        then_reset(),
        then_close(head(content_length="100") + b"half"),
        reply(body=b"<html>", content_type="text/html"),
        then_close(reply(connection="close")),
        reply(503, b"down"),
        reply(body=b"not JSON"),
    ]
    endpoint = arena.endpoint(arena.serve(*answers * 600))

    def ask(times: int) -> None:
        for _ in range(times):
            with contextlib.suppress(Exception):
                endpoint.send(POST, arena.call())

    def settled() -> tuple[int, int, int]:
        gc.collect()
        server = arena.server
        assert server is not None
        wait_for(lambda: server.open_connections <= 4)
        return threading.active_count(), descriptors(), len(gc.get_objects())

    before = dict(WATCHDOG._watched)
    ask(100)
    threads, files, objects = settled()
    ask(2000)
    threads_after, files_after, objects_after = settled()
    assert threads_after <= threads + 4
    assert files_after <= files + 8
    assert objects_after - objects < 30_000, "some 10 of the server's for each request it remembers"
    assert WATCHDOG._watched.keys() <= before.keys()


def _ask_in_child(endpoint: Endpoint, arena: Arena, results: Any) -> None:
    try:
        answers = [endpoint.send(POST, arena.call()) for _ in range(3)]
        try:
            endpoint.send(HttpRequest("/drip", {}), arena.call(0.3))
            results.put((answers, "no timeout"))
        except QueryTimeout:
            results.put((answers, "timeout"))
    except Exception as error:  # noqa: BLE001
        results.put((repr(error), "failed"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_connections_and_a_watchdog_of_its_own(arena: Arena) -> None:
    def step(connection: Any) -> Any:
        assert arena.server is not None
        if "/drip" in arena.server.requests[-1].line:
            return dripping(head(**CHUNKED), b"1\r\n \r\n")(connection)
        return connection.sendall(reply())

    endpoint = arena.endpoint(arena.serve(step))
    endpoint.send(POST, arena.call())
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    child = fork.Process(target=_ask_in_child, args=(endpoint, arena, results))
    child.start()
    answers, end = results.get(timeout=60)
    child.join(FAR_TOO_LONG)
    assert (answers, end) == ([{"ok": 1}] * 3, "timeout")
    endpoint.send(POST, arena.call())
    assert arena.server is not None
    used = [request.over for request in arena.server.requests]
    assert used[0] == used[-1] == 1, "the parent's connection is still good"
    assert 1 not in used[1:-1], "and the child did not touch it"
