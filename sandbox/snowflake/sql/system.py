"""SYSTEM$ functions about services, and the functions of a service itself (`service!SPCS_...`).

Arguments, privileges and limits: Snowflake docs, the page of each function. SYSTEM$WAIT is documented too; it makes a
statement that takes as long as one likes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sandbox.snowflake.catalog import Service
from sandbox.snowflake.sql.errors import SqlError, invalid_argument, unknown_function
from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.run import Run, zulu
from sandbox.snowflake.sql.tokens import tokens_of

LOG_BYTES = 100_000
ENDED = ("DONE", "FAILED", "CANCELLED", "INTERNAL_ERROR")


def _named(run: Run, text: object, *privileges: str) -> Service:
    """The service that a string names; raises 002003, and 003001 without one of the privileges."""
    reader = Reader(tokens_of(str(text)))
    parts = reader.qualified()
    reader.end()
    service = run.service(parts)
    run.require(service.securable, "service", service.name, *privileges)
    return service


def service_logs(
    run: Run,
    name: object,
    instance: object,
    container: object,
    lines: object = None,
    previous: object = False,
    since: object = "",
    timestamps: object = False,
) -> str:
    """The end of a container's log. The last two are arguments that Snowflake's command-line client 3.30 sends."""
    if since or timestamps:
        raise invalid_argument("The lines of the sandbox's logs have no times.")
    with run.world.lock:
        service = _named(run, name, "MONITOR")
        numbers = [str(found.number) for found in service.instances] if service.runs(run.now) else []
        if str(instance) not in numbers:
            raise invalid_argument(f"Service {service.name} has no instance with id {instance}.")
        if container not in service.images:
            raise invalid_argument(f"Service {service.name} has no container with name {container}.")
        main = next(iter(service.images))
        if previous and not service.previous_log:
            raise invalid_argument(f"Container {container} has no previous instance.")
        found = (
            service.log(run.now, previous=bool(previous)) if container == main else ["INFO: proxy started"]
        )
    if lines is not None:
        found = found[-int(str(lines)) :]
    return "\n".join(found).encode()[-LOG_BYTES:].decode(errors="ignore")


def service_status(run: Run, name: object, timeout: object = 0) -> str:
    with run.world.lock:
        service = _named(run, name, "MONITOR")
        rows = [
            {
                "status": state.status, "message": state.message, "containerName": state.name,
                "instanceId": str(instance.number), "serviceName": service.name, "image": state.image,
                "restartCount": state.restart_count, "startTime": zulu(instance.started_on) or "",
            }
            for instance in service.instances
            for state in service.containers(instance, run.now)
        ]  # fmt: skip
    return json.dumps(rows)


def wait_for_services(run: Run, seconds: object, *names: object) -> str:
    """OK when all are ready; an error when one has failed, or when the time has passed."""
    with run.world.lock:
        services = [_named(run, name, "MONITOR") for name in names]

    def ready() -> bool:
        failed = [s.name for s in services if s.shown_status(run.now) in ("FAILED", "INTERNAL_ERROR")]
        if failed:
            raise SqlError("395018", "58030", f"Service {failed[0]} has failed.")
        return all(_is_ready(service, run.now) for service in services)

    if not run.wait_until(ready, run.began + float(str(seconds))):
        raise SqlError("395019", "58030", f"Timed out after {seconds} seconds waiting for services.")
    return "OK"


def _is_ready(service: Service, now: float) -> bool:
    if service.is_job:
        return service.shown_status(now) in ENDED
    return bool(service.instances) and all(
        service.instance_status(instance, now) == "READY" for instance in service.instances
    )


def wait(run: Run, amount: object, unit: object = "SECONDS") -> str:
    factor = {"MILLISECONDS": 0.001, "SECONDS": 1, "MINUTES": 60, "HOURS": 3600}.get(str(unit).upper())
    if factor is None:
        raise invalid_argument(f"Invalid time unit {unit}.")
    run.wait_until(lambda: False, run.began + float(str(amount)) * factor)
    return f"waited {amount} {str(unit).lower()}"


def allowlist(run: Run) -> str:
    """Hosts and ports that a client must reach; the wildcard host of public endpoints is in a documented sample."""
    identity = run.catalog.identity
    host = f"{identity.organization}-{identity.account}.snowflakecomputing.com".lower()
    entries: list[dict[str, object]] = [
        {
            "type": "SNOWFLAKE_DEPLOYMENT",
            "host": f"{identity.locator.lower()}.snowflakecomputing.com",
            "port": 443,
        },
        {"type": "SNOWFLAKE_DEPLOYMENT_REGIONLESS", "host": host, "port": 443},
        {"type": "APP_SERVICE_PUBLIC_WILDCARD", "host": "*.snowflakecomputing.app", "port": 443},
        {"type": "OCSP_CACHE", "host": "ocsp.snowflakecomputing.com", "port": 80},
    ]
    return json.dumps(entries)


def cancel_job(run: Run, service: Service) -> str:
    run.require(service.securable, "service", service.name, "OPERATE")
    if not service.is_job:
        raise invalid_argument(f"Service {service.name} is not a job service.")
    if service.status not in ENDED:
        service.status = "CANCELLED"
        service.empty(run.now)
    return f"Job {service.name} cancelled."


def wait_for(run: Run, service: Service, status: object, seconds: object) -> str:
    wanted = str(status).upper()
    if not run.wait_until(lambda: service.shown_status(run.now) == wanted, run.began + float(str(seconds))):
        raise SqlError("395019", "58030", f"Timed out after {seconds} seconds waiting for {service.name}.")
    return f"Service {service.name} is {wanted}."


def service_function(run: Run, name: str, values: list[Any]) -> object:
    """`service!SPCS_...(...)`; functions of a model are not run here."""
    owner, _, function = name.partition("!")
    with run.world.lock:
        service = run.service(tuple(owner.split(".")))
    if function == "SPCS_CANCEL_JOB":
        with run.world.lock:
            return cancel_job(run, service)
    if function == "SPCS_WAIT_FOR":
        return wait_for(run, service, *values)
    raise unknown_function(name)


SYSTEM: dict[str, Callable[..., Any]] = {
    "SYSTEM$GET_SERVICE_LOGS": service_logs,
    "SYSTEM$GET_SERVICE_STATUS": service_status,
    "SYSTEM$WAIT_FOR_SERVICES": wait_for_services,
    "SYSTEM$WAIT": wait,
    "SYSTEM$ALLOWLIST": allowlist,
}
