"""How many rows a service takes at once, and what becomes of a request that it refuses."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Callable

from spcs_llm.errors import (
    BadRequest,
    Blocked,
    ModelError,
    QueryError,
    RequestTooLarge,
    ServiceError,
    SpcsError,
)
from spcs_llm.sharing.after_fork import renew_in_child

_FEWER_FOR = 600.0
_FEWER_PER_SECOND_LOST = 100.0
_MAX_KEPT = 256


def is_refusal(error: SpcsError) -> bool:
    """Whether a request of several rows may have failed because of one of them, or of their number.

    If so, its halves may succeed. Everything else (sign-in, gateway, network, an overloaded service) concerns all rows.

    Args:
        error: Why the request failed.

    Returns:
        Whether to try its halves.
    """
    if isinstance(error, (BadRequest, Blocked, RequestTooLarge, ModelError, QueryError)):
        return True
    return type(error) is ServiceError or error.is_silence  # with fewer rows the answer comes sooner


@dataclass(eq=False)
class Refusal:
    """A refused request, which goes on as two halves.

    Attributes:
        error: Why it was refused.
        rows: How many rows it had.
        seconds: How long the refusal took.
        accepted_halves: How many of its halves were accepted.
    """

    error: SpcsError
    rows: int
    seconds: float
    accepted_halves: int = 0

    @property
    def half(self) -> int:
        return (self.rows + 1) // 2

    @property
    def was_for_size(self) -> bool:
        """One bad row would have spoiled one half again. A model's own failure (500) may have been a passing one."""
        stable = isinstance(self.error, (RequestTooLarge, BadRequest)) or self.error.is_silence
        return stable and self.accepted_halves == 2


class BatchSizes:
    """The number of rows per request that was found to work, by kind of request. Thread-safe.

    It grows back, or one batch of large rows would make batches small permanently. But not soon, as a batch too large
    may cost a container its memory: it doubles after ten minutes, or after a hundred times what the refusal took.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.renew_after_fork()
        renew_in_child(self)
        self._fewer: dict[Hashable, tuple[int, float, float]] = {}

    def renew_after_fork(self) -> None:
        self._lock = threading.Lock()

    def most_rows(self, key: Hashable, asked: int) -> int:
        """How many rows a request may have; not more than `asked`, and at least one."""
        learnt = self._fewer.get(key)
        if learnt is not None:
            rows, since, lasts = learnt
            asked = min(asked, rows << min(30, int((self._clock() - since) / lasts)))
        return max(1, asked)

    def half_accepted(self, key: Hashable, refusal: Refusal) -> None:
        with self._lock:
            refusal.accepted_halves += 1
            if refusal.was_for_size:
                lasts = max(_FEWER_FOR, refusal.seconds * _FEWER_PER_SECOND_LOST)
                self._fewer[key] = (refusal.half, self._clock(), lasts)
                if len(self._fewer) > _MAX_KEPT:
                    del self._fewer[next(iter(self._fewer))]
