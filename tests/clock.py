"""A clock for tests in which no time may pass by itself."""

from __future__ import annotations


class Clock:
    """Seconds that only move when a test sets `now`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
