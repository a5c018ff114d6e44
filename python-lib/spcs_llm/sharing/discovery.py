"""Something that a service is asked for once by all who need it, and again some minutes later."""

from __future__ import annotations

import time
from typing import Callable, Generic, TypeVar

from spcs_llm.errors import SpcsError
from spcs_llm.query_context import QueryContext
from spcs_llm.sharing.learned import Learned
from spcs_llm.sharing.single_flight import SingleFlight

T = TypeVar("T")
_SECONDS_TO_ASK_ANEW = 5.0


class Discovery(Generic[T]):
    """What a service said of itself. Thread-safe.

    It does not hold what asks the service. That would be a method of its owner, and so a circle, which keeps the
    connections of an owner that nobody uses any more open until the garbage collector finds it.

    Args:
        what: What is asked for: "the list of the service's models".
        clock: Seconds that never go back.
    """

    def __init__(self, what: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._found: Learned[tuple[T] | None] = Learned(None, clock=clock)
        self._before: tuple[T] | None = None
        self._flights: SingleFlight[tuple[T]] = SingleFlight()

    @property
    def last(self) -> tuple[T] | None:
        """What was found, in a tuple, even if it is time to ask again; None before that."""
        return self._found.value or self._before

    def value(self, context: QueryContext, ask: Callable[[QueryContext], T]) -> T:
        """What the service says, or said some minutes ago.

        Args:
            context: The query that needs to know.
            ask: Asks the service. Its SpcsError is raised in all threads that wait, and is not remembered.

        Returns:
            The value.

        Raises:
            SpcsError: If the service cannot be asked.
        """
        found = self._found.value
        if found is None:
            found = self._flights.run(
                lambda: self._asked(context, ask),
                context,
                f"another query that asks for {self._what}",
                lambda: context.timeout(f"waiting for {self._what}"),
            )
        return found[0]

    def forget(self) -> None:
        """What was found no longer holds: the service may have changed."""
        self._before, found = None, self._found.value
        if found is not None:
            self._found.forget(found)

    def _asked(self, context: QueryContext, ask: Callable[[QueryContext], T]) -> tuple[T]:
        found, before = self._found.value, self._before
        if found is not None:
            return found  # another thread was faster
        if before is None:
            found = (ask(context),)
        else:
            try:
                found = (ask(context.child(_SECONDS_TO_ASK_ANEW)),)
            except SpcsError:
                found = before  # as it was until now; if the service is down, the query will tell
        self._found.learn(found)
        self._before = found
        return found
