"""Work that one thread repeats for everybody who looks at its result, and only while somebody does."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Callable, Generic, TypeVar

from spcs_llm.errors import SpcsError, SqlError, place_in_code
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)

T = TypeVar("T")
_LONG_SECONDS = 60.0
_IDLE_SECONDS = 300.0
_LOCKED_SECONDS = 900.0  # for which Snowflake locks a user (Snowflake documentation, "User management")


@dataclass(frozen=True)
class Problem:
    """Why there is nothing newer.

    Attributes:
        message: What failed.
        hint: What to do about it; it may be empty.
    """

    message: str
    hint: str = ""


@dataclass(frozen=True)
class State(Generic[T]):
    """What a viewer gets.

    Attributes:
        value: The last result; None before the first.
        age: Seconds since the run that found it began; None before the first.
        problem: Why there is nothing newer; None if all is well.
        version: Another number for each result.
    """

    value: T | None
    age: float | None
    problem: Problem | None
    version: int


class Background(Generic[T]):
    """Repeats work in a thread while results are asked for. Thread-safe.

    Args:
        name: The thread's name.
        work: Makes the next result. It may call its argument with what is known so far.
        period: Seconds between the starts of two runs.
        retry: Seconds to the next run after a failure; they double with each further one, up to ten times as many.
            After a wrong password it is a quarter of an hour: the user, whom others need as well, would be locked.
        idle: Seconds without a question after which the work rests.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Callable[[T], None]], T],
        period: float,
        retry: float,
        idle: float = _IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._work = work
        self._period = period
        self._retry = retry
        self._idle = idle
        self._clock = clock
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._asked_at = self._clock()
        self._soon = False
        self._began_at: float | None = None
        self._kept: tuple[T, float] | None = None
        self._problem: Problem | None = None
        self._failures = 0
        self._may_lock_user = False
        self._version = 0
        self._closed = False

    def ask(self, *, soon: bool = False) -> State[T]:
        """What is known. Nobody waits here for Snowflake.

        Args:
            soon: Whether the next run should begin now, because something has changed.

        Returns:
            The last result, and how old it is.
        """
        with self._changed:
            rested = self._clock() - self._asked_at >= self._idle
            self._asked_at = self._clock()
            self._soon |= soon
            if self._closed:
                return self._state()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._repeat, name=self._name, daemon=True)
                self._thread.start()
            elif soon or rested:
                self._changed.notify_all()
            return self._state()

    def close(self) -> None:
        """Ends the thread after the run that is under way."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _state(self) -> State[T]:
        now = self._clock()
        problem = self._problem
        if self._began_at is not None and now - self._began_at > _LONG_SECONDS:
            problem = Problem(
                f"Snowflake has not answered for {now - self._began_at:.0f} s.",
                "If this lasts, ask a DSS administrator to test the Snowflake connection, and restart the webapp's"
                " backend.",
            )
        if self._kept is None:
            return State(None, None, problem, self._version)
        value, at = self._kept
        return State(value, max(0.0, now - at), problem, self._version)

    def _repeat(self) -> None:
        while not self._closed:
            with self._changed:
                self._began_at = began = self._clock()
                self._soon = False
            try:
                self._keep(self._work(self._keep), None)
                self._failures = 0
            except SpcsError as error:
                self._fail(
                    Problem(error.message, error.hint), isinstance(error, SqlError) and error.may_lock_user
                )
            except Exception as error:  # noqa: BLE001 - the thread serves everybody, and must go on
                self._fail(_unexpected(self._name, error))
            with self._changed:
                self._began_at = None
                self._changed.notify_all()
                self._rest(began)

    def _rest(self, began: float) -> None:
        """Until the next run is due and somebody looks."""
        pause = self._pause()
        while not (self._soon or self._closed):
            now = self._clock()
            if now - self._asked_at >= self._idle:
                self._changed.wait()
            elif began + pause > now:
                self._changed.wait(began + pause - now)
            else:
                return

    def _pause(self) -> float:
        if not self._failures:
            return self._period
        if self._may_lock_user:
            return _LOCKED_SECONDS
        return self._retry * min(1 << min(self._failures - 1, 4), 10)

    def _keep(self, value: T, problem: Problem | None = None) -> None:
        with self._changed:
            self._kept = (value, self._clock() if self._began_at is None else self._began_at)
            self._problem = problem
            self._version += 1
            self._changed.notify_all()

    def _fail(self, problem: Problem, may_lock_user: bool = False) -> None:
        with self._changed:
            self._failures += 1
            self._may_lock_user = may_lock_user
            self._problem = problem
            self._version += 1


def _unexpected(name: str, error: Exception) -> Problem:
    place = place_in_code(error)
    logger.error("The webapp's thread %s failed unexpectedly: %s.", name, place)
    return Problem(
        f"The webapp failed unexpectedly ({place}).", "Please report this to the plugin's authors."
    )
