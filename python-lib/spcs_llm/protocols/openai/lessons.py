"""What was learned of a server from what it refused, each lesson for requests like the one that was refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable, Final

from spcs_llm.protocols.openai.dialect import Dialect

LESSON_SECONDS: Final = 600.0
_MOST: Final = 256
_EMPTY_STREAMS_IN_A_ROW: Final = 2


@dataclass(frozen=True)
class Lesson:
    """What one refusal teaches.

    Attributes:
        changes: Fields of Dialect to change, with their new values.
        features: The change is for requests that have all of these, as `dialect.features_of` names them.
    """

    changes: Mapping[str, Any]
    features: frozenset[str] = frozenset()


class Lessons:
    """What is known of one server. Thread-safe.

    Lessons end after some minutes: services are updated under the same URL, and a gateway's server may be another one.

    Args:
        seconds: How long a lesson holds.
        clock: Seconds that never go back.
    """

    def __init__(self, seconds: float = LESSON_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._learnt: dict[tuple[str, frozenset[str], Any], float] = {}
        self._streamed: dict[frozenset[str], float] = {}
        self._hopeless: dict[tuple[frozenset[str], int | None], float] = {}
        self._fruitless: dict[str, float] = {}
        self._empty_streams: dict[frozenset[str], int] = {}

    def dialect_for(self, features: frozenset[str]) -> Dialect:
        """How to put a request that has these features, by what is known now."""
        if not self._learnt:
            return Dialect()
        now = self._clock()
        dialect = Dialect()
        with self._lock:
            learnt = list(self._learnt.items())
        for (field, needed, value), until in learnt:
            if now < until and needed <= features:
                if field == "left_out":
                    value = value | dialect.left_out
                dialect = replace(dialect, **{field: value})
        return dialect

    def learn(self, lesson: Lesson) -> None:
        until = self._clock() + self._seconds
        with self._lock:
            for field, value in lesson.changes.items():
                self._learnt.pop((field, lesson.features, value), None)
                self._learnt[field, lesson.features, value] = until
            self._tidy(self._learnt)

    # -- streams ------------------------------------------------------------------------------------------

    def streamed(self, features: frozenset[str]) -> None:
        """Notes that a stream was answered: streaming does not make requests fail that have no more features."""
        until = self._clock() + self._seconds
        if self._empty_streams or self._streamed.get(features, 0.0) < until - self._seconds / 2:
            with self._lock:
                self._streamed[features] = until
                self._empty_streams.pop(features, None)
                self._tidy(self._streamed)

    def has_streamed(self, features: frozenset[str]) -> bool:
        now = self._clock()
        with self._lock:
            return any(features <= known and now < until for known, until in self._streamed.items())

    def stream_was_empty(self, features: frozenset[str]) -> None:
        """Notes an empty stream whose whole answer was sound. One teaches nothing; several in a row do."""
        with self._lock:
            self._empty_streams[features] = self._empty_streams.get(features, 0) + 1
            teaches = self._empty_streams[features] >= _EMPTY_STREAMS_IN_A_ROW
            self._tidy(self._empty_streams)
        if teaches:
            self.learn(Lesson({"whole": True}, features))

    # -- attempts that were of no use -----------------------------------------------------------------------

    def may_try_blindly(self, features: frozenset[str], status: int | None) -> bool:
        """Decides whether another form may be tried where a refusal does not return a reason.

        Args:
            features: What the request has, as `dialect.features_of` names it.
            status: The refusal's HTTP status; None where it has none.

        Returns:
            False if that was of no use before, for such a request and status.
        """
        return self._clock() >= self._hopeless.get((features, status), 0.0)

    def was_of_no_use(self, features: frozenset[str], status: int | None) -> None:
        with self._lock:
            self._hopeless[features, status] = self._clock() + self._seconds
            self._tidy(self._hopeless)

    def is_worth_asking_whole(self, what: str) -> bool:
        """Whether whole answers may have what streams lack."""
        return self._clock() >= self._fruitless.get(what, 0.0)

    def whole_lacks(self, what: str) -> None:
        with self._lock:
            self._fruitless[what] = self._clock() + self._seconds

    @staticmethod
    def _tidy(table: dict[Any, Any]) -> None:
        while len(table) > _MOST:
            table.pop(next(iter(table)))
