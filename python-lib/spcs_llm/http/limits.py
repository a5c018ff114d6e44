"""How many requests may be in flight to an endpoint, and whose turn it is."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque

from spcs_llm.query_context import QueryContext


class Limiter:
    """A resizable limit that is fair among users: waiting users take turns, each user's calls in order.

    One limiter serves all model instances of an endpoint in the process; the one configured last sets the limit.
    """

    def __init__(self, limit: int = 1) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        self._in_flight = 0
        self._waiting: OrderedDict[str, deque[threading.Event]] = OrderedDict()

    @property
    def limit(self) -> int:
        return self._limit

    @property
    def in_flight(self) -> int:
        return self._in_flight

    def resize(self, limit: int) -> None:
        with self._lock:
            self._limit = limit
            self._admit()

    def acquire(self, context: QueryContext) -> None:
        """Waits for a slot. Raises QueryTimeout when the call's time ends first."""
        with self._lock:
            if self._in_flight < self._limit and not self._waiting:
                self._in_flight += 1
                return
            turn = threading.Event()
            self._waiting.setdefault(context.credential_id, deque()).append(turn)
        admitted = False
        try:
            admitted = turn.wait(max(0.0, context.remaining()))
        finally:
            if not admitted:
                self._give_up(context.credential_id, turn)
        if not admitted:
            raise context.timeout("waiting for other requests to the endpoint to end ('Max parallelism')")

    def release(self) -> None:
        with self._lock:
            self._in_flight -= 1
            self._admit()

    def _admit(self) -> None:
        while self._waiting and self._in_flight < self._limit:
            user, turns = self._waiting.popitem(last=False)
            turns.popleft().set()
            self._in_flight += 1
            if turns:
                self._waiting[user] = turns  # to the end: the other users come first

    def _give_up(self, user: str, turn: threading.Event) -> None:
        with self._lock:
            if turn.is_set():  # admitted in that very moment
                self._in_flight -= 1
                self._admit()
                return
            turns = self._waiting[user]
            turns.remove(turn)
            if not turns:
                del self._waiting[user]
