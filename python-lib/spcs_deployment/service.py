"""A service: its state, its public endpoint, and the statements that operate it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spcs_deployment.problems import DeploymentError
from spcs_deployment.sql import Session, full_name, identifier, rows, run
from spcs_llm.control import statements
from spcs_llm.control.identifiers import quoted
from spcs_llm.control.services import (
    GIVEN_UP,
    Container,
    Endpoint,
    Service,
    read_containers,
    read_endpoints,
    read_services,
)
from spcs_llm.control.snowpark_session import SnowparkSession
from spcs_llm.control.start_failures import StartFailure, start_failures

MODEL_SERVER = "model-inference"  # the container of a service of the registry


@dataclass(frozen=True)
class State:
    """The state of a service.

    Attributes:
        phase: "absent", "suspended", "starting", "failed" or "ready".
        detail: The same for the reader, in Snowflake's words.
        host: The host of the public endpoint when the service is ready.
        troubled: The containers that have given up, when the service has failed.
    """

    phase: str
    detail: str
    host: str | None = None
    troubled: tuple[Container, ...] = ()


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
    found = named_service(session, service)
    if found is None:
        return State("absent", "not created yet: Snowflake is building the image or preparing the model")
    if found.is_suspended:
        return State("suspended", found.status)
    name = full_name(service)
    containers = read_containers(
        rows(session, statements.show_containers(name), f"reading the containers of {service}")
    )
    enough = found.has_enough(containers)
    troubled = [container for container in containers if container.has_given_up]
    if found.status in GIVEN_UP or (troubled and not enough):
        detail = "; ".join(map(str, troubled)) or found.status
        return State("failed", detail, troubled=tuple(troubled))
    waiting = [container for container in containers if not container.is_ready]
    if not enough and (waiting or not containers):
        return State("starting", "; ".join(map(str, waiting)) or found.status)
    shown = rows(session, statements.show_endpoints(name), f"reading the endpoints of {service}")
    host = public_host(read_endpoints(shown), service, endpoint)
    if host is None:
        return State("starting", "the containers are READY; Snowflake is creating the endpoint's host name")
    return State("ready", "READY", host)


def named_service(session: Session, service: str) -> Service | None:
    """The service with this full name, or None."""
    name = full_name(service)
    shown = rows(session, statements.show_named_service(name), f"looking for service {service}")
    found = read_services(shown, name.database, name.schema)
    return next((candidate for candidate in found if candidate.name == name), None)


def public_host(endpoints: Iterable[Endpoint], service: str, name: str | None = None) -> str | None:
    """Finds the host of the service's public endpoint. Snowflake's model server names its endpoint `inference`.

    Args:
        endpoints: The service's endpoints.
        service: The service's name, for the error.
        name: The endpoint to choose, where there are several.

    Returns:
        The host, or None while Snowflake is creating it.

    Raises:
        DeploymentError: If there is no public endpoint, or several and none is chosen.
    """
    public = {endpoint.name: endpoint.host for endpoint in endpoints if endpoint.is_public}
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
    return public[wanted]


def suspend(session: Session, service: str) -> None:
    """Suspends a service."""
    run(session, statements.suspend(full_name(service)), f"suspending service {service}")


def resume(session: Session, service: str) -> None:
    """Resumes a service."""
    run(session, statements.resume(full_name(service)), f"resuming service {service}")


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
    name = full_name(service)
    role = identifier(role, "CALLER_ROLE")
    notes = []
    database = quoted(name.database)
    for kind, place in (("DATABASE", database), ("SCHEMA", f"{database}.{quoted(name.schema)}")):
        try:
            run(session, f"GRANT USAGE ON {kind} {place} TO ROLE {role}", f"granting USAGE on {place}")
        except DeploymentError as error:
            if "privilege" not in error.message:
                raise
            notes.append(
                f"USAGE on {kind.lower()} {place}. If {role} does not have it yet, ask a Snowflake administrator to "
                "run resource/sql/grant_caller.sql."
            )
    run(
        session,
        f"GRANT SERVICE ROLE {service}!ALL_ENDPOINTS_USAGE TO ROLE {role}",
        f"granting the endpoints of {service} to role {role}",
    )
    return notes


def failures(session: Session, service: str, containers: Iterable[Container]) -> list[StartFailure]:
    """What the logs of containers say of why they ended."""
    return start_failures(SnowparkSession(session), full_name(service), containers)


def log_statement(service: str, containers: Iterable[Container]) -> str:
    """The statement that reads the end of the log of the first of these containers, before its last restart."""
    found = next(iter(containers), None)
    if found is None:
        return statements.logs(full_name(service), MODEL_SERVER)
    return statements.logs(
        full_name(service), found.name, instance=found.instance_id, before_restart=found.restarts > 0
    )
