"""Which services somebody has a page open of, by what their pages last asked for."""

from __future__ import annotations

import threading
import time
from typing import Callable

from spcs_llm.control.identifiers import QualifiedName

_SECONDS, _MOST = 60.0, 10


class Watches:
    """Thread-safe.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[QualifiedName, float] = {}

    def add(self, name: QualifiedName) -> bool:
        """Notes that the page of a service is open. Returns whether that is news."""
        with self._lock:
            is_new = self._clock() - self._seen.pop(name, float("-inf")) >= _SECONDS
            self._seen[name] = self._clock()
            return is_new

    def open(self) -> list[QualifiedName]:
        """The services whose pages are open, at most ten: those whose pages asked last."""
        with self._lock:
            now = self._clock()
            self._seen = {name: at for name, at in self._seen.items() if now - at < _SECONDS}
            return list(self._seen)[-_MOST:]
