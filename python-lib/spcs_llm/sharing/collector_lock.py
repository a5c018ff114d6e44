"""A lock for state that the garbage collector may change in the middle of its holder's own block.

A stream that its reader dropped is closed by the collector: in any thread, between any two bytecodes, and so also in
a thread that holds the lock at that moment. A plain lock would then wait for itself forever; a re-entrant one would
let the two blocks interleave, and lose an update.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Callable


class CollectorLock:
    """A context manager. Work that `run` is given within the lock's own block is done when the block has ended."""

    __slots__ = ("_deferred", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._deferred: deque[Callable[[], object]] = deque()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()
        while self._deferred and not self.is_held_here():
            with self._lock:
                self._do_deferred()

    def is_held_here(self) -> bool:
        """Whether this very thread is within the block. threading.Condition asks its lock the same way."""
        return self._lock._is_owned()  # type: ignore[attr-defined,no-any-return]

    def run(self, work: Callable[[], object]) -> None:
        """Does some work under the lock: at once as a rule, or after the block that this thread is in.

        Args:
            work: The work. What it returns is dropped.
        """
        if self.is_held_here():
            self._deferred.append(work)
            return
        with self:
            work()

    def _do_deferred(self) -> None:
        while True:
            try:
                work = self._deferred.popleft()
            except IndexError:  # done by another thread meanwhile
                return
            work()
