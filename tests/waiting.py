"""Waiting for what another thread or process does: for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

# Seconds. For what must end soon and would otherwise go on for good: no machine is so slow, and nothing waits for it.
FAR_TOO_LONG = 20.0


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    """Returns as soon as the condition holds. The time is a limit for what never comes, and says nothing of speed."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def longer_each_time(seconds: float) -> Iterator[float]:
    """How long something shall take, for a test that has to let real time run out: more if that was not enough.

    A machine that stands still for a moment spoils what was arranged within a short time, and not within a long one:
    a test that goes on with the next of these has looked twice. The first is what is nearly always enough.
    """
    for factor in (1, 5, 25):
        yield seconds * factor
