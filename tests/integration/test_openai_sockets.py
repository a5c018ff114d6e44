"""The OpenAI protocol over bytes on a socket: framings and endings that no HTTP library would send."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from spcs_llm.domain import ChatEnd
from spcs_llm.http import exchange
from spcs_llm.query_context import QueryContext
from tests.integration.openai_client import Client, asking, client_for
from tests.waiting import FAR_TOO_LONG

OPENING = 'data: {"choices": [{"index": 0, "delta": {"content": "héllo "}}]}\n\n'.encode()
CLOSING = b'data: {"choices": [{"index": 0, "delta": {"content": "you"}, "finish_reason": "stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
EVENTS = OPENING + CLOSING + DONE
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

Script = Callable[[socket.socket], None]


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


class RawServer:
    """Answers each request on each connection with `script`, which may keep or close the connection."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as servers do
            self.connections += 1
            self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while self._read_request(connection):
                    self._script(connection)
            except OSError:
                pass

    def _read_request(self, connection: socket.socket) -> bool:
        received = b""
        while b"\r\n\r\n" not in received:
            if not (more := connection.recv(65536)):
                return False
            received += more
        head, _, body = received.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l")
        )
        while len(body) < length:
            body += connection.recv(65536)
        return True

    def wait_for_the_end_of_its_connections(self) -> None:
        for thread in self._threads[1:]:
            thread.join(FAR_TOO_LONG)
            assert not thread.is_alive()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)


@pytest.fixture
def serve() -> Iterator[Callable[[Script], tuple[Client, RawServer]]]:
    servers: list[RawServer] = []

    def start(script: Script) -> tuple[Client, RawServer]:
        servers.append(RawServer(script))
        return client_for(servers[-1].url, model="m"), servers[-1]

    yield start
    for server in servers:
        server.stop()


def byte_by_byte(connection: socket.socket) -> None:
    connection.sendall(CHUNKED)
    for at in range(len(EVENTS)):
        connection.sendall(chunk(EVENTS[at : at + 1]))
    connection.sendall(LAST_CHUNK)


def with_a_length(connection: socket.socket) -> None:
    connection.sendall(HEAD + f"Content-Length: {len(EVENTS)}\r\n\r\n".encode() + EVENTS)


def until_the_connection_closes(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Connection: close\r\n\r\n" + EVENTS)
    connection.shutdown(socket.SHUT_WR)


def as_http_1_0(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + EVENTS)
    connection.shutdown(socket.SHUT_WR)


def called_json(connection: socket.socket) -> None:
    connection.sendall(
        CHUNKED.replace(b"text/event-stream", b"application/json") + chunk(EVENTS) + LAST_CHUNK
    )


def without_a_type(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(EVENTS) + LAST_CHUNK)


def with_carriage_returns(connection: socket.socket) -> None:
    connection.sendall(CHUNKED + chunk(EVENTS.replace(b"\n", b"\r\n")) + LAST_CHUNK)


def ending_a_moment_later(connection: socket.socket) -> None:
    connection.sendall(CHUNKED + chunk(EVENTS))
    time.sleep(0.02)
    connection.sendall(LAST_CHUNK)


def cut_after_its_finish_reason(connection: socket.socket) -> None:
    connection.sendall(CHUNKED + chunk(OPENING + CLOSING))
    connection.shutdown(socket.SHUT_WR)


def test_a_client_that_nobody_uses_any_more_closes_its_connections_at_once(
    serve: Callable[[Script], tuple[Client, RawServer]],
) -> None:
    """And not when the garbage collector happens to look: a circle of references would wait for that."""
    client, server = serve(with_a_length)
    assert client.protocol.chat(asking("hi"), QueryContext(FAR_TOO_LONG)).text == "héllo you"
    assert list(client.protocol.stream(asking("hi"), QueryContext(FAR_TOO_LONG)))
    gc.disable()
    try:
        del client
        server.wait_for_the_end_of_its_connections()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "script",
    [
        byte_by_byte,
        with_a_length,
        until_the_connection_closes,
        as_http_1_0,
        called_json,
        without_a_type,
        with_carriage_returns,
        ending_a_moment_later,
        cut_after_its_finish_reason,
    ],
)
def test_an_answer_is_read_whatever_its_framing(
    serve: Callable[..., Any], script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exchange._DRAIN_SECONDS > 0.02, "the end that comes a moment later has a moment"
    monkeypatch.setattr(exchange, "_DRAIN_SECONDS", FAR_TOO_LONG)  # which this machine may take all the same
    client, server = serve(script)
    for _ in range(2):
        assert client.protocol.chat(asking("hi"), QueryContext(FAR_TOO_LONG)).text == "héllo you"
        *_, end = client.protocol.stream(asking("hi"), QueryContext(FAR_TOO_LONG))
        assert type(end) is ChatEnd
    closes = (until_the_connection_closes, as_http_1_0, cut_after_its_finish_reason)
    keeps_connections = script not in closes
    assert server.connections == (1 if keeps_connections else 4)


def test_an_answer_does_not_wait_for_a_response_that_never_ends(serve: Callable[..., Any]) -> None:
    ended = threading.Event()

    def never_ending(connection: socket.socket) -> None:
        connection.sendall(CHUNKED + chunk(EVENTS))
        while connection.recv(4096):
            pass
        ended.set()

    client, _ = serve(never_ending)
    began = time.monotonic()
    assert client.protocol.chat(asking("hi"), QueryContext(60)).text == "héllo you"
    assert time.monotonic() - began < FAR_TOO_LONG
    assert ended.wait(20), "the connection is closed, not kept"


def test_an_answer_does_not_wait_for_a_flood_to_end(serve: Callable[..., Any]) -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(CHUNKED + chunk(EVENTS))
        while True:
            connection.sendall(chunk(b": rubbish\n\n" * 1000))

    client, _ = serve(flood)
    assert client.protocol.chat(asking("hi"), QueryContext(60)).text == "héllo you"


def test_abandoning_a_stream_closes_its_socket_at_once(serve: Callable[..., Any]) -> None:
    ended = threading.Event()

    def half(connection: socket.socket) -> None:
        connection.sendall(CHUNKED + chunk(OPENING))
        while connection.recv(4096):
            pass
        ended.set()

    client, _ = serve(half)
    pieces = client.protocol.stream(asking("hi"), QueryContext(60))
    assert next(pieces).text == "héllo "
    assert not ended.is_set()
    pieces.close()
    assert ended.wait(20)


def test_a_stream_that_nobody_holds_any_more_closes_its_socket(serve: Callable[..., Any]) -> None:
    ended = threading.Event()

    def half(connection: socket.socket) -> None:
        connection.sendall(CHUNKED + chunk(OPENING))
        while connection.recv(4096):
            pass
        ended.set()

    client, _ = serve(half)
    pieces = client.protocol.stream(asking("hi"), QueryContext(60))
    next(pieces)
    del pieces
    assert ended.wait(20)
    assert client.limiter.in_flight == 0


def test_the_first_delta_is_there_before_the_second_is_sent(serve: Callable[..., Any]) -> None:
    first_read = threading.Event()

    def in_two(connection: socket.socket) -> None:
        connection.sendall(CHUNKED + chunk(OPENING))
        assert first_read.wait(20)
        connection.sendall(chunk(CLOSING + DONE) + LAST_CHUNK)

    client, _ = serve(in_two)
    pieces = client.protocol.stream(asking("hi"), QueryContext(60))
    assert next(pieces).text == "héllo "
    first_read.set()
    assert next(pieces).text == "you"
