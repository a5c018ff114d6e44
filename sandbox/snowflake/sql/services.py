"""SHOW, DESCRIBE and ALTER of services and of what is in them.

Columns and privileges: Snowflake docs, the page of each statement; types and nullability: terraform-provider-snowflake
`services_def.go`. Counters are numbers and flags are text, as frostlake recorded for compute pools: for services that
is an inference.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.snowflake.catalog import Service, qualified
from sandbox.snowflake.catalog.services import digest_of
from sandbox.snowflake.sql.errors import invalid_argument
from sandbox.snowflake.sql.filters import Filters, read_filters
from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.results import DESCRIBE, Column, Result, columns, done, listing
from sandbox.snowflake.sql.run import SERVICE_PRIVILEGES, Run, flag, instant, zulu

SERVICES = columns(
    "name", "status", "database_name", "schema_name", "owner", "compute_pool", "dns_name", "current_instances fixed",
    "target_instances fixed", "min_ready_instances fixed", "min_instances fixed", "max_instances fixed", "auto_resume",
    "external_access_integrations null", "created_on timestamp_ltz", "updated_on timestamp_ltz",
    "resumed_on timestamp_ltz null", "suspended_on timestamp_ltz null", "auto_suspend_secs fixed", "comment null",
    "owner_role_type", "query_warehouse null", "is_job", "is_async_job", "spec_digest", "is_upgrading",
    "managing_object_domain null", "managing_object_name null",
)  # fmt: skip
SPEC = Column("spec", nullable=True)
INSTANCES = columns(
    "database_name", "schema_name", "service_name", "service_status", "instance_id null", "status null",
    "spec_digest null", "creation_time null", "start_time null", "ip_address null",
)  # fmt: skip
CONTAINERS = columns(
    "database_name", "schema_name", "service_name", "service_status", "instance_id null", "instance_status null",
    "container_name null", "status null", "message null", "image_name null", "image_digest null",
    "restart_count fixed null", "start_time null", "last_exit_code fixed null", "last_restart_time null",
)  # fmt: skip
ENDPOINTS = columns(
    "name", "port fixed null", "port_range null", "protocol", "is_public", "ingress_url null",
    "privatelink_ingress_url null",
)  # fmt: skip
ROLES = columns("created_on timestamp_ltz", "name", "comment null")
# Undocumented; by analogy with SHOW FUNCTIONS IN CLASS.
FUNCTIONS = columns(
    "name", "min_num_arguments fixed", "max_num_arguments fixed", "arguments", "description null", "language"
)


def show_services(reader: Reader, run: Run) -> Result:
    return _show_services(reader, run, without=())


def show_job_services(reader: Reader, run: Run) -> Result:
    return _show_services(reader, run, without=("is_job",), only_jobs=True)


def _show_services(reader: Reader, run: Run, without: tuple[str, ...], only_jobs: bool = False) -> Result:
    no_jobs = not only_jobs and reader.take("EXCLUDE", "JOBS")
    filters = read_filters(reader, run, pools=True)
    workloads = _workloads(reader) if reader.take("OF", "TYPE") else None
    reader.end()
    found = [
        service
        for service in _visible(run, filters)
        if not (no_jobs and service.is_job)
        and not (only_jobs and not service.is_job)
        and (workloads is None or service.workload in workloads)
    ]
    hidden = ("is_job", "is_async_job") if no_jobs else without
    kept = [i for i, column in enumerate(SERVICES) if column.name not in hidden]
    rows = [_service_row(service, run.now) for service in filters.apply(found, lambda service: service.name)]
    return listing(tuple(SERVICES[i] for i in kept), [[row[i] for i in kept] for row in rows])


def _workloads(reader: Reader) -> set[str]:
    found = {reader.identifier()}
    while reader.take(","):
        found.add(reader.identifier())
    return found


def _visible(run: Run, filters: Filters) -> Iterator[Service]:
    """By database, schema and name; without IN, one of each name (Snowflake docs, SHOW SERVICES, usage notes)."""
    seen: set[str] = set()
    for key, service in sorted(run.catalog.services.items()):
        scope = filters.scope
        if not scope.holds(*key[:2]) or scope.pool not in (None, service.pool.name):
            continue
        if run.sees_in_schema(service.securable, key, SERVICE_PRIVILEGES):
            if scope.stated or service.name not in seen:
                yield service
            seen.add(service.name)


def _service_row(service: Service, now: float) -> list[object]:
    integrations = ",".join(f'"{name}"' for name in service.external_access_integrations)
    managing = service.managing_object or (None, None)
    return [
        service.name, service.shown_status(now), service.database, service.schema, service.owner, service.pool.name,
        service.dns_name, service.current_instances(now), service.target_instances(now), service.min_ready_instances,
        service.min_instances, service.max_instances, flag(service.auto_resume),
        f"[{integrations}]" if integrations else None, instant(service.created_on), instant(service.updated_on),
        instant(service.resumed_on), instant(service.suspended_on), service.auto_suspend_secs, service.comment, "ROLE",
        service.query_warehouse, flag(service.is_job), flag(service.is_async_job), service.spec_digest,
        flag(service.is_upgrading), *managing,
    ]  # fmt: skip


def describe_service(reader: Reader, run: Run) -> Result:
    """As SHOW SERVICES, with the specification after the pool, for the owner only."""
    service = run.service(reader.qualified(), "DESCRIBE")
    reader.end()
    after = [column.name for column in SERVICES].index("dns_name")
    row = _service_row(service, run.now)
    spec = service.spec if run.may.holds(service.securable) else None
    described = [*SERVICES[:after], SPEC, *SERVICES[after:]]
    return listing(tuple(described), [[*row[:after], spec, *row[after:]]], DESCRIBE)


# -- what is in a service --------------------------------------------------------------------------


def _in_service(reader: Reader, run: Run, *privileges: str) -> Service:
    """The service of IN SERVICE; 003001 unless the role has one of the privileges on it."""
    reader.expect("IN", "SERVICE")
    service = run.service(reader.qualified(), "SHOW")
    if privileges:
        run.require(service.securable, "service", service.name, *privileges)
    return service


def show_instances(reader: Reader, run: Run) -> Result:
    """A service without instances has one row whose columns about the instance are null."""
    service = _in_service(reader, run, "MONITOR")
    reader.end()
    head = [service.database, service.schema, service.name, service.shown_status(run.now)]
    rows = [
        [
            *head, str(instance.number), service.instance_status(instance, run.now), service.spec_digest,
            zulu(instance.created_on), zulu(instance.started_on), f"10.244.1.{instance.number + 2}",
        ]
        for instance in (service.instances if service.runs(run.now) else [])
    ]  # fmt: skip
    return listing(INSTANCES, rows or [[*head, *[None] * 6]])


def show_containers(reader: Reader, run: Run) -> Result:
    """A service without instances has one row whose columns about the container are null."""
    service = _in_service(reader, run, "MONITOR")
    reader.end()
    head = [service.database, service.schema, service.name, service.shown_status(run.now)]
    rows: list[list[object]] = []
    for instance in service.instances if service.runs(run.now) else []:
        status = service.instance_status(instance, run.now)
        for state in service.containers(instance, run.now):
            restarted = zulu(run.now) if state.restart_count else None
            rows.append(
                [
                    *head, str(instance.number), status, state.name, state.status, state.message, state.image,
                    digest_of(state.image), state.restart_count, zulu(instance.started_on), state.last_exit_code,
                    restarted,
                ]
            )  # fmt: skip
    return listing(CONTAINERS, rows or [[*head, *[None] * 11]])


def show_endpoints(reader: Reader, run: Run) -> Result:
    service = _in_service(reader, run, "USAGE")
    reader.end()
    rows = [
        [
            endpoint.name, endpoint.port, None, endpoint.protocol, flag(endpoint.public),
            endpoint.ingress_url(run.now), endpoint.privatelink_host,
        ]
        for endpoint in service.endpoints
    ]  # fmt: skip
    with_private_link = any(endpoint.privatelink_host for endpoint in service.endpoints)
    if with_private_link:
        return listing(ENDPOINTS, rows)
    return listing(ENDPOINTS[:-1], [row[:-1] for row in rows])


def service_roles(service: Service) -> tuple[str, ...]:
    """Every service has the first; that of the functions comes with model serving."""
    if service.workload == "MODEL_SERVING":
        return ("ALL_ENDPOINTS_USAGE", "INFERENCE_SERVICE_FUNCTION_USAGE")
    return ("ALL_ENDPOINTS_USAGE",)


def show_roles(reader: Reader, run: Run) -> Result:
    service = _in_service(reader, run, "USAGE")
    reader.end()
    return listing(ROLES, [[instant(service.created_on), role, None] for role in service_roles(service)])


def show_functions(reader: Reader, run: Run) -> Result:
    """The functions of the model that a service serves; other services have none."""
    service = _in_service(reader, run, "USAGE")
    reader.end()
    rows: list[list[object]] = []
    for model in run.catalog.models.values():
        for version in model.versions.values():
            if service.full_name in version.services:
                for function in version.functions:
                    types = ", ".join(kind for _, kind in function.arguments)
                    count = len(function.arguments)
                    text = f"{function.name}({types}) RETURN {function.returns}"
                    rows.append([function.name, count, count, text, None, "Python"])
    return listing(FUNCTIONS, rows)


# -- working a service -----------------------------------------------------------------------------


def alter_service(reader: Reader, run: Run) -> Result:
    if_exists = reader.take("IF", "EXISTS")
    parts = reader.qualified()
    verb = reader.one_of("SUSPEND", "RESUME", "SET", "UNSET")
    changes = _settings(reader) if verb == "SET" else _unset(reader) if verb == "UNSET" else {}
    reader.end()
    if if_exists and run.full(parts, "ALTER") not in run.catalog.services:
        return done()
    service = run.service(parts, "ALTER")
    privileges = ("OPERATE",) if verb in ("SUSPEND", "RESUME") else ()
    run.require(service.securable, "service", service.name, *privileges)
    if service.is_job:
        raise invalid_argument(f"Job service '{qualified(service.name)}' cannot be altered.")
    if verb == "SUSPEND":
        service.suspend(run.now)
    elif verb == "RESUME":
        service.resume(run.now)
    else:
        _change(service, changes, run.now)
    return done()


_NUMBERS = {
    "MIN_INSTANCES": "min_instances", "MAX_INSTANCES": "max_instances", "MIN_READY_INSTANCES": "min_ready_instances",
    "AUTO_SUSPEND_SECS": "auto_suspend_secs",
}  # fmt: skip
_DEFAULTS: dict[str, object] = {
    "min_instances": 1, "max_instances": 1, "min_ready_instances": 1, "auto_suspend_secs": 0, "auto_resume": True,
    "comment": None, "query_warehouse": None,
}  # fmt: skip


def _settings(reader: Reader) -> dict[str, object]:
    changes: dict[str, object] = {}
    while reader.next.kind == "word":
        name = reader.identifier()
        reader.expect("=")
        if name in _NUMBERS:
            changes[_NUMBERS[name]] = reader.integer()
        elif name == "AUTO_RESUME":
            changes["auto_resume"] = reader.boolean()
        elif name == "COMMENT":
            changes["comment"] = reader.string()
        elif name == "QUERY_WAREHOUSE":
            changes["query_warehouse"] = reader.identifier()
        else:
            reader.fail()
        reader.take(",")
    if not changes:
        reader.fail()
    return changes


def _unset(reader: Reader) -> dict[str, object]:
    names = [reader.identifier().lower()]
    while reader.take(","):
        names.append(reader.identifier().lower())
    if not set(names) <= _DEFAULTS.keys():
        reader.fail()
    return {name: _DEFAULTS[name] for name in names}


def _change(service: Service, changes: dict[str, object], now: float) -> None:
    merged = {name: changes.get(name, getattr(service, name)) for name in _NUMBERS.values()}
    least, most = int(str(merged["min_instances"])), int(str(merged["max_instances"]))
    if least > most:
        raise invalid_argument(
            f"Invalid value for MIN_INSTANCES: {least} is greater than MAX_INSTANCES {most}."
        )
    for name, value in changes.items():
        setattr(service, name, value)
    service.updated_on = now
    service.scale(now)


def drop_service(reader: Reader, run: Run) -> Result:
    if_exists = reader.take("IF", "EXISTS")
    parts = reader.qualified()
    reader.take("FORCE")
    reader.end()
    if if_exists and run.full(parts, "DROP") not in run.catalog.services:
        return done(f"Drop statement executed successfully ({parts[-1]} already dropped).")
    service = run.service(parts, "DROP")
    run.require(service.securable, "service", service.name)
    run.catalog.drop_service(service)
    return done(f"{service.name} successfully dropped.")
