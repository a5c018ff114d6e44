"""How many requests may be in flight to an endpoint, and whose turn it is."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque

from spcs_llm.query_context import QueryContext
from spcs_llm.sharing.after_fork import renew_in_child
from spcs_llm.sharing.collector_lock import CollectorLock


class Limiter:
    """A resizable limit that is fair among users: waiting users take turns, each user's queries in order.

    One limiter serves all model instances of an endpoint in the process; the one configured last sets the limit.
    Thread-safe. A slot may be given back from anywhere: by the garbage collector too, in the middle of `acquire`.
    """

    def __init__(self, limit: int = 1) -> None:
        self._limit = limit
        self.renew_after_fork()
        renew_in_child(self)

    def renew_after_fork(self) -> None:
        self._lock = CollectorLock()
        self._in_flight = 0
        self._waiting: OrderedDict[str, deque[_Turn]] = OrderedDict()

    @property
    def limit(self) -> int:
        return self._limit

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def waiting(self) -> int:
        """The number of queries that wait for a slot."""
        with self._lock:
            return sum(map(len, self._waiting.values()))

    def resize(self, limit: int) -> None:
        with self._lock:
            self._limit = limit
            self._admit()

    def slot(self, context: QueryContext, *, ahead: bool = False) -> Slot:
        """Waits for a slot.

        Args:
            context: The query that waits, until its time is up.
            ahead: Whether it goes before the other queries of the same user, because it had its turn already.

        Returns:
            The slot.

        Raises:
            QueryTimeout: If the query's time ends first.
        """
        self.acquire(context, ahead=ahead)
        return Slot(self)

    def acquire(self, context: QueryContext, *, ahead: bool = False) -> None:
        """The same, for a caller that gives the slot back by `release`, once."""
        with self._lock:
            if self._in_flight < self._limit and not self._waiting:
                self._in_flight += 1
                return
            turn = _Turn()
            turns = self._waiting.setdefault(context.credential_id, deque())
            (turns.appendleft if ahead else turns.append)(turn)
        context.log("waits for one of %d slots (queries waiting: %d)", self._limit, self.waiting)
        admitted = False
        try:
            admitted = turn.wait(context.remaining())
        finally:
            if not admitted:
                self._give_up(context.credential_id, turn)
        if not admitted:
            raise context.timeout("waiting for other requests to the endpoint to end ('Max parallelism')")

    def release(self) -> None:
        """Gives a slot back. Never waits for long, and never raises."""
        self._lock.run(self._one_less)

    def _one_less(self) -> None:
        self._in_flight -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._in_flight < self._limit:
            user, turns = self._waiting.popitem(last=False)
            self._in_flight += 1
            turns.popleft().give()
            if turns:
                self._waiting[user] = turns  # to the end: the other users come first

    def _give_up(self, user: str, turn: _Turn) -> None:
        with self._lock:
            if turn.given:  # in that very moment
                self._one_less()
                return
            turns = self._waiting[user]
            turns.remove(turn)
            if not turns:
                del self._waiting[user]


class Slot:
    """The right to have one request in flight. Given back once, however often and by whomever it is released."""

    __slots__ = ("_held",)

    def __init__(self, limiter: Limiter) -> None:
        self._held = [limiter]

    def release(self) -> None:
        try:
            limiter = self._held.pop()  # one atomic step, so that only one of two threads does it
        except IndexError:
            return
        limiter.release()

    __del__ = release


class _Turn:
    """What one query waits for. A bare lock: the locks of an Event could be met again by the garbage collector."""

    __slots__ = ("_alarm", "given")

    def __init__(self) -> None:
        self.given = False
        self._alarm = threading.Lock()
        self._alarm.acquire()

    def wait(self, seconds: float) -> bool:
        return self._alarm.acquire(timeout=min(max(0.0, seconds), threading.TIMEOUT_MAX))

    def give(self) -> None:
        self.given = True
        self._alarm.release()
