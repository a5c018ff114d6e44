"""Ends HTTP exchanges whose time is up, whatever their server does.

A socket's timeout is about silence only: a server that sends a byte a minute never trips it.
"""

from __future__ import annotations

import math
import os
import threading
import time
from typing import Protocol


class Watched(Protocol):
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
        self._forget_all()
        if hasattr(os, "register_at_fork"):
            # A forked child has neither this thread nor the exchanges of the others, and may inherit a locked lock.
            os.register_at_fork(after_in_child=self._forget_all)

    def _forget_all(self) -> None:
        self._watched: dict[int, Watched] = {}
        self._wake = threading.Condition()
        self._next_look = math.inf
        self._thread: threading.Thread | None = None

    def watch(self, exchange: Watched) -> None:
        self._watched[id(exchange)] = exchange
        if exchange.until < self._next_look:
            with self._wake:
                self._next_look = min(self._next_look, exchange.until)
                self._wake.notify()
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="spcs-llm-watchdog", daemon=True)
                    self._thread.start()

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
                        exchange.cut_off()
