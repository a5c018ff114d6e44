"""A service: its state, its public endpoint, and the statements that operate it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from spcs_deployment.problems import DeploymentError
from spcs_deployment.sql import Session, identifier, named, parts, rows, run

_HOST = re.compile(r"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,12}", re.IGNORECASE)
_GIVEN_UP = {"FAILED", "INTERNAL_ERROR", "DONE", "DELETING", "DELETED"}
_RESTARTS_THAT_ARE_A_CRASH_LOOP = 3


@dataclass(frozen=True)
class State:
    """The state of a service.

    Attributes:
        phase: "absent", "suspended", "starting", "failed" or "ready".
        detail: The same for the reader, in Snowflake's words.
        host: The host of the public endpoint when the service is ready.
    """

    phase: str
    detail: str
    host: str | None = None


def state(session: Session, service: str, endpoint: str | None = None) -> State:
    """The state that SHOW SERVICES, SHOW SERVICE CONTAINERS and SHOW ENDPOINTS describe together.

    Args:
        session: Runs the statements.
        service: The full name of the service.
        endpoint: The name of its public endpoint, where it has several.

    Returns:
        The state.

    Raises:
        DeploymentError: If the endpoint can never be called from DSS.
    """
    row = named_service(session, service)
    if row is None:
        return State("absent", "not created yet: Snowflake is building the image or preparing the model")
    status = str(row["status"]).upper()
    if status in ("SUSPENDED", "SUSPENDING"):
        return State("suspended", status)
    # A service without an instance yet is one row whose columns of the container are NULL.
    containers = [row for row in _show(session, "SERVICE CONTAINERS", service) if row.get("container_name")]
    troubled = [container for container in containers if _given_up(container)]
    if status in _GIVEN_UP or troubled:
        return State("failed", "; ".join(_description(container) for container in troubled) or status)
    waiting = [container for container in containers if str(container["status"]).upper() != "READY"]
    if waiting or not containers:
        return State("starting", "; ".join(_description(container) for container in waiting) or status)
    host = public_host(_show(session, "ENDPOINTS", service), service, endpoint)
    if host is None:
        return State("starting", "the containers are READY; Snowflake is creating the endpoint's host name")
    return State("ready", "READY", host)


def named_service(session: Session, service: str) -> dict[str, Any] | None:
    """The row of SHOW SERVICES with this full name, or None."""
    database, schema, name = parts(service)
    return named(
        session, "SERVICES", name, f"looking for service {service}", f" IN SCHEMA {database}.{schema}"
    )


def public_host(endpoints: list[dict[str, Any]], service: str, name: str | None = None) -> str | None:
    """Finds the host of the service's public endpoint. Snowflake's model server names its endpoint `inference`.

    Args:
        endpoints: The rows of SHOW ENDPOINTS.
        service: The service's name, for the error.
        name: The endpoint to choose, where there are several.

    Returns:
        The host, or None while Snowflake is creating it.

    Raises:
        DeploymentError: If there is no public endpoint, or several and none is chosen.
    """
    public = {
        str(row["name"]): str(row.get("ingress_url") or "")
        for row in endpoints
        if str(row.get("is_public")).lower() == "true"
    }
    if not public:
        raise DeploymentError(
            f"Service {service} has no public endpoint, so DSS cannot reach it.",
            "Ask a Snowflake administrator to grant the deployer's role BIND SERVICE ENDPOINT on the account "
            "(resource/sql/setup.sql), drop the service with the last cell, and run the notebook again.",
        )
    wanted = name or ("inference" if "inference" in public else None)
    if wanted is None and len(public) == 1:
        wanted = next(iter(public))
    if wanted not in public:
        raise DeploymentError(
            f"Service {service} has several public endpoints ({', '.join(public)})"
            + (f", none of them {name}." if name else "."),
            "Enter the one that serves the model in ENDPOINT in the parameter cell.",
        )
    host = public[wanted].strip()
    return host if _HOST.fullmatch(host) else None


def suspend(session: Session, service: str) -> None:
    """Suspends a service."""
    run(session, f"ALTER SERVICE {service} SUSPEND", f"suspending service {service}")


def resume(session: Session, service: str) -> None:
    """Resumes a service."""
    run(session, f"ALTER SERVICE {service} RESUME", f"resuming service {service}")


def drop(session: Session, service: str) -> None:
    """Drops a service if it exists."""
    run(session, f"DROP SERVICE IF EXISTS {service}", f"dropping service {service}")


def grant(session: Session, service: str, role: str) -> list[str]:
    """Allows a role to call the service's endpoints.

    The deployer owns the service and can grant its service role. USAGE on the database and the schema is granted by
    setup.sql, whose roles own them.

    Args:
        session: Runs the statements.
        service: The full name of the service.
        role: The role that will call it.

    Returns:
        What this session may not grant, as sentences.

    Raises:
        DeploymentError: If a grant fails for another reason.
    """
    database, schema, _ = parts(service)
    role = identifier(role, "CALLER_ROLE")
    notes = []
    for kind, name in (("DATABASE", database), ("SCHEMA", f"{database}.{schema}")):
        try:
            run(session, f"GRANT USAGE ON {kind} {name} TO ROLE {role}", f"granting USAGE on {name}")
        except DeploymentError as error:
            if "privilege" not in error.message:
                raise
            notes.append(
                f"USAGE on {kind.lower()} {name}. If {role} does not have it yet, ask a Snowflake administrator to run "
                "resource/sql/grant_caller.sql."
            )
    run(
        session,
        f"GRANT SERVICE ROLE {service}!ALL_ENDPOINTS_USAGE TO ROLE {role}",
        f"granting the endpoints of {service} to role {role}",
    )
    return notes


def log_statement(service: str, container: str = "model-inference") -> str:
    """The statement that reads the last lines of a container's log."""
    return f"SELECT SYSTEM$GET_SERVICE_LOGS('{service}', '0', '{container}', 200)"


def _show(session: Session, what: str, service: str) -> list[dict[str, Any]]:
    return rows(session, f"SHOW {what} IN SERVICE {service}", f"reading the {what.lower()} of {service}")


def _given_up(container: dict[str, Any]) -> bool:
    if str(container["status"]).upper() in _GIVEN_UP:
        return True
    restarts = int(container.get("restart_count") or 0)
    return str(container["status"]).upper() != "READY" and restarts >= _RESTARTS_THAT_ARE_A_CRASH_LOOP


def _description(container: dict[str, Any]) -> str:
    text = f"{container['container_name']} is {container['status']}"
    if container.get("message"):
        text += f": {container['message']}"
    if int(container.get("restart_count") or 0):
        text += f" (restarted {container['restart_count']} times)"
    return text
