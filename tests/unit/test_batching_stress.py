"""Many callers, a service that refuses, fails and dawdles at random, and callers who lose patience."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from spcs_llm.batching import Batcher, BatchSpec
from spcs_llm.errors import BadRequest, ModelError, RequestTooLarge, ServiceDown, SpcsError
from spcs_llm.http.limits import Limiter
from spcs_llm.query_context import QueryContext
from tests.waiting import FAR_TOO_LONG

SECONDS = 1.5
CALLERS = 24
PATIENT = FAR_TOO_LONG
OUTCOMES = {"str", "BadRequest", "ModelError", "QueryTimeout", "ServiceDown"}


@dataclass(frozen=True)
class Row:
    """good, bad: refuses any request that it is in; broken: has an error of its own in the answer."""

    id: int
    kind: str
    size: int
    user: str


class Service:
    """Checks what may be in a request, and keeps book of who was in which."""

    def __init__(self, limit: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._limit = limit
        self._now: Counter[int] = Counter()
        self._in_flight = 0
        self.answered: Counter[int] = Counter()
        self.downed: set[int] = set()
        self.attempts: Counter[int] = Counter()
        self.requests = 0
        self.wrong: list[str] = []

    def send(self, rows: Sequence[Row], call: QueryContext) -> list[str | SpcsError]:
        ids = [row.id for row in rows]
        with self._lock:
            self._in_flight += 1
            self.requests += 1
            self._now.update(ids)
            self.attempts.update(ids)
            self._check(rows, call)
            fate = self._random.random()
            delay = self._random.choice((0, 0, 0.0005, 0.002, 0.01))
        call.attempts += 1
        call.busy_seconds += 1.0
        try:
            time.sleep(delay)
            return self._answer(rows, fate)
        finally:
            with self._lock:
                self._in_flight -= 1
                self._now.subtract(ids)

    def _check(self, rows: Sequence[Row], call: QueryContext) -> None:
        if self._in_flight > self._limit:
            self.wrong.append("too many requests in flight")
        if max(self._now.values()) > 1:
            self.wrong.append("a row in two requests at once")
        if len({row.user for row in rows}) > 1:
            self.wrong.append("rows of different kinds in one request")
        if len(rows) > 16 or (len(rows) > 1 and sum(row.size for row in rows) > 1000):
            self.wrong.append("a request too large")
        if any(self.answered[row.id] for row in rows):
            self.wrong.append("a row sent again after its answer")

    def _answer(self, rows: Sequence[Row], fate: float) -> list[str | SpcsError]:
        if fate < 0.03:
            self.downed.update(row.id for row in rows)
            raise ServiceDown("down", status=503)
        if any(row.kind == "bad" for row in rows):
            raise BadRequest("no")
        if len(rows) > 10:
            raise RequestTooLarge("too many rows")
        if len(rows) > 1 and fate < 0.06:
            raise ModelError("garbled")
        if len(rows) > 1 and fate < 0.09:
            return ["a neighbour's"] * (len(rows) + 1)
        with self._lock:
            self.answered.update(row.id for row in rows)
        return [ModelError("NaN") if row.kind == "broken" else f"answer {row.id}" for row in rows]


class Crowd:
    """Callers that go on for a while; `check` looks at each outcome as it comes."""

    def __init__(self, service: Service, batcher: Batcher, seed: int) -> None:
        self.service = service
        self.batcher = batcher
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.busy_seconds = 0.0
        self._seed = seed
        self._lock = threading.Lock()
        self._ids = iter(range(10_000_000))

    def caller(self, number: int) -> None:
        choose = random.Random(self._seed + number)
        end = time.monotonic() + SECONDS
        while (now := time.monotonic()) < end or (self._misses() and now < end + PATIENT):
            rows = [self._row(choose) for _ in range(choose.choice((1, 1, 1, 1, 40)))]
            seconds = choose.choice((PATIENT, PATIENT, 0.02, 0.002))
            call, began = QueryContext(seconds), time.monotonic()
            job = BatchSpec(rows[0].user, self.service.send, 16, _size)
            rows = [Row(row.id, row.kind, row.size, rows[0].user) for row in rows]
            outcomes = self._ask(rows, call, job)
            late = time.monotonic() - began - seconds
            with self._lock:
                self.busy_seconds += call.busy_seconds
                if late > FAR_TOO_LONG / 2:
                    self.wrong.append(f"{late:.1f} s too late")
                if len(outcomes) != len(rows):
                    self.wrong.append(f"{len(outcomes)} outcomes for {len(rows)} rows")
                for row, outcome in zip(rows, outcomes):
                    self._check(row, outcome, seconds)

    def _misses(self) -> set[str]:
        """The outcomes that nobody has met yet."""
        with self._lock:
            return OUTCOMES - set(self.outcomes)

    def _row(self, choose: random.Random) -> Row:
        kind = choose.choices(("good", "bad", "broken"), (90, 5, 5))[0]
        return Row(next(self._ids), kind, choose.choice((10, 100, 2000)), choose.choice("xyz"))

    def _ask(self, rows: list[Row], call: QueryContext, job: BatchSpec[Row, str]) -> list[str | SpcsError]:
        if len(rows) > 1:
            return self.batcher.submit_all(rows, call, job)
        try:
            return [self.batcher.submit(rows[0], call, job)]
        except SpcsError as error:
            return [error]

    def _check(self, row: Row, outcome: object, seconds: float) -> None:
        self.outcomes[
            outcome if isinstance(outcome, str) and "neigh" in outcome else type(outcome).__name__
        ] += 1
        right = {
            "str": row.kind == "good" and outcome == f"answer {row.id}",
            "BadRequest": row.kind == "bad",
            "ModelError": row.kind == "broken",
            "QueryTimeout": seconds < PATIENT,
            "ServiceDown": row.id in self.service.downed or not self.service.attempts[row.id],
        }
        if not right.get(type(outcome).__name__):
            self.wrong.append(f"{row} got {outcome!r}")


def _size(row: Row) -> int:
    return row.size


@pytest.mark.parametrize("limit", [1, 3])
def test_every_row_gets_its_own_answer_or_error_in_time(limit: int) -> None:
    seed = 1000 * limit  # that of each caller is another
    service = Service(limit, seed)
    batcher = Batcher(Limiter(limit), body_limit=1000)
    crowd = Crowd(service, batcher, seed)
    threads = [threading.Thread(target=crowd.caller, args=(n,), daemon=True) for n in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS + 3 * PATIENT)
        assert not thread.is_alive(), "a caller hangs"
    assert crowd.wrong + service.wrong == []
    assert set(crowd.outcomes) == OUTCOMES
    assert crowd.busy_seconds == pytest.approx(service.requests, rel=1e-9)
    assert (batcher._in_flight, batcher._waiters, batcher._queue) == (0, 0, []), "nothing is left behind"
    spec: BatchSpec[Row, Row] = BatchSpec("x", lambda rows, call: rows, 1, _size)
    assert batcher.submit(Row(-1, "good", 1, "x"), QueryContext(PATIENT), spec).id == -1
