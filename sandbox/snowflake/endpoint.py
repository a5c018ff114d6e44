"""A public endpoint as the ingress sees it: who may call, in which state it is, within which limits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sandbox.snowflake.counters import Counters

PROTOCOLS = ("PREDICT", "MODEL_SERVING", "OPENAI")
TOKEN_KINDS = frozenset({"session", "pat", "key_pair", "oauth"})
UNAUTHENTICATED = ("redirect", "401", "403", "404")
STATES = ("running", "suspended", "no_hosts", "connect_error", "loading")
MODEL_SERVING_BODY_LIMIT = 1_000_000
IDLE_SECONDS = 90.0


@dataclass(frozen=True)
class Received:
    """One request as the container got it."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Endpoint:
    name: str
    upstream: str
    protocol: str = "PREDICT"
    accepts: frozenset[str] = TOKEN_KINDS
    roles: frozenset[str] | None = None
    unauthenticated: str = "redirect"
    body_limit: int | None = None
    idle_seconds: float = IDLE_SECONDS
    idle_answer: str = "504"
    host: str = ""
    provisioning: bool = False
    counters: Counters = field(default_factory=Counters)
    received: deque[Received] = field(default_factory=lambda: deque(maxlen=200))
    state: str = "running"
    resumes: int = 0
    service_state: Callable[[], str] = lambda: "running"
    served: Callable[[str, float, float], None] = lambda user, start, end: None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._refusals_left: int | None = None
        self._ready_at: float | None = None
        self._after: tuple[int | None, float | None] = (None, None)

    # -- the life of the service -------------------------------------------------------------------

    def set_state(self, state: str, *, refusals: int | None = None, seconds: float | None = None) -> None:
        """Put the service into a state; it runs again after a number of refused calls or of seconds.

        A suspended service starts to count with the first call, which resumes it; without `refusals` and
        `seconds` a state stays until the next `set_state`.
        """
        if state not in STATES:
            raise ValueError(f"state {state!r} is none of {STATES}")
        with self._lock:
            self.state = state
            self._after = (refusals, seconds)
            self._refusals_left = refusals
            self._ready_at = None

    def state_for_call(self, clock: Callable[[], float]) -> str:
        """The state that this call meets; counts the call towards being ready."""
        with self._lock:
            if self.state != "running":
                self._wake(clock)
                if not self._is_ready(clock):
                    if self._refusals_left is not None:
                        self._refusals_left -= 1
                    return self.state
                self.state = "running"
        state = self.service_state()
        self.resumes += state == "resumed"
        return "no_hosts" if state == "resumed" else state

    def forced_state(self, clock: Callable[[], float]) -> str:
        """The state that was set here, as a listing sees it: "no_hosts" for a suspended service that was woken."""
        with self._lock:
            if self.state == "running" or self._ready_at is None:
                return self.state
            if self._is_ready(clock):
                return "running"
            return "no_hosts" if self.state == "suspended" else self.state

    def _wake(self, clock: Callable[[], float]) -> None:
        refusals, seconds = self._after
        if self._ready_at is None:
            if self.state == "suspended":
                self.resumes += 1
            self._ready_at = clock() + (seconds or 0.0)
            self._refusals_left = refusals

    def _is_ready(self, clock: Callable[[], float]) -> bool:
        refusals, seconds = self._after
        if refusals is not None and (self._refusals_left or 0) <= 0:
            return True
        assert self._ready_at is not None
        return seconds is not None and clock() >= self._ready_at
