"""What will happen in the account and when, on the account's own clock.

Nothing runs in the background: whoever looks at the account first lets everything happen that is due, each thing at its
own time. So an hour that a test skips leaves the same record as one that passed.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

Act = Callable[[float], None]


class Agenda:
    """Acts in the order of their times; each is called with its own time, not with the time of the look."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Act]] = []
        self._numbers = itertools.count()

    def at(self, when: float, act: Act) -> None:
        heapq.heappush(self._due, (when, next(self._numbers), act))

    def settle(self, now: float) -> None:
        """Let everything happen that is due, and what follows from it."""
        while self._due and self._due[0][0] <= now:
            when, _, act = heapq.heappop(self._due)
            act(when)
