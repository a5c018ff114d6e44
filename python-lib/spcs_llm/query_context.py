"""One query on its way: until when it may last, on whose behalf, and what it took."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from spcs_llm.errors import QueryTimeout, SpcsError
from spcs_llm.server_text.log_lines import one_line_logger

# One logger for all steps of all queries: to follow a query, turn on this one and filter by its number.
logger = one_line_logger("spcs_llm.query")
_numbers = itertools.count(1)


def log_steps(plugin_config: Any) -> None:
    """Turns the log of steps on or off, as the plugin's setting `logQuerySteps` says.

    Args:
        plugin_config: the plugin's settings, as DSS hands them over: a dict, or None where there are none.
    """
    wanted = plugin_config.get("logQuerySteps") if isinstance(plugin_config, Mapping) else None
    if wanted is True:
        logger.setLevel(logging.DEBUG)
    elif wanted is False:
        logger.setLevel(logging.NOTSET)


@dataclass
class Step:
    """Something done for a call that the trace shows: a login, a request, a wait.

    `began` is seconds since the epoch, `seconds` how long it took. Attributes hold no content, only facts.
    """

    name: str
    began: float
    seconds: float
    attributes: dict[str, Any] = field(default_factory=dict)


class QueryContext:
    """The time that a query has, and the record of what was done for it.

    Attributes:
        seconds: How long it may take in all, from now.
        deadline: When that time is up, on the monotonic clock.
        credential_id: The credential that it runs under, for fairness between users.
        attempts: How many HTTP requests were sent for it.
        busy_seconds: Its share of the time in which the service was busy (see `cost`).
        steps: What was done, for the trace.
        last_error: The last failure that was not the end.
        number: Distinguishes the queries of a process in the log.
    """

    __slots__ = (
        "_clock",
        "attempts",
        "busy_seconds",
        "credential_id",
        "deadline",
        "last_error",
        "number",
        "seconds",
        "steps",
    )

    def __init__(
        self, seconds: float, credential_id: str = "", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self.number = next(_numbers)
        self.seconds = seconds
        self.deadline = clock() + seconds
        self.credential_id = credential_id
        self.attempts = 0
        self.busy_seconds = 0.0
        self.steps: list[Step] = []
        self.last_error: SpcsError | None = None

    def child(self, seconds: float = math.inf) -> QueryContext:
        """A context for something done on the way, such as a login. It shares this one's record and time.

        Args:
            seconds: The most that it may take of that time.

        Returns:
            The context.
        """
        child = QueryContext(self.seconds, self.credential_id, clock=self._clock)
        child.deadline, child.steps = min(self.deadline, self._clock() + seconds), self.steps
        child.number = self.number
        return child

    def remaining(self) -> float:
        """Seconds left; negative when the time is up."""
        return self.deadline - self._clock()

    def timeout(self, doing: str) -> QueryTimeout:
        """The error of a query whose time is up while `doing` something; says the last failure, if any."""
        message = (
            f"No answer within the {self.seconds:g} s that a query may take: the time ran out while {doing}"
        )
        if self.attempts:
            message += f", after {self.attempts} attempt{'s' if self.attempts > 1 else ''}"
        message += "."
        if self.last_error is None:
            return QueryTimeout(
                message, "Raise 'Query timeout', ask for fewer tokens, or give the service more instances."
            )
        last = self.last_error
        message = f"{message} Last failure: [{last.place}] "
        timeout = QueryTimeout(
            message + last.message,
            last.hint,
            status=last.status,
            request_id=last.request_id,
            place=last.place,
        )
        timeout.note_unquoted(message + last.without_quotation().message)
        return timeout

    def log(self, message: str, *facts: object) -> None:
        """Writes a step to the log at DEBUG, as it happens. `message` and `facts` hold no content and no secret."""
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(f"[query %d, %.1f s left] {message}", self.number, self.remaining(), *facts)

    def record_step(self, name: str, began: float, seconds: float, **attributes: Any) -> None:
        """Records a step for the trace."""
        self.steps.append(Step(name, began, seconds, attributes))
