"""Where faults are met: an endpoint with an injected clock, whose pauses take no time."""

from __future__ import annotations

import contextlib
import datetime as dt
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trustme

from spcs_llm.cost import BusyMeter
from spcs_llm.errors import SpcsError
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.limits import Limiter
from spcs_llm.http.request import HttpRequest
from spcs_llm.http.retry import RetryPolicy
from spcs_llm.http.transport import WATCHDOG, Transport
from spcs_llm.query_context import QueryContext
from spcs_llm.snowflake.ingress import error_from_response
from spcs_llm.urls import parse_base_url
from tests.clock import Clock
from tests.integration.raw_server import RawServer, Step

TOKEN = 'Snowflake Token="token-canary"'


class OneToken:
    """A token that is as good as any other: there is no second one."""

    def headers(self, call: QueryContext) -> Mapping[str, str]:
        return {"Authorization": TOKEN}

    def at_hand(self) -> Mapping[str, str] | None:
        return {"Authorization": TOKEN}

    def refused(self, headers: Mapping[str, str], error: SpcsError) -> bool:
        return False


class Pauses:
    """The real clock, moved on by what was slept. `slept` holds the pauses, which take no time."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._skipped = 0.0
        self._stands_at: float | None = None

    def __call__(self) -> float:
        now = time.monotonic() if self._stands_at is None else self._stands_at
        return now + self._skipped + sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def skip(self, seconds: float) -> None:
        self._skipped += seconds

    def stand_still(self) -> None:
        """From now on only what is slept or skipped passes: what a test sees does not depend on how fast it runs."""
        self._stands_at = time.monotonic()


class Arena:
    """Servers that end with the test, and the endpoint that asks one of them."""

    def __init__(self, monkeypatch: Any, folder: Path) -> None:
        self.environment = monkeypatch
        self.folder = folder
        self.undo = contextlib.ExitStack()
        self.pauses = Pauses()
        self.limiter = Limiter(4)
        self.metered = Clock()
        self.meter = BusyMeter(self.metered)
        self.server: RawServer | None = None
        self.elsewhere: RawServer | None = None
        self.made: list[Endpoint] = []

    def serve(self, *script: Step, **options: Any) -> str:
        """Starts the server that the script is for; returns its URL."""
        self.server = self.undo.enter_context(RawServer(*script, **options))
        return self.server.url

    @property
    def authority(self) -> trustme.CA:
        if not hasattr(self, "_authority"):
            self._authority = trustme.CA()
        return self._authority

    def trust(self) -> None:
        """Has the environment name the arena's certificate authority."""
        bundle = self.folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(bundle))
        self.environment.setenv("REQUESTS_CA_BUNDLE", str(bundle))

    def certificate(self, *names: str, **options: Any) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert(*(names or ("127.0.0.1", "localhost")), **options).configure_cert(context)
        return context

    def expired(self) -> ssl.SSLContext:
        return self.certificate(not_after=dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1))

    def transport(self, url: str, pool_size: int = 4) -> Transport:
        transport = Transport(parse_base_url(url), pool_size)
        self.undo.callback(transport.close)
        return transport

    def endpoint(
        self, url: str, *, pool_size: int = 4, idle_seconds: float = 20.0, cold_start: float = 60.0
    ) -> Endpoint:
        endpoint = Endpoint(
            self.transport(url, pool_size),
            OneToken(),
            error_from_response,
            limiter=self.limiter,
            meter=self.meter,
            retry=RetryPolicy(random=lambda: 1.0, cold_start=cold_start),
            idle_seconds=idle_seconds,
            clock=self.pauses,
            sleep=self.pauses.sleep,
        )
        self.made.append(endpoint)
        return endpoint

    def call(self, seconds: float = 600.0) -> QueryContext:
        return QueryContext(seconds, clock=self.pauses)

    def skip(self, seconds: float) -> None:
        """So many seconds pass at once, for queries and for the watchdog that looks after their exchanges.

        For a server to do when it has been reached, or a test when a stream is open: a time that runs out by itself
        may do so before, and show something else.
        """
        self.pauses.skip(seconds)  # first: a query whose exchange is cut has no time left
        for exchange in list(WATCHDOG._watched.values()):
            exchange.until -= seconds  # type: ignore[misc]  # an Exchange
            WATCHDOG.watch(exchange)

    def assert_nothing_is_held(self) -> None:
        with WATCHDOG._wake:  # what it is just cutting, it has given back after that
            pass
        assert self.limiter.in_flight == 0
        mark = self.meter.start()
        self.metered.now += 1.0
        assert self.meter.end(mark) == 1.0, "somebody else is still counted as in flight"


POST = HttpRequest("/predict", {"data": [[0, {"inputs": "prompt-canary of some length"}]]})
