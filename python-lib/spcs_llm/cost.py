"""What calls cost: each one's fair share of the time in which its endpoint was busy.

A compute pool costs the same however many requests it serves at once, so while n queries are in flight each is
charged 1/n of the clock. The charges of all queries add up to the time in which at least one was in flight.
"""

from __future__ import annotations

import time
from typing import Callable

from spcs_llm.sharing.after_fork import renew_in_child
from spcs_llm.sharing.collector_lock import CollectorLock


class BusyMeter:
    """Shares out the busy time of one endpoint among the queries in flight, in O(1) a start or end.

    A running integral of dt/n is kept while n > 0: what it grew by, between a query's start and its end, is that
    query's share. It restarts at zero when the endpoint falls idle, so that it never grows large enough to lose digits.
    Thread-safe. `end` may be called from anywhere: by the garbage collector too, in the middle of `start`.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.renew_after_fork()
        renew_in_child(self)

    def renew_after_fork(self) -> None:
        self._lock = CollectorLock()
        self._in_flight = 0
        self._integral = 0.0
        self._at = 0.0

    def start(self, queries: int = 1) -> float:
        """Counts more queries in flight.

        Args:
            queries: How many.

        Returns:
            A mark to hand to `end`.
        """
        with self._lock:
            self._advance()
            self._in_flight += queries
            return self._integral

    def end(self, mark: float, queries: int = 1) -> float:
        """Counts queries out again.

        Args:
            mark: What `start` returned for them.
            queries: How many.

        Returns:
            The busy seconds that they share, all together. Zero when the garbage collector calls: there is nobody to
            charge.
        """
        if self._lock.is_held_here():
            self._lock.run(lambda: self._end(mark, queries))
            return 0.0
        with self._lock:
            return self._end(mark, queries)

    def _end(self, mark: float, queries: int) -> float:
        self._advance()
        share = (self._integral - mark) * queries
        self._in_flight -= queries
        if self._in_flight == 0:
            self._integral = 0.0
        return share

    def _advance(self) -> None:
        now = self._clock()
        if self._in_flight:
            self._integral += (now - self._at) / self._in_flight
        self._at = now
