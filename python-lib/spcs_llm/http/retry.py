"""What is tried again, when, and how often. Decisions only: the loop that acts on them is in `endpoint`."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import Callable

from spcs_llm.errors import ServiceStarting, SpcsError
from spcs_llm.sharing.after_fork import renew_in_child

MAX_RETRY_AFTER = 65.0  # a limit of a minute ends a little later than in a minute


class RetryBudget:
    """Keeps an outage from being multiplied: each retry costs tokens, success earns them back.

    The scheme and its figures are botocore's (`retries/standard.py`): 500 tokens, 5 a retry, 10 after a silence.
    """

    CAPACITY = 500

    def __init__(self) -> None:
        self.renew_after_fork()
        renew_in_child(self)
        self._tokens = self.CAPACITY

    def renew_after_fork(self) -> None:
        self._lock = threading.Lock()

    def spend(self, error: SpcsError) -> int | None:
        """Pays for a retry after `error`; returns the price, or None when there is not enough left for it."""
        price = 10 if error.is_silence else 5
        with self._lock:
            if price > self._tokens:
                return None
            self._tokens -= price
            return price

    def earn(self, spent: int) -> None:
        """Counts a success.

        Args:
            spent: The price of its last retry, which is given back; 0 if it had none.
        """
        if spent == 0 and self._tokens == self.CAPACITY:  # the usual case takes no lock
            return
        with self._lock:
            self._tokens = min(self.CAPACITY, self._tokens + (spent or 1))


@dataclass(frozen=True)
class RetryPolicy:
    """How patient to be. Times are seconds; `attempts` counts the first one, and not the waits for a cold start."""

    attempts: int = 4
    first_delay: float = 0.5
    longest_delay: float = 8.0
    cold_start: float = 300.0
    cold_first_delay: float = 1.0
    cold_longest_delay: float = 15.0
    random: Callable[[], float] = random.random  # noqa: S311

    def delay(self, failure: int) -> float:
        """Full jitter: anywhere between nothing and a limit that doubles with each failure (the first is 1)."""
        return _doubled(self.first_delay, failure, self.longest_delay) * self.random()

    def cold_delay(self, failure: int) -> float:
        """Between half and the whole of a limit that doubles: a service that starts is not made to start sooner."""
        limit = _doubled(self.cold_first_delay, failure, self.cold_longest_delay)
        return limit * (0.5 + self.random() / 2)


def _doubled(first: float, failure: int, most: float) -> float:
    return min(
        most, first * 2.0 ** min(failure - 1, 32)
    )  # a long cold start has more failures than floats have powers


class Retries:
    """The failures of one call so far, and what to do after the next."""

    def __init__(self, policy: RetryPolicy, budget: RetryBudget, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._budget = budget
        self._clock = clock
        self._failures = 0
        self._silences = 0
        self._cold_failures = 0
        self._cold_since: float | None = None
        self._spent = 0

    def succeeded(self) -> None:
        self._budget.earn(self._spent)

    def delay_after(self, error: SpcsError) -> float | None:
        """Seconds to wait before the next attempt, or None when there must be none."""
        if isinstance(error, ServiceStarting):
            return self._cold_delay(error)
        if not error.transient:
            return None
        self._failures += 1
        self._silences += error.is_silence  # it would most likely come again: it gets one more try, not three
        if self._failures >= self._policy.attempts or self._silences > 1:
            return None
        if error.retry_after is not None and error.retry_after > MAX_RETRY_AFTER:
            return None
        price = self._budget.spend(error)
        if price is None:
            error.hint = f"{error.hint} So many requests fail that this one was not tried again.".strip()
            return None
        self._spent = price
        return max(self._policy.delay(self._failures), error.retry_after or 0.0)

    def _cold_delay(self, error: SpcsError) -> float | None:
        now = self._clock()
        if self._cold_since is None:
            self._cold_since = now
        self._cold_failures += 1
        left = self._cold_since + self._policy.cold_start - now
        if left <= 0:
            return None
        delay = max(self._policy.cold_delay(self._cold_failures), error.retry_after or 0.0)
        return min(left, delay)  # the last look is at the end of the window
