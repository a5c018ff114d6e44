"""What happens when somebody aborts the recipe: it ends what it has started, if it is told before it is killed.

DSS has no hook for it, and how it ends the process is not documented. A process that is killed at once leaves its
inference job running, which the next run takes over.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ends_on_termination() -> Iterator[None]:
    """While it lasts, SIGTERM raises SystemExit in the main thread, so that everything is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit("The recipe was aborted.")
