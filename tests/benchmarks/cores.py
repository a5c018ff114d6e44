"""Services on one core and the client on another, where the machine has two: neither takes the other's time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

ALLOWED: set[int] = set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set()


@contextlib.contextmanager
def a_core_for_services() -> Iterator[None]:
    """What is started within runs on the first core, and so do its children. Afterwards this process is off it."""
    if len(ALLOWED) < 2:
        yield
        return
    os.sched_setaffinity(0, {min(ALLOWED)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, ALLOWED - {min(ALLOWED)})


@contextlib.contextmanager
def all_cores_afterwards() -> Iterator[None]:
    """For what surrounds the use of `a_core_for_services`."""
    try:
        yield
    finally:
        if len(ALLOWED) > 1:
            os.sched_setaffinity(0, ALLOWED)
