"""A clock that can be moved forward, so that an hour of token life passes in no time."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Seconds since the epoch: the real ones, plus whatever has been advanced."""

    def __init__(self, base: Callable[[], float] = time.time) -> None:
        self._base = base
        self._offset = 0.0

    def __call__(self) -> float:
        return self._base() + self._offset

    def advance(self, seconds: float) -> None:
        self._offset += seconds
