"""What was learned of a service, which holds for a while only: services are updated under the same URL."""

from __future__ import annotations

import threading
import time
from typing import Callable, Generic, TypeVar

from spcs_llm.sharing.after_fork import renew_in_child

T = TypeVar("T")
LESSON_SECONDS = 600.0


class Learned(Generic[T]):
    """A value that is assumed until a service teaches another, and again some minutes later. Thread-safe.

    Args:
        assumed: The value as long as nothing is learned.
        seconds: How long a lesson holds. Learning the same again makes it hold for as long once more.
        clock: Seconds that never go back.
    """

    def __init__(
        self, assumed: T, *, seconds: float = LESSON_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._assumed = assumed
        self._seconds = seconds
        self._clock = clock
        self.renew_after_fork()
        renew_in_child(self)
        self._lesson: tuple[T, float] | None = None  # and when it ends

    def renew_after_fork(self) -> None:
        self._lock = threading.Lock()

    @property
    def value(self) -> T:
        """What was learned, or what is assumed."""
        lesson = self._lesson
        return lesson[0] if lesson is not None and self._clock() < lesson[1] else self._assumed

    @property
    def is_known(self) -> bool:
        """Whether `value` was learned and still holds."""
        lesson = self._lesson
        return lesson is not None and self._clock() < lesson[1]

    def learn(self, value: T) -> None:
        """Has a value hold from now on, for as long as a lesson does.

        Args:
            value: What was learned.
        """
        self.update(lambda _: value)

    def update(self, change: Callable[[T], T]) -> T:
        """Learns what a change makes of the current value. No other lesson comes in between.

        Args:
            change: Takes the value, and returns the new one.

        Returns:
            The new value.
        """
        with self._lock:
            value = change(self.value)
            self._lesson = (value, self._clock() + self._seconds)
            return value

    def forget(self, value: T) -> None:
        """Goes back to what is assumed, unless something else than `value` was learned in the meantime."""
        with self._lock:
            if self._lesson is not None and self._lesson[0] == value:
                self._lesson = None
