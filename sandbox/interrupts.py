"""Ctrl-C at a moment at which Python can be interrupted.

CPython raises KeyboardInterrupt wherever the main thread is. Within an import, the lock of the import then stays taken,
and whatever imports something later waits for it without end. Within a callback of the garbage collector, the
exception is printed and lost.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

_PAUSE = 0.05  # seconds until the next try


def install() -> None:
    """Makes SIGINT and SIGTERM raise KeyboardInterrupt in the main thread, as soon as it does not import anything."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _interrupt)
    sys.unraisablehook = _told


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _imports(frame):
        _try_again()
    else:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _try_again() -> None:
    # A timer's thread would need locks to start, which this thread may hold.
    signal.setitimer(signal.ITIMER_REAL, _PAUSE)


def _told(unraisable: Any) -> None:
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        _try_again()
    else:
        sys.__unraisablehook__(unraisable)
