"""A service: its state, its public endpoint, and the statements that operate it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from spcs_deployment.problems import DeploymentError
from spcs_deployment.sql import Session, identifier, named, parts, rows, run

_HOST = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+", re.IGNORECASE)
_GIVEN_UP = {"FAILED", "INTERNAL_ERROR", "DONE", "DELETING", "DELETED"}
_RESTARTS_THAT_ARE_A_CRASH_LOOP = 3


@dataclass(frozen=True)
class State:
    """phase: "absent", "suspended", "starting", "failed" or "ready". host: the endpoint's, when ready."""

    phase: str
    detail: str
    host: str | None = None


def state(session: Session, service: str, endpoint: str | None = None) -> State:
    """What SHOW SERVICES, CONTAINERS and ENDPOINTS say together.

    `service` is a full name. Raises DeploymentError when the endpoint can never be called from DSS.
    """
    row = named_service(session, service)
    if row is None:
        return State("absent", "not created yet: the image is being built, or the model is being prepared")
    status = str(row["status"]).upper()
    if status in ("SUSPENDED", "SUSPENDING"):
        return State("suspended", status)
    containers = _show(session, "SERVICE CONTAINERS", service)
    troubled = [container for container in containers if _given_up(container)]
    if status in _GIVEN_UP or troubled:
        return State("failed", "; ".join(_read_reply(container) for container in troubled) or status)
    waiting = [container for container in containers if str(container["status"]).upper() != "READY"]
    if waiting or not containers:
        return State("starting", "; ".join(_read_reply(container) for container in waiting) or status)
    host = public_host(_show(session, "ENDPOINTS", service), service, endpoint)
    if host is None:
        return State("starting", "the containers are READY, the endpoint's host name is being made")
    return State("ready", "READY", host)


def named_service(session: Session, service: str) -> dict[str, Any] | None:
    database, schema, name = parts(service)
    return named(
        session, "SERVICES", name, f"looking for service {service}", f" IN SCHEMA {database}.{schema}"
    )


def public_host(endpoints: list[dict[str, Any]], service: str, name: str | None = None) -> str | None:
    """The host of the service's public endpoint; None while Snowflake is making it.

    The model server calls its own `inference`. Raises DeploymentError for none, or several without a choice.
    """
    public = {
        str(row["name"]): str(row.get("ingress_url") or "")
        for row in endpoints
        if str(row.get("is_public")).lower() == "true"
    }
    if not public:
        raise DeploymentError(
            f"Service {service} has no public endpoint, so DSS cannot reach it.",
            "Drop it with the notebook's last cell, grant the deploying role BIND SERVICE ENDPOINT on the "
            "account, and run the notebook again.",
        )
    wanted = name or ("inference" if "inference" in public else None)
    if wanted is None and len(public) == 1:
        wanted = next(iter(public))
    if wanted not in public:
        raise DeploymentError(
            f"Service {service} has several public endpoints ({', '.join(public)})"
            + (f", none of them {name}." if name else "."),
            "Say which one serves the model: ENDPOINT in the parameter cell.",
        )
    host = public[wanted].strip()
    return host if _HOST.fullmatch(host) else None


def suspend(session: Session, service: str) -> None:
    run(session, f"ALTER SERVICE {service} SUSPEND", f"suspending service {service}")


def resume(session: Session, service: str) -> None:
    run(session, f"ALTER SERVICE {service} RESUME", f"resuming service {service}")


def drop(session: Session, service: str) -> None:
    run(session, f"DROP SERVICE IF EXISTS {service}", f"dropping service {service}")


def grant(session: Session, service: str, role: str) -> list[str]:
    """Let a role call the service's endpoints; what could not be granted here, in sentences.

    The service role is the deployer's to give. USAGE of database and schema may belong to an administrator,
    who gave it in setup.sql.
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
                f"USAGE on {kind.lower()} {name}: its owner gives it (resource/sql/grant_caller.sql)."
            )
    run(
        session,
        f"GRANT SERVICE ROLE {service}!ALL_ENDPOINTS_USAGE TO ROLE {role}",
        f"granting the endpoints of {service} to role {role}",
    )
    return notes


def log_statement(service: str, container: str = "model-inference") -> str:
    return f"SELECT SYSTEM$GET_SERVICE_LOGS('{service}', '0', '{container}', 200)"


def _show(session: Session, what: str, service: str) -> list[dict[str, Any]]:
    return rows(session, f"SHOW {what} IN SERVICE {service}", f"reading the {what.lower()} of {service}")


def _given_up(container: dict[str, Any]) -> bool:
    if str(container["status"]).upper() in _GIVEN_UP:
        return True
    restarts = int(container.get("restart_count") or 0)
    return str(container["status"]).upper() != "READY" and restarts >= _RESTARTS_THAT_ARE_A_CRASH_LOOP


def _read_reply(container: dict[str, Any]) -> str:
    text = f"{container['container_name']} is {container['status']}"
    if container.get("message"):
        text += f": {container['message']}"
    if int(container.get("restart_count") or 0):
        text += f" (restarted {container['restart_count']} times)"
    return text
