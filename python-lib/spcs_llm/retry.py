"""What is tried again, when, and how often. Decisions only: the loop that acts on them is in `endpoint`."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Callable

from spcs_llm.errors import NetworkError, ServiceBusy, ServiceDown, ServiceStarting, SpcsError

LONGEST_OBEYED_RETRY_AFTER = 60.0


def parse_retry_after(
    value: str | None, now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
) -> float | None:
    """Seconds to wait by a `Retry-After` header, in either form of RFC 9110 §10.2.3; None when it makes no sense."""
    if not value:
        return None
    text = value.strip()
    try:
        if text.isascii() and text.replace(".", "", 1).isdigit():
            return float(text)
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return max(0.0, (moment - now()).total_seconds())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


class RetryBudget:
    """Keeps an outage from being multiplied: each retry costs tokens, success earns them back.

    The scheme and its figures are botocore's (`retries/standard.py`): 500 tokens, 5 a retry, 10 after a silence.
    """

    CAPACITY = 500

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens = self.CAPACITY

    def spend(self, error: SpcsError) -> bool:
        cost = 10 if isinstance(error, NetworkError) and error.silent else 5
        with self._lock:
            if cost > self._tokens:
                return False
            self._tokens -= cost
            return True

    def earn(self, retries: int) -> None:
        """Called for each success: a retried one gives its last cost back, a plain one a token."""
        if retries == 0 and self._tokens == self.CAPACITY:  # the usual case takes no lock
            return
        with self._lock:
            self._tokens = min(self.CAPACITY, self._tokens + (5 if retries else 1))


@dataclass(frozen=True)
class RetryPolicy:
    """How patient to be. Times are seconds; `attempts` counts the first one, and not the waits for a cold start."""

    attempts: int = 4
    first_delay: float = 0.5
    longest_delay: float = 8.0
    cold_start: float = 300.0
    cold_first_delay: float = 1.0
    cold_longest_delay: float = 15.0
    random: Callable[[], float] = random.random

    def delay(self, failure: int) -> float:
        """Full jitter: anywhere between nothing and a limit that doubles with each failure (the first is 1)."""
        return min(self.longest_delay, self.first_delay * 2.0 ** (failure - 1)) * self.random()

    def cold_delay(self, failure: int) -> float:
        """Between half and the whole of a limit that doubles: a service that starts is not made to start sooner."""
        return min(self.cold_longest_delay, self.cold_first_delay * 2.0 ** (failure - 1)) * (
            0.5 + self.random() / 2
        )


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

    @property
    def count(self) -> int:
        return self._failures + self._cold_failures

    def delay_after(self, error: SpcsError) -> float | None:
        """Seconds to wait before the next attempt, or None when there must be none."""
        if isinstance(error, ServiceStarting):
            return self._cold_delay(error)
        if not _is_transient(error):
            return None
        self._failures += 1
        self._silences += _is_silence(error)
        if self._failures >= self._policy.attempts or self._silences > 1:
            return None
        if error.retry_after is not None and error.retry_after > LONGEST_OBEYED_RETRY_AFTER:
            return None
        if not self._budget.spend(error):
            return None
        return self._at_least(error, self._policy.delay(self._failures))

    def _cold_delay(self, error: SpcsError) -> float | None:
        now = self._clock()
        if self._cold_since is None:
            self._cold_since = now
        self._cold_failures += 1
        left = self._cold_since + self._policy.cold_start - now
        if left <= 0:
            return None
        return self._at_least(error, min(left, self._policy.cold_delay(self._cold_failures)))

    @staticmethod
    def _at_least(error: SpcsError, delay: float) -> float:
        return delay if error.retry_after is None else max(delay, error.retry_after)


def _is_transient(error: SpcsError) -> bool:
    if isinstance(error, NetworkError):
        return error.transient
    return isinstance(error, (ServiceBusy, ServiceDown))


def _is_silence(error: SpcsError) -> bool:
    """A request that ran into the idle limit would most likely run into it again: it gets one more try, not three."""
    return error.status == 504 or (isinstance(error, NetworkError) and error.silent)
