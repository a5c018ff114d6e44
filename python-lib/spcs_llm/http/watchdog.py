"""Ends HTTP exchanges whose time is up, whatever their server does.

A socket's timeout is about silence only: a server that sends a byte a minute never trips it.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Protocol

from spcs_llm.errors import SpcsError
from spcs_llm.server_text.log_lines import one_line_logger
from spcs_llm.sharing.after_fork import renew_in_child

logger = one_line_logger(__name__)


class Watched(Protocol):
    """What the watchdog ends when its time is up."""

    @property
    def until(self) -> float:
        """When to cut it, on the monotonic clock."""

    def cut_off(self) -> None:
        """Ends it, from another thread than its own; must neither wait nor raise."""


class Watchdog:
    """One thread, started when first needed, that sleeps until the earliest of what it watches must end.

    Watching and releasing take no lock in the usual case: both change a dict by one atomic step, and only what must
    end sooner than all the rest wakes the thread.
    """

    def __init__(self) -> None:
        self.renew_after_fork()
        renew_in_child(self)

    def renew_after_fork(self) -> None:
        """A forked child has neither this thread nor the exchanges of the others, and may inherit a locked lock."""
        self._watched: dict[int, Watched] = {}
        self._wake = threading.Condition()
        self._next_look = math.inf
        self._thread: threading.Thread | None = None

    def watch(self, exchange: Watched) -> None:
        """Cuts `exchange` when its time is up, unless it is released before.

        Raises:
            SpcsError: when the process cannot start the thread that does so.
        """
        self._watched[id(exchange)] = exchange
        if exchange.until < self._next_look:
            with self._wake:
                self._next_look = min(self._next_look, exchange.until)
                self._wake.notify()
                if self._thread is None or not self._thread.is_alive():
                    self._start(exchange)

    def _start(self, exchange: Watched) -> None:
        thread = threading.Thread(target=self._run, name="spcs-llm-watchdog", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self.release(exchange)
            self._next_look = math.inf  # or the next exchange would not try again
            raise SpcsError(
                "The process cannot start another thread, which the time limit of a query needs.",
                "Ask a DSS administrator to raise the limit of processes (ulimit -u), or lower the concurrency.",
            ) from None
        self._thread = thread

    def release(self, exchange: Watched) -> bool:
        """Whether it was still watched: what was not may be cut at this moment, and so may its connection."""
        return self._watched.pop(id(exchange), None) is not None

    def _run(self) -> None:
        while True:
            with self._wake:
                while (pause := self._next_look - time.monotonic()) > 0:
                    self._wake.wait(min(pause, threading.TIMEOUT_MAX))
                self._next_look = math.inf  # before the look: none may slip between it and the sleep
                now = time.monotonic()
                for exchange in list(self._watched.values()):
                    if exchange.until > now:
                        self._next_look = min(self._next_look, exchange.until)
                    elif self.release(exchange):
                        _cut_off(exchange)


def _cut_off(exchange: Watched) -> None:
    try:
        exchange.cut_off()
    except Exception as error:  # noqa: BLE001 - without this thread no query's time limit would hold any more
        logger.error("A request whose time was up could not be ended (%s).", type(error).__name__)
