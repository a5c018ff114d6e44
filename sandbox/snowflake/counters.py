"""What has happened, by name: logins, renewals, connections, requests in flight."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Counters:
    """Counts of one listener; safe to read from the test's thread while the listener serves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    @contextmanager
    def in_flight(self) -> Iterator[Callable[[], None]]:
        """Counts one more until the end, or until the function that it gives is called."""
        left = False

        def leave() -> None:
            nonlocal left
            with self._lock:
                self._counts["in_flight"] -= not left
                left = True

        with self._lock:
            self._counts["in_flight"] += 1
            self._counts["max_in_flight"] = max(self._counts["max_in_flight"], self._counts["in_flight"])
        try:
            yield leave
        finally:
            leave()

    def __getitem__(self, name: str) -> int:
        with self._lock:
            return self._counts[name]

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

    def reset(self) -> None:
        with self._lock:
            self._counts.clear()
