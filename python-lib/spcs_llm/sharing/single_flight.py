"""One thread does what several want at the same time, and reports the result to the others."""

from __future__ import annotations

import threading
from typing import Callable, Generic, TypeVar

from spcs_llm.errors import QueryTimeout, SpcsError
from spcs_llm.query_context import QueryContext
from spcs_llm.sharing.after_fork import renew_in_child

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs work once at a time. Threads that want it meanwhile wait for its result, or for its failure. Thread-safe."""

    def __init__(self) -> None:
        self.renew_after_fork()
        renew_in_child(self)

    def renew_after_fork(self) -> None:
        self._lock = threading.Lock()
        self._flight: _Flight[T] | None = None

    @property
    def is_under_way(self) -> bool:
        return self._flight is not None

    def run(
        self, work: Callable[[], T], context: QueryContext, waits_for: str, timed_out: Callable[[], SpcsError]
    ) -> T:
        """Does the work, or waits for another thread that is doing it already.

        Args:
            work: Remembers its result where it is found the next time: a thread that comes later runs it again.
            context: How long this thread may wait.
            waits_for: What a thread waits for, for the log.
            timed_out: The error of a thread whose time ends while it waits.

        Returns:
            The result of the work.

        Raises:
            SpcsError: What `work` raises, in every thread that waits for it. Only when the time of the query that
                runs it has ended, or it fails by accident, does another thread take over.
        """
        while True:
            flight, leads = self._board()
            if leads:
                return self._lead(flight, work)
            context.log(f"waits for {waits_for}")
            if not flight.landed.wait(max(0.0, context.remaining())):
                raise timed_out()
            if flight.error is not None:
                raise flight.error.again()
            if flight.result is not None:
                return flight.result[0]

    def run_if_idle(self, work: Callable[[], T]) -> T | None:
        """Does the work, unless another thread is at it.

        Args:
            work: As for `run`.

        Returns:
            The result of the work; None, at once, when another thread is at it.

        Raises:
            SpcsError: What `work` raises.
        """
        flight, leads = self._board()
        return self._lead(flight, work) if leads else None

    def _board(self) -> tuple[_Flight[T], bool]:
        with self._lock:
            if self._flight is not None:
                return self._flight, False
            self._flight = _Flight()
            return self._flight, True

    def _lead(self, flight: _Flight[T], work: Callable[[], T]) -> T:
        try:
            result = work()
            flight.result = (result,)
            return result
        except QueryTimeout:
            raise
        except SpcsError as error:
            flight.error = error.again()
            raise
        finally:
            with self._lock:
                self._flight = None
            flight.landed.set()


class _Flight(Generic[T]):
    """Work that one thread does, and that others may wait for.

    Attributes:
        landed: Set when the work has ended.
        result: Its result in a tuple, as None may be one; None if there is none.
        error: Why it failed, if others are to know.
    """

    def __init__(self) -> None:
        self.landed = threading.Event()
        self.result: tuple[T] | None = None
        self.error: SpcsError | None = None
