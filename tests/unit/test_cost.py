"""The costs of all calls add up to the price of the time in which the endpoint was busy (to 1e-9)."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spcs_llm.batching import Batcher, BatchSpec
from spcs_llm.cost import BusyMeter
from spcs_llm.errors import BadRequest, ServiceDown, SpcsError
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.limits import Limiter
from spcs_llm.http.request import HttpRequest
from spcs_llm.http.retry import RetryPolicy
from spcs_llm.http.token_source import NoToken
from spcs_llm.query_context import QueryContext
from spcs_llm.settings import Rate
from spcs_llm.urls import parse_base_url

RATE = Rate(credits_per_hour=0.57, credit_price=3.0, nodes=2)


class World:
    """A clock that is moved by hand and knows how much of its time had something in flight."""

    def __init__(self) -> None:
        self.now = self.busy = 0.0
        self.meter = BusyMeter(lambda: self.now)
        self._running: list[tuple[QueryContext, float, int]] = []

    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self._running:
            self.busy += seconds

    def start(self, call: QueryContext, queries: int = 1) -> None:
        self._running.append((call, self.meter.start(queries), queries))

    def end(self, which: int = 0) -> float:
        call, mark, queries = self._running.pop(which % len(self._running))
        share = self.meter.end(mark, queries)
        call.busy_seconds += share
        return share

    @property
    def running(self) -> int:
        return len(self._running)


def calls(count: int) -> list[QueryContext]:
    return [QueryContext(1.0) for _ in range(count)]


# -- the meter


def test_a_call_alone_is_charged_all_its_time() -> None:
    world, (call,) = World(), calls(1)
    world.start(call)
    world.wait(3)
    assert world.end() == 3


def test_calls_at_the_same_time_share_it() -> None:
    world, (a, b) = World(), calls(2)
    world.start(a)
    world.wait(2)
    world.start(b)
    world.wait(4)
    world.end(0)
    world.wait(1)
    world.end(0)
    assert (a.busy_seconds, b.busy_seconds) == (2 + 4 / 2, 4 / 2 + 1)


def test_a_request_of_many_queries_bears_the_share_of_them_all() -> None:
    world, (batch, single) = World(), calls(2)
    world.start(batch, queries=3)
    world.start(single)
    world.wait(4)
    world.end(0)
    world.end(0)
    assert (batch.busy_seconds, single.busy_seconds) == (3, 1)


def test_idle_time_and_waits_between_attempts_cost_nothing() -> None:
    world, (call,) = World(), calls(1)
    world.wait(100)
    for _ in range(3):
        world.start(call)
        world.wait(2)
        world.end()
        world.wait(50)
    assert call.busy_seconds == 6


def test_small_shares_stay_exact_after_years_of_service() -> None:
    world, (call,) = World(), calls(1)
    world.start(QueryContext(1.0))
    world.wait(1e8)
    world.end()
    world.start(call)
    world.wait(0.5)
    assert world.end() == 0.5


def test_a_rate_is_credits_an_hour_of_all_nodes_in_dollars() -> None:
    assert Rate(credits_per_hour=2.0, credit_price=3.0, nodes=2).cost(3600) == 12.0
    assert Rate(credits_per_hour=2.0, credit_price=3.0).cost(1800) == 3.0


SECONDS = st.floats(1e-6, 1e4)
STEPS = st.one_of(
    st.tuples(st.just("start"), st.integers(0, 9), st.integers(1, 64)),
    st.tuples(st.just("end"), st.integers(0, 99), st.none()),
    st.tuples(st.just("wait"), SECONDS, st.none()),
)


@given(st.lists(STEPS, max_size=200), SECONDS)
@settings(max_examples=300)
def test_costs_add_up_whatever_overlaps(steps: list[tuple[str, Any, Any]], last: float) -> None:
    """Ten calls, each with any number of attempts (retries, halves of a batch) of any weight, in any order."""
    world, ten = World(), calls(10)
    for step, value, queries in steps:
        if step == "start":
            world.start(ten[value], queries)
        elif step == "wait":
            world.wait(value)
        elif world.running:
            assert world.end(value) >= 0
    world.wait(last)
    while world.running:
        world.end()
    total = sum(RATE.cost(call.busy_seconds) for call in ten)
    assert total == pytest.approx(RATE.cost(world.busy), rel=1e-9, abs=1e-15)


@given(st.lists(st.tuples(SECONDS, st.integers(1, 64)), min_size=1, max_size=50))
def test_equal_calls_at_the_same_time_cost_the_same(others: list[tuple[float, int]]) -> None:
    world, (a, b) = World(), calls(2)
    world.start(a)
    world.start(b)
    for seconds, queries in others:
        world.start(QueryContext(1.0), queries)
        world.wait(seconds)
        world.end(2)
    world.end(0)
    world.end(0)
    assert a.busy_seconds == pytest.approx(b.busy_seconds, rel=1e-12)


# -- the whole way: batches, halves, failures and retries of many threads


class Ticks:
    """A clock that moves a random bit at each look, and adds up what the meter must share out."""

    def __init__(self) -> None:
        self.busy = self._now = 0.0
        self._random = random.Random(7)
        self.meter = BusyMeter(self)

    def __call__(self) -> float:
        passed = self._random.choice((1e-6, 1e-3, 1.0, 1e3))
        self._now += passed
        if self.meter._in_flight:
            self.busy += passed
        return self._now


class Exchange:
    reused_connection = False
    headers: Mapping[str, str] = {}

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self._body = body

    def chunks(self) -> Iterator[bytes]:
        yield self._body

    def body(self) -> bytes:
        return self._body


class Transport:
    """Answers with what it was sent; fails one request in five; refuses those with a bad row."""

    url = parse_base_url("https://host.example")

    def __init__(self) -> None:
        self._random = random.Random(8)
        self._lock = threading.Lock()

    def send(self, method: str, path: str, headers: Any, body: bytes, **times: float) -> Exchange:
        rows = json.loads(body)
        with self._lock:
            if self._random.random() < 0.2:
                return Exchange(503, b"")
        return Exchange(400 if "bad" in rows else 200, body)

    def finish(self, exchange: Exchange) -> None:
        pass


def error_from_response(status: int, headers: Mapping[str, str], body: bytes) -> SpcsError:
    return BadRequest("no") if status == 400 else ServiceDown("down")


@pytest.mark.parametrize("limit", [1, 3])
def test_costs_add_up_over_batches_retries_and_refusals(limit: int) -> None:
    ticks, limiter = Ticks(), Limiter(limit)
    endpoint = Endpoint(
        Transport(),  # type: ignore[arg-type]
        NoToken(),
        error_from_response,
        limiter=limiter,
        meter=ticks.meter,
        retry=RetryPolicy(attempts=3, random=lambda: 0.0),
        sleep=lambda seconds: None,
    )

    def send(rows: Sequence[str], call: QueryContext) -> list[str]:
        return endpoint.send(HttpRequest("/predict", list(rows), weight=len(rows)), call)

    batcher, job = Batcher(limiter), BatchSpec("job", send, 16, len)
    outcomes: list[tuple[QueryContext, Any]] = []

    def ask(number: int) -> None:
        for i in range(30):
            row, call = "bad" if i % 10 == number else f"row {number} {i}", QueryContext(30.0)
            if i % 7 == 0:
                outcomes.append((call, batcher.submit_all([row, "more", "and more"], call, job)))
                continue
            try:
                outcomes.append((call, batcher.submit(row, call, job)))
            except SpcsError as error:
                outcomes.append((call, error))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    total = sum(call.busy_seconds for call, _ in outcomes)
    assert len(outcomes) == 12 * 30
    assert ticks.busy > 0
    assert total == pytest.approx(ticks.busy, rel=1e-9)
    assert RATE.cost(total) == pytest.approx(RATE.cost(ticks.busy), rel=1e-9)
    assert {type(outcome) for _, outcome in outcomes} >= {str, list, BadRequest}
