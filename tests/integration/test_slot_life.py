"""A slot has one life: taken once there is a token, given back once, by whoever ends the attempt."""

from __future__ import annotations

import gc
import multiprocessing
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from spcs_llm.cost import BusyMeter
from spcs_llm.errors import SpcsError
from spcs_llm.http.attempt import Stream
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.limits import Limiter
from spcs_llm.http.retry import RetryPolicy
from spcs_llm.http.transport import Transport
from spcs_llm.query_context import QueryContext
from spcs_llm.snowflake.ingress import error_from_response
from spcs_llm.urls import parse_base_url
from tests.integration.arena import POST, Arena, OneToken
from tests.integration.raw_server import RawServer, chunk, head, reply
from tests.waiting import wait_for

STREAM = head(transfer_encoding="chunked", content_type="text/event-stream") + chunk(b"data: 1\n\n")


@pytest.fixture
def arena(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Arena]:
    arena = Arena(monkeypatch, tmp_path)
    yield arena
    arena.undo.close()


def endpoint(
    server: RawServer, limiter: Limiter, tokens: Any = None, meter: BusyMeter | None = None
) -> Endpoint:
    return Endpoint(
        Transport(parse_base_url(server.url)),
        tokens or OneToken(),
        error_from_response,
        limiter=limiter,
        meter=meter,
        retry=RetryPolicy(attempts=1),
        idle_seconds=20,
    )


def first_chunk(stream: Stream) -> Stream:
    return stream


class SlowSignIn(OneToken):
    """A user whose sign-in takes until it is let go."""

    def __init__(self) -> None:
        self.signing_in = threading.Event()
        self.go_on = threading.Event()

    def headers(self, context: QueryContext) -> Mapping[str, str]:
        self.signing_in.set()
        assert self.go_on.wait(20)
        return super().headers(context)

    def at_hand(self) -> Mapping[str, str] | None:
        return super().at_hand() if self.go_on.is_set() else None


class ExpiresWhileWaiting(OneToken):
    """Its first token is good when the query asks for it, and no more when the query gets its slot."""

    def __init__(self, expirations: int) -> None:
        self.sign_ins = 0
        self._expirations = expirations

    def headers(self, context: QueryContext) -> Mapping[str, str]:
        self.sign_ins += 1
        return super().headers(context)

    def at_hand(self) -> Mapping[str, str] | None:
        self._expirations -= 1
        return None if self._expirations >= 0 else super().at_hand()


def test_one_users_slow_sign_in_keeps_no_other_user_from_the_endpoint(arena: Arena) -> None:
    arena.serve(reply())
    assert arena.server is not None
    limiter, slow = Limiter(1), SlowSignIn()
    waiting = threading.Thread(
        target=endpoint(arena.server, limiter, slow).send, args=(POST, QueryContext(20))
    )
    waiting.start()
    assert slow.signing_in.wait(20)
    assert endpoint(arena.server, limiter).send(POST, QueryContext(20, "another user")) == {"ok": 1}
    slow.go_on.set()
    waiting.join(20)
    assert limiter.in_flight == 0


@pytest.mark.parametrize("expirations", [1, 2, 1000], ids=["once", "twice", "always"])
def test_a_token_that_expires_while_its_query_waits_is_replaced_without_a_slot(
    arena: Arena, expirations: int
) -> None:
    arena.serve(reply())
    assert arena.server is not None
    limiter, tokens = Limiter(1), ExpiresWhileWaiting(expirations)
    assert endpoint(arena.server, limiter, tokens).send(POST, QueryContext(20)) == {"ok": 1}
    assert tokens.sign_ins == min(expirations, 2) + 1
    assert limiter.in_flight == 0


def test_a_reader_that_hangs_gives_its_slot_back_when_its_time_is_up(arena: Arena) -> None:
    def forever(connection: Any) -> None:
        connection.sendall(STREAM)
        connection.recv(1)

    arena.serve(forever, reply())
    assert arena.server is not None
    limiter, meter = Limiter(1), BusyMeter()
    hung = endpoint(arena.server, limiter, meter=meter).open(POST, arena.call(60), first_chunk)
    arena.skip(60 - 0.3)
    other = endpoint(arena.server, limiter).send(POST, QueryContext(20, "another user"))
    assert other == {"ok": 1}
    assert limiter.in_flight == 0
    with pytest.raises(SpcsError):
        list(hung.chunks())
    hung.close()
    assert limiter.in_flight == 0, "given back once"


def test_the_shares_of_hung_readers_are_charged_to_them(arena: Arena) -> None:
    def forever(connection: Any) -> None:
        connection.sendall(STREAM)
        connection.recv(1)

    arena.serve(forever)
    assert arena.server is not None
    limiter, meter, context = Limiter(1), BusyMeter(), arena.call(60)
    hung = endpoint(arena.server, limiter, meter=meter).open(POST, context, first_chunk)
    arena.skip(60 - 0.2)
    limiter.acquire(QueryContext(20))  # when the time of the hung one is up
    charged = context.busy_seconds
    assert charged > 0.0
    hung.close()
    assert context.busy_seconds == charged


def abandoned_in_a_cycle(endpoint: Endpoint) -> None:
    """A stream that only the garbage collector can end."""
    stream = endpoint.open(POST, QueryContext(60), first_chunk)

    def read() -> Iterator[bytes]:
        try:
            yield from stream.chunks()
        finally:
            stream.close()

    reader = read()
    next(reader)
    cycle: dict[str, Any] = {"reader": reader}
    cycle["self"] = cycle


def wait_for_all(threads: Sequence[threading.Thread]) -> None:
    """Collects now and then: threads that wait for the slots of abandoned streams allocate nothing."""
    until = time.monotonic() + 60
    while any(thread.is_alive() for thread in threads) and time.monotonic() < until:
        threads[0].join(0.02)
        gc.collect()


@pytest.mark.exhaustive
@pytest.mark.parametrize("threshold", [1, 2, 3, 5, 7, 11, 23, 50])
def test_the_collector_may_end_a_stream_anywhere(threshold: int) -> None:
    """It strikes within `acquire`, `start` and the pool as well: in whatever thread, under whatever lock."""
    limiter, meter = Limiter(3), BusyMeter()
    done: list[int] = []

    def ask(client: Endpoint, number: int) -> None:
        choose = random.Random(number)
        for _ in range(40):
            if choose.random() < 0.5:
                abandoned_in_a_cycle(client)
            else:
                with client.open(POST, QueryContext(60, str(number)), first_chunk):
                    pass
        done.append(number)

    with RawServer(STREAM) as server:
        client = endpoint(server, limiter, meter=meter)
        before = gc.get_threshold()
        gc.set_threshold(threshold, 1, 1)
        try:
            threads = [
                threading.Thread(target=ask, args=(client, number), daemon=True) for number in range(4)
            ]
            for thread in threads:
                thread.start()
            wait_for_all(threads)
        finally:
            gc.set_threshold(*before)
        assert sorted(done) == [0, 1, 2, 3]

        def all_are_free() -> bool:
            gc.collect()  # does nothing while another thread, such as the server's, is still collecting
            return limiter.in_flight == 0 and meter._in_flight == 0

        wait_for(all_are_free)


def _in_child(limiter: Limiter, meter: BusyMeter, client: Endpoint, results: Any) -> None:
    try:
        answer = client.send(POST, QueryContext(20))
        results.put((answer, limiter.in_flight, meter._in_flight))
    except Exception as error:  # noqa: BLE001 - told to the parent
        results.put(repr(error))


def test_a_fork_with_queries_in_flight_leaves_the_child_free() -> None:
    """The parent's query holds the only slot, another one waits for it, and a third signs in."""
    fork = multiprocessing.get_context("fork")
    release = threading.Event()

    def slow_then_quick(connection: Any) -> None:
        if len(server.requests) == 1:
            release.wait(20)
        connection.sendall(reply())

    with RawServer(slow_then_quick) as server:
        limiter, meter = Limiter(1), BusyMeter()
        client = endpoint(server, limiter, meter=meter)
        threads = [
            threading.Thread(target=client.send, args=(POST, QueryContext(30)), daemon=True) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        wait_for(lambda: limiter.waiting and server.requests)
        results = fork.SimpleQueue()
        child = fork.Process(target=_in_child, args=(limiter, meter, client, results))
        child.start()
        child.join(60)
        assert not child.is_alive()
        assert results.get() == ({"ok": 1}, 0, 0)
        release.set()
        for thread in threads:
            thread.join(20)
        assert limiter.in_flight == 0
