"""A connection carries another request only after an answer that left nothing behind: nobody gets another's answer.

Each server here breaks the framing of its first answer, keeps the connection open, and sends a second answer that the
next query on that connection would take for its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from spcs_llm.errors import SpcsError
from spcs_llm.query_context import QueryContext
from tests.integration.arena import Arena
from tests.integration.openai_client import asking, client_for
from tests.integration.raw_server import CHUNKED, CLOSE, RawServer, chunk, head, reply
from tests.waiting import FAR_TOO_LONG

STRAY = reply(body=b'{"stray": "meant for somebody else"}')
GOOD = reply(body=b'{"ok": 1}')
EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "mine"}, "finish_reason": "stop"}]}\n\n'
STRAY_EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "STRAY"}, "finish_reason": "stop"}]}\n\n'
STREAM: dict[str, Any] = {"transfer_encoding": "chunked", "content_type": "text/event-stream"}

FRAMINGS = {
    "bytes after a length": reply() + STRAY,
    "half an answer after a length": reply() + STRAY[:40],
    "bytes after the last chunk": head(**CHUNKED) + chunk(b'{"ok": 1}') + b"0\r\n\r\n" + STRAY,
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\ncontent-length: 11\r\n\r\n" + b'{"ok": 1}',
    "length and chunks": head(content_length="4", **CHUNKED) + chunk(b'{"ok": 1}') + b"0\r\n\r\n",
    "a length with a sign": head(content_length="+9") + b'{"ok": 1}',
    "a length with an underscore": head(content_length="0_9") + b'{"ok": 1}',
    "no content with a length": head(204, content_length="36") + STRAY,
    "no content with chunks": head(204, **CHUNKED) + b"0\r\n\r\n",
    "no content and bytes": head(204) + STRAY,
    "not modified with a length": head(304, content_length="36"),
    "a chunk size that is none": head(**CHUNKED) + chunk(b'{"ok": 1}') + b"zz\r\n" + STRAY,
    "a negative chunk size": head(**CHUNKED) + chunk(b'{"ok": 1}') + b"-1\r\n" + STRAY,
    "a chunk size with an underscore": head(**CHUNKED) + b"0_9\r\n" + b'{"ok": 1}' + b"\r\n0\r\n\r\n",
    "a chunk longer than its size": head(**CHUNKED) + b'9\r\n{"ok": 1}XX0\r\n\r\n' + STRAY,
    "a trailer without its end": head(**CHUNKED) + chunk(b'{"ok": 1}') + b"0\r\nx: 1\r\n" + STRAY,
    "a header line that is none": b"HTTP/1.1 200 OK\r\nbroken\r\ncontent-length: 9\r\n\r\n"
    + b'{"ok": 1}'
    + STRAY,
    "a status that is none": b"HTTP/1.1 2x0 OK\r\ncontent-length: 9\r\n\r\n" + b'{"ok": 1}' + STRAY,
}


@pytest.fixture
def arena(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Arena]:
    arena = Arena(monkeypatch, tmp_path)
    yield arena
    arena.undo.close()


def served(arena: Arena, script: Sequence[Any], tls: bool) -> str:
    if not tls:
        return arena.serve(*script)
    arena.trust()
    return arena.serve(*script, tls=arena.certificate())


def ask(transport: Any, idle_seconds: float = FAR_TOO_LONG) -> bytes:
    """The body of an answer; empty where there is none."""
    exchange = None
    try:
        exchange = transport.send("POST", "/x", {}, b"{}", seconds=FAR_TOO_LONG, idle_seconds=idle_seconds)
        return bytes(exchange.body())
    except SpcsError:
        return b""
    finally:
        if exchange is not None:
            transport.finish(exchange)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("answer", FRAMINGS.values(), ids=FRAMINGS)
def test_a_connection_with_a_broken_framing_serves_nobody_else(
    arena: Arena, answer: bytes, tls: bool
) -> None:
    transport = arena.transport(served(arena, (answer, GOOD), tls))
    ask(transport, idle_seconds=0.3)  # some are silent where they should go on
    assert ask(transport) == b'{"ok": 1}'
    assert arena.server is not None
    assert [request.over for request in arena.server.requests] == [1, 2]


def test_a_connection_whose_request_was_answered_half_way_serves_nobody_else(arena: Arena) -> None:
    """The server answers the head of a large request and never reads the rest of it."""
    over = threading.Event()

    def refuse_unread(connection: Any) -> None:
        connection.recv(4096)
        connection.sendall(reply(413, b"too large"))
        over.wait(FAR_TOO_LONG)

    with RawServer(GOOD, on_connect=refuse_unread) as server:
        transport = arena.transport(server.url)
        exchange = None
        try:
            exchange = transport.send(
                "POST", "/x", {}, b"x" * (64 << 20), seconds=FAR_TOO_LONG, idle_seconds=0.3
            )
        except SpcsError:
            pass
        finally:
            if exchange is not None:
                transport.finish(exchange)
            over.set()
        ask(transport)
        assert server.connections == 2


BREAKS = {
    "a chunk size that is none": b"zz\r\n",
    "a chunk longer than its size": b"3\r\nabcdef\r\n",
    "a negative chunk size": b"-1\r\n",
    "bytes after the end": b"0\r\n\r\nHTTP/1.1 200 OK\r\n",
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("broken", BREAKS.values(), ids=BREAKS)
def test_what_follows_a_finished_answer_reaches_no_other_query(broken: bytes, streamed: bool) -> None:
    first = head(**STREAM) + chunk(EVENT) + broken
    second = head(**STREAM) + chunk(EVENT) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    stray = head(**STREAM) + chunk(STRAY_EVENT) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"

    def answer_and_have_another_ready(connection: Any) -> str:
        connection.sendall(first)
        connection.recv(65536)
        connection.sendall(stray)
        return CLOSE

    with RawServer(answer_and_have_another_ready, second) as server:
        client = client_for(server.url, model="m")
        answers = []
        for _ in range(3):
            if streamed:
                pieces = client.protocol.stream(asking("Mine?"), QueryContext(20))
                answers.append("".join(piece.text for piece in pieces if hasattr(piece, "text")))
            else:
                answers.append(client.protocol.chat(asking("Mine?"), QueryContext(20)).text)
    assert answers == ["mine"] * 3


def test_a_connection_that_is_not_for_this_host_serves_nobody_else(arena: Arena) -> None:
    """RFC 9110, section 15.5.20: the same request over another connection may be answered."""
    transport = arena.transport(arena.serve(head(421, content_length="0"), GOOD))
    assert [ask(transport), ask(transport)] == [b"", b'{"ok": 1}']
    assert arena.server is not None
    assert [request.over for request in arena.server.requests] == [1, 2]


def test_informational_responses_may_keep_a_connection_alive(arena: Arena) -> None:
    """electric-sql/electric#4106: one comes every few seconds, for as long as a query may take."""
    url = arena.serve(b"HTTP/1.1 102 Processing\r\n\r\n" * 300 + GOOD)
    assert ask(arena.transport(url)) == b'{"ok": 1}'


def test_informational_responses_are_passed_over(arena: Arena) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    transport = arena.transport(arena.serve(early + GOOD))
    assert [ask(transport), ask(transport)] == [b'{"ok": 1}'] * 2
    assert arena.server is not None
    assert arena.server.connections == 1
