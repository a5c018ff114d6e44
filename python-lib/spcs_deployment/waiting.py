"""Waits for services and reports what they are doing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from spcs_deployment.problems import DeploymentError, explained
from spcs_deployment.service import State, failures, log_statement, resume, state
from spcs_deployment.sql import Session

Report = Callable[[str], Any]


def wait_until_ready(
    session: Session,
    services: Mapping[str, Any],
    *,
    endpoint: str | None = None,
    minutes: float = 45.0,
    poll_seconds: float = 10.0,
    report: Report = print,
    resume_suspended: bool = False,
    sleep: Callable[[float], Any] = time.sleep,  # noqa: TID251 - a person waits here, no query does
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, str]:
    """Waits until all services are ready.

    Args:
        session: Runs the statements.
        services: The services by their full names, each with the job that creates it, or None if it existed before.
        endpoint: The name of the public endpoint, where a service has several.
        minutes: How long to wait.
        poll_seconds: The pause between two looks.
        report: Is told what has changed.
        resume_suspended: Whether to resume a service that Snowflake suspends meanwhile (MIN_INSTANCES = 0). If not,
            that is an error.
        sleep: Makes the pauses.
        clock: Seconds that never go back.

    Returns:
        The host of each service, by its full name.

    Raises:
        DeploymentError: If a service has failed, or the time is up.
    """
    began = clock()
    hosts: dict[str, str] = {}
    told: dict[str, str] = {}
    while True:
        for service in (name for name in services if name not in hosts):
            found = state(session, service, endpoint)
            if found.phase == "suspended" and resume_suspended:
                if found.detail == "SUSPENDED":
                    resume(session, service)
            else:
                _refuse_failure(session, service, found, services[service])
            if found.detail != told.get(service):
                told[service] = found.detail
                report(f"{clock() - began:6.0f} s  {service}: {found.detail}")
            if found.host:
                hosts[service] = found.host
        if len(hosts) == len(services):
            return {service: hosts[service] for service in services}
        if clock() - began > minutes * 60:
            late = "; ".join(f"{name}: {told[name]}" for name in sorted(services.keys() - hosts.keys()))
            raise DeploymentError(
                f"Not ready after {minutes:.0f} minutes: {late}.",
                "Nothing is lost: run this cell again to keep waiting. A full pool or a large model takes longer.",
            )
        sleep(poll_seconds)


def _refuse_failure(session: Session, service: str, found: State, job: Any) -> None:
    if found.phase == "failed":
        told = failures(session, service, found.troubled)
        reasons = "".join(f" Its log says that {failure.reason}." for failure in told)
        hints = [failure.hint for failure in told] or [
            f"Read its log: {log_statement(service, found.troubled)}. Correct the cause."
        ]
        if any("--" in hint for hint in hints):
            hints.append("The arguments of vLLM are engine_args of the model (CatalogueModel).")
        raise DeploymentError(
            f"Service {service} has failed: {found.detail}.{reasons}",
            f"{' '.join(hints)} Then drop the service with the last cell, and run the notebook again.",
        )
    if found.phase == "suspended":
        raise DeploymentError(
            f"Service {service} was suspended while the notebook was waiting for it.",
            "Run the notebook again from the top.",
        )
    if found.phase == "absent" and (job is None or job.is_done()):
        if job is not None:
            with explained(f"creating service {service}"):
                job.result()
        raise DeploymentError(
            f"Service {service} was dropped, or never created.", "Run the notebook again from the top."
        )
