"""Diagnoses that viewers start: one at a time for each service, for all who look at it, its steps shown as they end.

The page has nobody's token, so that the steps are those that need none. The macro *Diagnose an endpoint* takes all.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable

from spcs_llm.control.diagnosis import gateway_steps, network_steps
from spcs_llm.control.diagnosis.finding import Finding
from spcs_llm.control.diagnosis.runner import Step, findings_of
from spcs_llm.control.diagnosis.service_steps import ServiceSteps
from spcs_llm.control.diagnosis.subject import Subject
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.session import SqlSession
from spcs_llm.errors import ServiceBusy
from spcs_llm.http.network_errors import LLM_ENDPOINT_URL
from spcs_llm.urls import parse_base_url

STATE, LOG, DNS, TCP, TLS, OPEN = (
    "Service state",
    "Log",
    "DNS (endpoint)",
    "TCP (endpoint)",
    "TLS (endpoint)",
    "Request without a token",
)
_SECONDS, _LOG_LINES = 120.0, 20
_AT_ONCE, _KEPT, _PAUSE = 3, 50, 15.0
_FIREWALL = "Ask network administrators to let this DSS node connect to this host (port 443)."


@dataclass
class _Run:
    """A diagnosis under way, or done."""

    planned: list[str]
    began: float
    findings: list[Finding] = field(default_factory=list)
    done: bool = False


class Diagnoses:
    """The last diagnosis of each service. Thread-safe.

    Args:
        open_session: Opens a session.
        clock: Seconds that never go back.
    """

    def __init__(
        self, open_session: Callable[[], SqlSession], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open_session = open_session
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: dict[QualifiedName, _Run] = {}

    def start(self, service: QualifiedName, hosts: Iterable[str]) -> dict[str, Any]:
        """Starts a diagnosis, unless one is under way or has just ended.

        Args:
            service: The service.
            hosts: The host names of its public endpoints. The first is looked at.

        Returns:
            What is known so far.

        Raises:
            ServiceBusy: If too many are under way.
        """
        host = next(iter(hosts), None)
        with self._lock:
            run = self._runs.get(service)
            if run is None or (run.done and self._clock() - run.began >= _PAUSE):
                if sum(not other.done for other in self._runs.values()) >= _AT_ONCE:
                    raise ServiceBusy(
                        f"{_AT_ONCE} diagnoses are under way.", "Wait until one has ended.", place="webapp"
                    )
                while len(self._runs) >= _KEPT:
                    del self._runs[next(name for name, old in self._runs.items() if old.done)]
                steps = _steps(
                    Subject(_config(host), None, self._open_session, service=service, log_lines=_LOG_LINES),
                    host,
                )
                run = self._runs[service] = _Run([step.name for step in steps], self._clock())
                threading.Thread(
                    target=self._take, args=(run, steps), name="diagnosis-of-service", daemon=True
                ).start()
        return self.shown(service)

    def shown(self, service: QualifiedName) -> dict[str, Any]:
        """What the last diagnosis of a service has found so far."""
        with self._lock:
            run = self._runs.get(service)
            if run is None:
                return {"started": False}
            return {
                "started": True,
                "done": run.done,
                "planned": list(run.planned),
                "steps": [
                    {
                        "step": found.step,
                        "result": found.result,
                        "seen": found.seen,
                        "hint": found.hint,
                        "seconds": found.seconds,
                    }
                    for found in run.findings
                ],
            }

    def _take(self, run: _Run, steps: list[Step]) -> None:
        try:
            for finding in findings_of(steps, _SECONDS):
                with self._lock:
                    run.findings.append(finding)
        finally:
            with self._lock:
                run.done = True


def _config(host: str | None) -> dict[str, Any]:
    """A model's form for the service. No step of these sends its token, so that any text will do."""
    return {
        "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
        "programmaticAccessToken": {"token": secrets.token_hex(16)},
        "llmEndpointUrl": str(parse_base_url(host)) if host else "https://no-endpoint.snowflakecomputing.app",
    }


def _steps(subject: Subject, host: str | None) -> list[Step]:
    subject.read()
    service = ServiceSteps(subject)
    named = LLM_ENDPOINT_URL
    steps = [
        Step(STATE, service.state, (), 60, optional=True),
        Step(LOG, service.log, (), 30, optional=True),
    ]
    if host:
        steps += [
            Step(DNS, partial(network_steps.dns, subject, named), (), 15),
            Step(TCP, partial(network_steps.tcp, subject, named), (DNS,), 30, _FIREWALL),
            Step(TLS, partial(network_steps.tls, subject, named), (TCP,), 20, _FIREWALL),
            Step(OPEN, partial(gateway_steps.without_token, subject), (TLS,), 15, optional=True),
        ]
    return steps
