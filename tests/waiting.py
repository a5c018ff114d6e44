"""Waiting for what another thread or process does: for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

# Seconds. For what must end soon and would otherwise go on for good: no machine is so slow, and nothing waits for it.
FAR_TOO_LONG = 20.0


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    """Returns as soon as the condition holds. The time is a limit for what never comes, and says nothing of speed."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
