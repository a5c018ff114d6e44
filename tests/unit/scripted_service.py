"""A service without a network, for what stands between queries and requests; and callers in threads of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from spcs_llm.batching import Batcher, BatchSpec
from spcs_llm.query_context import QueryContext
from tests.waiting import FAR_TOO_LONG

BOUND = FAR_TOO_LONG


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.0005)


class Service:
    """Answers `text` by `TEXT`. `refuse` is asked about each request's rows: an exception it returns is raised.

    hold: requests stay in flight until `let_go`.
    """

    def __init__(
        self,
        refuse: Callable[[Sequence[str]], BaseException | None] = lambda rows: None,
        *,
        hold: bool = False,
    ) -> None:
        self.requests: list[list[str]] = []
        self.calls: list[QueryContext] = []
        self.senders: list[int] = []
        self.in_flight = self.most_in_flight = 0
        self._refuse = refuse
        self._lock = threading.Lock()
        self._open = threading.Semaphore(0 if hold else 1000)

    @property
    def sizes(self) -> list[int]:
        return [len(rows) for rows in self.requests]

    def let_go(self, requests: int = 1000) -> None:
        self._open.release(requests)

    def send(self, rows: Sequence[str], call: QueryContext) -> list[Any]:
        with self._lock:
            self.requests.append(list(rows))
            self.calls.append(call)
            self.senders.append(threading.get_ident())
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            call.attempts += 1
            assert self._open.acquire(timeout=BOUND), "the test never let go of this request"
            refusal = self._refuse(rows)
            if refusal is not None:
                raise refusal
            return [row.upper() for row in rows]
        finally:
            with self._lock:
                self.in_flight -= 1

    def job(
        self, key: str = "job", max_rows: int = 64, size: Callable[[str], int] = len
    ) -> BatchSpec[str, str]:
        return BatchSpec(key, self.send, max_rows, size)


class ImpatientCall(QueryContext):
    """Its time is up when `give_up` says so: its thread notices within a moment."""

    __slots__ = ("_over",)

    def __init__(self) -> None:
        super().__init__(1.0)
        self._over = False

    def give_up(self) -> None:
        self._over = True

    def remaining(self) -> float:
        return -1.0 if self._over else 0.005


class Waiting(QueryContext):
    """waits: somebody asked how long it may wait."""

    __slots__ = ("waits",)

    def __init__(self, seconds: float = 10) -> None:
        super().__init__(seconds)
        self.waits = False

    def remaining(self) -> float:
        self.waits = True
        return super().remaining()


class Caller(threading.Thread):
    """Submits one row. outcome: its result, or what was raised."""

    def __init__(self, batcher: Batcher, row: str, job: BatchSpec[str, str], call: Any = None) -> None:
        super().__init__(daemon=True)
        self.call = call or QueryContext(BOUND)
        self._asked = (batcher, row, job)
        self.outcome: Any = None
        self.start()

    def run(self) -> None:
        batcher, row, job = self._asked
        try:
            self.outcome = batcher.submit(row, self.call, job)
        except BaseException as error:  # noqa: BLE001
            self.outcome = error

    def result(self) -> Any:
        self.join(BOUND)
        assert not self.is_alive(), "the caller hangs"
        return self.outcome


def waiting_behind_one(
    batcher: Batcher, service: Service, rows: Sequence[str], job: BatchSpec[str, str] | None = None
) -> list[Caller]:
    """A first request is held in flight, and one caller for each of `rows` waits behind it, in this order."""
    job = job or service.job()
    callers = [Caller(batcher, "first", job)]
    wait_until(lambda: service.in_flight == 1)
    for row in rows:
        callers.append(Caller(batcher, row, job))
        wait_until(lambda: len(batcher._queue) == len(callers) - 1)
    return callers
