"""Diagnoses that viewers start, each in a thread, with their steps shown as they end.

What the webapp's connection shows is looked up once for all who look at a service. What a viewer's own query shows is
that viewer's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Callable

from spcs_llm.control.diagnosis.finding import Finding
from spcs_llm.control.diagnosis.runner import Step, findings_of
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.errors import ServiceBusy

AT_ONCE, _KEPT, _PAUSE = 6, 100, 15.0
_NONE: Mapping[str, float] = MappingProxyType({})


@dataclass
class _Run:
    """A diagnosis under way, or done."""

    planned: list[str]
    began: float
    findings: list[Finding] = field(default_factory=list)
    done: bool = False


class Diagnoses:
    """The last diagnosis of each service, and of each viewer's model for it. Thread-safe.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: dict[tuple[QualifiedName, str | None], _Run] = {}

    def start(
        self,
        service: QualifiedName,
        user: str | None,
        steps: Callable[[], Sequence[Step]],
        seconds: float,
        taken: Mapping[str, float] = _NONE,
    ) -> None:
        """Starts a diagnosis, unless one is under way, or one that is for all has just ended.

        Args:
            service: The service.
            user: The viewer whose diagnosis it is; None for one that is for all.
            steps: Makes the steps.
            seconds: The longest that they may take.
            taken: How long steps took, by their names, where that is not the time until they ended.

        Raises:
            ServiceBusy: If too many are under way.
        """
        with self._lock:
            run = self._runs.get((service, user))
            pause = _PAUSE if user is None else 0.0
            if run is not None and (not run.done or self._clock() - run.began < pause):
                return
            if sum(not other.done for other in self._runs.values()) >= AT_ONCE:
                raise ServiceBusy(
                    f"{AT_ONCE} diagnoses are under way.", "Wait until one has ended.", place="webapp"
                )
            while len(self._runs) >= _KEPT:
                del self._runs[next(key for key, old in self._runs.items() if old.done)]
            planned = steps()
            run = self._runs[service, user] = _Run([step.name for step in planned], self._clock())
        threading.Thread(
            target=self._take, args=(run, planned, seconds, taken), name="diagnosis-of-service", daemon=True
        ).start()

    def forget(self, service: QualifiedName, user: str) -> None:
        """Forgets a viewer's own diagnosis that has ended: the next one is without a query."""
        with self._lock:
            run = self._runs.get((service, user))
            if run is not None and run.done:
                del self._runs[service, user]

    def shown(self, service: QualifiedName, user: str | None) -> dict[str, Any] | None:
        """What a diagnosis has found so far; None if there is none.

        Args:
            service: The service.
            user: The viewer whose diagnosis it is; None for the one that is for all.

        Returns:
            Plain data.
        """
        with self._lock:
            run = self._runs.get((service, user))
            if run is None:
                return None
            return {
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

    def _take(self, run: _Run, steps: Sequence[Step], seconds: float, taken: Mapping[str, float]) -> None:
        try:
            for finding in findings_of(steps, seconds):
                known = taken.get(finding.step, finding.seconds)
                with self._lock:
                    run.findings.append(replace(finding, seconds=known))
        finally:
            with self._lock:
                run.done = True
