"""What SHOW and DESCRIBE say of services, compute pools and models, read by column name.

Columns and states: Snowflake documentation of SHOW SERVICES, SHOW SERVICE INSTANCES, SHOW SERVICE CONTAINERS, SHOW
ENDPOINTS, SHOW COMPUTE POOLS, SHOW NODES, SHOW MODELS and SHOW VERSIONS IN MODEL; the services of a model version as
snowflake-ml-python 2.6.0 reads them (`model/_client/ops/model_ops.py`). Columns come, go and move; states are added: a
column that is not there is None, and an unknown state is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from spcs_llm.control import cells, statements
from spcs_llm.control.identifiers import NotAName, QualifiedName, qualified
from spcs_llm.control.session import Row, SqlSession
from spcs_llm.errors import SqlError
from spcs_llm.server_text.foreign_text import plain

SUSPENDED = ("SUSPENDED", "SUSPENDING")
GIVEN_UP = ("FAILED", "INTERNAL_ERROR", "DONE", "CANCELLED", "CANCELLING", "DELETING", "DELETED")
# Services that Snowflake starts to build and to log models.
_HELPERS = re.compile(r"MODEL_(?:BUILD|LOGGING)_", re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63}){1,12}(?::\d{1,5})?", re.IGNORECASE)
_RESTARTS_THAT_ARE_A_CRASH_LOOP = 3


@dataclass(frozen=True)
class Service:
    """A service, as SHOW SERVICES lists it.

    Attributes:
        name: Its full name.
        status: In capitals, such as RUNNING: it does not say that the containers answer.
        pool: The compute pool that it runs on; empty if it is not listed.
        is_job: Whether it is a job; None if Snowflake does not say.
        current_instances: How many there are, whether they are ready or not.
        target_instances: How many there should be.
        min_ready_instances: How many must be ready for the service to be RUNNING.
        min_instances: The fewest that Snowflake scales it to.
        max_instances: The most that Snowflake scales it to.
        auto_resume: Whether a request resumes it.
        auto_suspend_seconds: After how long without requests it suspends itself; 0 for never.
        owner: The role that owns it.
        managing_domain: The kind of object that it belongs to, such as MODEL.
        managing_name: The object that it belongs to.
        suspended_on: When it was suspended last.
        resumed_on: When it was resumed last.
        created_on: When it was created.
        updated_on: When it was altered last.
    """

    name: QualifiedName
    status: str
    pool: str = ""
    is_job: bool | None = None
    current_instances: int | None = None
    target_instances: int | None = None
    min_ready_instances: int | None = None
    min_instances: int | None = None
    max_instances: int | None = None
    auto_resume: bool | None = None
    auto_suspend_seconds: int | None = None
    owner: str | None = None
    managing_domain: str | None = None
    managing_name: str | None = None
    suspended_on: datetime | None = None
    resumed_on: datetime | None = None
    created_on: datetime | None = None
    updated_on: datetime | None = None

    @property
    def is_suspended(self) -> bool:
        return self.status in SUSPENDED

    @property
    def managing_model(self) -> str:
        """The model of the registry that it belongs to, as SHOW SERVICES names it; empty if it belongs to none."""
        return self.managing_name or "" if self.managing_domain == "MODEL" else ""

    def has_enough(self, containers: Iterable[Container]) -> bool:
        """Whether it answers already, though other instances may lack a node for days, or crash.

        Args:
            containers: Those of all its instances.

        Returns:
            False as well where Snowflake does not say how many instances must be ready.
        """
        needed = self.min_ready_instances or 0
        return self.status == "RUNNING" and 0 < needed <= ready_instances(containers)

    @property
    def serves(self) -> bool:
        """Whether it may serve a model: it is neither a job nor one that Snowflake started to build a model."""
        is_job = self.status == "DONE" if self.is_job is None else self.is_job
        return not is_job and not _HELPERS.match(self.name.name)


@dataclass(frozen=True)
class Instance:
    """An instance of a service."""

    instance_id: str
    status: str


@dataclass(frozen=True)
class Container:
    """A container of an instance.

    Attributes:
        instance_id: The instance that it is part of.
        name: The container's name in the specification.
        status: READY, PENDING, FAILED or another, in capitals.
        message: What Snowflake says of it.
        image: The image that it runs.
        restarts: How many times it was started again.
        last_exit_code: How it ended the last time.
    """

    instance_id: str
    name: str
    status: str
    message: str = ""
    image: str = ""
    restarts: int = 0
    last_exit_code: str | None = None

    @property
    def is_ready(self) -> bool:
        return self.status == "READY"

    @property
    def has_given_up(self) -> bool:
        """Whether waiting does not help: it failed, or it crashes again and again."""
        return self.status in GIVEN_UP or (
            not self.is_ready and self.restarts >= _RESTARTS_THAT_ARE_A_CRASH_LOOP
        )

    def __str__(self) -> str:
        text = f"{self.name} is {self.status}"
        if self.message:
            text += f": {self.message}"
        if self.restarts:
            text += f" (restarted {'once' if self.restarts == 1 else f'{self.restarts} times'})"
        return text


@dataclass(frozen=True)
class Endpoint:
    """An endpoint of a service.

    Attributes:
        name: The endpoint's name in the specification.
        port: Its port; None for a range of ports.
        protocol: HTTP, HTTPS or TCP.
        is_public: Whether it can be reached from outside Snowflake.
        host: Its host name; None if it is not public, or Snowflake is still creating the name.
        private_host: Its host name over a private link.
    """

    name: str
    port: int | None = None
    protocol: str = ""
    is_public: bool | None = None
    host: str | None = None
    private_host: str | None = None

    @property
    def is_provisioning(self) -> bool:
        """Whether it is public and has no host name yet. That takes some minutes after a service was created."""
        return self.is_public is True and self.host is None and self.private_host is None


@dataclass(frozen=True)
class Pool:
    """A compute pool.

    Attributes:
        name: The pool's name.
        state: IDLE, ACTIVE, SUSPENDED, STARTING, STOPPING, RESIZING or another, in capitals.
        family: The instance family of its nodes.
        min_nodes: The fewest nodes.
        max_nodes: The most nodes.
        active_nodes: Nodes that services run on.
        idle_nodes: Nodes that run, and are billed, without a service.
        target_nodes: How many nodes it is growing or shrinking to.
        services: How many services are on it, those that the role may not see included.
        jobs: How many jobs are on it.
        auto_suspend_seconds: How long it stays without work; 0 if it never suspends itself.
        auto_resume: Whether a service that is resumed resumes it.
        error_code: Why it does not start: 392507 no capacity, 392508 MAX_NODES reached. From DESCRIBE only.
        message: The same in words. From DESCRIBE only.
    """

    name: str
    state: str
    family: str = ""
    min_nodes: int = 0
    max_nodes: int = 0
    active_nodes: int = 0
    idle_nodes: int = 0
    target_nodes: int = 0
    services: int | None = None
    jobs: int | None = None
    auto_suspend_seconds: int = 0
    auto_resume: bool | None = None
    error_code: str = ""
    message: str = ""

    @property
    def nodes(self) -> int:
        """The nodes that are billed now."""
        return self.active_nodes + self.idle_nodes

    @property
    def stays_down(self) -> bool:
        """Whether a service or job that is started on it waits until somebody resumes it."""
        return self.state in ("SUSPENDED", "STOPPING") and self.auto_resume is False


@dataclass(frozen=True)
class Node:
    """A node of a compute pool, with the family that it is billed by: a backup family may differ from the pool's."""

    family: str
    gpu: str = ""
    gpu_count: int = 0


@dataclass(frozen=True)
class ModelVersion:
    """A version of a model in the registry, with the services that serve it."""

    model: QualifiedName
    version: str
    functions: tuple[str, ...] = ()
    services: tuple[QualifiedName, ...] = field(default=())


def read_services(
    rows: Iterable[Row], database: str | None = None, schema: str | None = None
) -> list[Service]:
    """Reads the rows of SHOW SERVICES or DESCRIBE SERVICE.

    Args:
        rows: The rows.
        database: The database that was asked for, if it was one.
        schema: The schema that was asked for, if it was one.

    Returns:
        The services. Rows without a full name are left out.
    """
    return [service for row in rows if (service := _service(row, database, schema)) is not None]


def _service(row: Row, database: str | None, schema: str | None) -> Service | None:
    name = full_name(row, database, schema)
    if name is None:
        return None
    is_job = cells.boolean(row, "is_job")
    return Service(
        name,
        _state(row, "status"),
        cells.text(row, "compute_pool") or "",
        True if cells.boolean(row, "is_async_job") else is_job,
        cells.whole(row, "current_instances"),
        cells.whole(row, "target_instances"),
        cells.whole(row, "min_ready_instances"),
        cells.whole(row, "min_instances"),
        cells.whole(row, "max_instances"),
        cells.boolean(row, "auto_resume"),
        cells.whole(row, "auto_suspend_secs"),
        cells.text(row, "owner"),
        (cells.text(row, "managing_object_domain") or "").upper() or None,
        cells.text(row, "managing_object_name"),
        cells.moment(row, "suspended_on"),
        cells.moment(row, "resumed_on"),
        cells.moment(row, "created_on"),
        cells.moment(row, "updated_on"),
    )


def read_instances(rows: Iterable[Row]) -> list[Instance]:
    """Reads the rows of SHOW SERVICE INSTANCES. A service without an instance is one row of NULLs, and no instance."""
    return [
        Instance(number, _state(row, "status", "instance_status"))
        for row in rows
        if (number := cells.text(row, "instance_id")) is not None
    ]


def read_containers(rows: Iterable[Row]) -> list[Container]:
    """Reads the rows of SHOW SERVICE CONTAINERS. A service without an instance is one row of NULLs: no container."""
    return [
        Container(
            cells.text(row, "instance_id") or "0",
            name,
            _state(row, "status"),
            plain(cells.text(row, "message") or ""),
            cells.text(row, "image_name") or "",
            cells.whole(row, "restart_count") or 0,
            cells.text(row, "last_exit_code"),
        )
        for row in rows
        if (name := cells.text(row, "container_name")) is not None
    ]


def ready_instances(containers: Iterable[Container]) -> int:
    """How many instances are ready: all their containers are."""
    states: dict[str, bool] = {}
    for container in containers:
        states[container.instance_id] = states.get(container.instance_id, True) and container.is_ready
    return sum(states.values())


def read_endpoints(rows: Iterable[Row]) -> list[Endpoint]:
    """Reads the rows of SHOW ENDPOINTS. While Snowflake creates a host name, SHOW has a sentence instead."""
    return [
        Endpoint(
            name,
            cells.whole(row, "port"),
            (cells.text(row, "protocol") or "").upper(),
            cells.boolean(row, "is_public"),
            _host(row, "ingress_url"),
            _host(row, "privatelink_ingress_url"),
        )
        for row in rows
        if (name := cells.text(row, "name")) is not None
    ]


def read_pools(rows: Iterable[Row]) -> list[Pool]:
    """Reads the rows of SHOW COMPUTE POOLS or DESCRIBE COMPUTE POOL."""
    return [
        Pool(
            name,
            _state(row, "state"),
            (cells.text(row, "instance_family") or "").upper(),
            cells.whole(row, "min_nodes") or 0,
            cells.whole(row, "max_nodes") or 0,
            cells.whole(row, "active_nodes") or 0,
            cells.whole(row, "idle_nodes") or 0,
            cells.whole(row, "target_nodes") or 0,
            cells.whole(row, "num_services"),
            cells.whole(row, "num_jobs"),
            cells.whole(row, "auto_suspend_secs") or 0,
            cells.boolean(row, "auto_resume"),
            cells.text(row, "error_code") or "",
            plain(cells.text(row, "status_message") or ""),
        )
        for row in rows
        if (name := cells.text(row, "name")) is not None
    ]


def read_nodes(rows: Iterable[Row]) -> list[Node]:
    """Reads the rows of SHOW NODES IN COMPUTE POOL."""
    return [
        Node(family.upper(), cells.text(row, "gpu") or "", cells.whole(row, "gpu_count") or 0)
        for row in rows
        if (family := cells.text(row, "instance_family")) is not None
    ]


def read_models(rows: Iterable[Row]) -> list[QualifiedName]:
    """Reads the names in the rows of SHOW MODELS."""
    return [name for row in rows if (name := full_name(row)) is not None]


def read_versions(model: QualifiedName, rows: Iterable[Row]) -> list[ModelVersion]:
    """Reads the rows of SHOW VERSIONS IN MODEL."""
    return [
        ModelVersion(model, version, _texts(row, "functions"), tuple(_services_of(row)))
        for row in rows
        if (version := cells.text(row, "name")) is not None
    ]


def listed_services(
    session: SqlSession, database: str | None = None, schema: str | None = None, *, pool: str | None = None
) -> tuple[list[Service], int]:
    """The services of a scope, without jobs and those that build models.

    Args:
        session: Runs the statement.
        database: The database to look into; None for all.
        schema: The schema to look into; None for all.
        pool: The compute pool to look at instead.

    Returns:
        The services by name, and how many rows Snowflake listed: at most `statements.MAX_SHOWN`.

    Raises:
        SpcsError: If the statement fails.
    """
    statement = (
        statements.show_services(statements.scope(database, schema))
        if pool is None
        else statements.show_services_on(pool)
    )
    try:
        shown = session.rows(statement)
    except SqlError as error:
        if error.code != "001003":
            raise
        # An account that does not know EXCLUDE JOBS lists them; `is_job` tells them apart.
        shown = session.rows(statement.replace(" EXCLUDE JOBS", ""))
    found = (service for service in read_services(shown, database, schema) if service.serves)
    return sorted(found, key=lambda service: service.name), len(shown)


def named_service(session: SqlSession, name: QualifiedName) -> Service | None:
    """The service of this name.

    Args:
        session: Runs the statement.
        name: The service's full name.

    Returns:
        The service; None if there is none that the role may see.

    Raises:
        SpcsError: If the statement fails.
    """
    found = read_services(session.rows(statements.show_named_service(name)), name.database, name.schema)
    return next((service for service in found if service.name == name), None)


def named_pool(session: SqlSession, name: str) -> Pool | None:
    """The compute pool of this name.

    Args:
        session: Runs the statement.
        name: The pool's name, as SHOW prints it.

    Returns:
        The pool; None if there is none that the role may see.

    Raises:
        SpcsError: If the statement fails.
    """
    found = read_pools(session.rows(statements.show_named_pool(name)))
    return next((pool for pool in found if pool.name == name), None)


def _services_of(row: Row) -> Iterable[QualifiedName]:
    for text in _texts(row, "inference_services"):
        try:
            name = qualified(text)
        except NotAName:
            continue
        if not _HELPERS.match(name.name):
            yield name


def _texts(row: Row, column: str) -> tuple[str, ...]:
    value = cells.json_value(row, column)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def full_name(row: Row, database: str | None = None, schema: str | None = None) -> QualifiedName | None:
    """The name of what a row of SHOW is about; None if the row does not have all of it.

    Args:
        row: The row.
        database: The database, where the row has none.
        schema: The schema, where the row has none.

    Returns:
        The name.
    """
    name = row.get("name")
    database, schema = row.get("database_name") or database, row.get("schema_name") or schema
    return QualifiedName(database, schema, name) if name and database and schema else None


def _state(row: Row, *columns: str) -> str:
    return plain(cells.text(row, *columns) or "UNKNOWN", 60).upper()


def _host(row: Row, column: str) -> str | None:
    host = cells.text(row, column)
    return host.lower() if host and _HOST.fullmatch(host) else None
