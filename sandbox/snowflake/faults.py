"""Faults that are armed ahead: "the next N calls to X do Y".

This module decides which request meets which fault; what each fault does is in `fault_kinds.py`.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from sandbox.snowflake.counters import Counters
from sandbox.snowflake.fault_kinds import KINDS, Call, Site
from sandbox.snowflake.wire import App, Receive, Scope, Send


@dataclass
class Fault:
    """One armed fault.

    `where` is "account", an endpoint's name or "*"; `on` narrows it to an operation of the account or to
    the beginning of a path of an endpoint. The first `skip` matching requests pass, the next `times`
    (None: all) are hit, each with the probability `chance`; `reused` asks for a connection that has (or has
    not) served a request before.
    """

    kind: str
    where: str = "*"
    on: str | None = None
    times: int | None = 1
    skip: int = 0
    chance: float = 1.0
    reused: bool | None = None
    params: dict[str, Any] = field(default_factory=dict)
    hits: int = 0

    @property
    def spent(self) -> bool:
        return self.times is not None and self.hits >= self.times

    def matches(self, where: str, on: str, reused: bool) -> bool:
        if self.spent or self.where not in ("*", where):
            return False
        if self.on is not None and not on.startswith(self.on):
            return False
        return self.reused is None or self.reused == reused


class Faults:
    """The queue of one sandbox, in the order of arming; `seed` makes `chance` repeatable."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._armed: list[Fault] = []
        self.random = random.Random(seed)

    def arm(
        self,
        kind: str,
        where: str = "*",
        *,
        on: str | None = None,
        times: int | None = 1,
        skip: int = 0,
        chance: float = 1.0,
        reused: bool | None = None,
        **params: Any,
    ) -> Fault:
        """Arm a fault and return it (its `hits` count up); ValueError for an unknown kind."""
        if kind not in KINDS:
            raise ValueError(f"unknown fault {kind!r}; known are {', '.join(sorted(KINDS))}")
        fault = Fault(kind, where, on, times, skip, chance, reused, params)
        with self._lock:
            self._armed.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._armed.clear()

    def listed(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(fault) for fault in self._armed]

    def take(self, where: str, on: str, *, reused: bool, at_connect: bool = False) -> Fault | None:
        """The fault that this request (or, `at_connect`, this connection) meets, already counted."""
        with self._lock:
            for fault in self._armed:
                if (fault.kind == "refuse_connection") != at_connect or not fault.matches(where, on, reused):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                if fault.chance < 1 and self.random.random() >= fault.chance:
                    continue
                fault.hits += 1
                return fault
        return None


def with_faults(
    app: App, faults: Faults, site: Site, operation: Callable[[str], str], counters: Counters
) -> App:
    """Wrap an application so that armed faults strike before it sees the request."""

    async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
        counters.add("requests")
        fault = faults.take(site.name, operation(scope["path"]), reused=scope["wire"].reused)
        if fault is None:
            await app(scope, receive, send)
            return
        counters.add("faults")
        call = Call(app, scope, receive, send, scope["wire"], fault.params, site)
        await KINDS[fault.kind](call)

    return faulty
