"""The statements of the control plane, written down once. None of them creates or drops anything.

Clauses and columns: Snowflake documentation of the statement of the same name. `IN ACCOUNT` is always written out:
without a scope, SHOW looks into the current database only, or lists services of one name once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from spcs_llm.control.identifiers import QualifiedName, grantee, literal, quoted

MAX_SHOWN = 10_000  # rows that SHOW lists at most

WHO = (
    'SELECT CURRENT_USER() AS "user", CURRENT_ROLE() AS "role", CURRENT_WAREHOUSE() AS "warehouse", '
    'CURRENT_ORGANIZATION_NAME() AS "organization", CURRENT_ACCOUNT_NAME() AS "account", CURRENT_REGION() AS "region"'
)
# An account may be set to take names in double quotes in capitals (Snowflake documentation, "Identifier requirements").
EXACT_NAMES = "QUOTED_IDENTIFIERS_IGNORE_CASE = FALSE"
SHOW_POOLS = "SHOW COMPUTE POOLS"
SHOW_FAMILIES = "SHOW COMPUTE POOL INSTANCE FAMILIES"
# Of the metrics that services can report (Snowflake documentation, "Monitoring services", platform metrics).
SHOWN_METRICS = (
    "container.cpu.usage",
    "container.memory.usage",
    "container.gpu.utilization",
    "container.gpu.memory.usage",
)

# Words of statements that name no object of an account: what may be told of a statement.
_WORDS = re.compile(
    r"SHOW|DESCRIBE|DESC|ALTER|SELECT|USE|CALL|GRANT|EXECUTE|INSERT|UPDATE|DELETE|COPY|CREATE|DROP|"
    r"LIST|WITH|JOB|SERVICE|SERVICES|INSTANCES|CONTAINERS|ENDPOINTS|ROLES|ROLE|COMPUTE|POOL|POOLS|"
    r"NODES|MODELS|VERSIONS|FUNCTIONS|GRANTS|GATEWAYS|GATEWAY|PARAMETERS|WAREHOUSE|WAREHOUSES|"
    r"DATABASES|SCHEMAS|SESSION|INSTANCE|FAMILIES|INFERENCE|REMOVE|STAGE"
)
_PIECES = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"]|\"\")*\"|\?", re.DOTALL)


def kind(statement: str) -> str:
    """What a statement does, such as SHOW SERVICES: its first words, without any name."""
    words = []
    for word in statement.split(None, 4)[:4]:
        if not _WORDS.fullmatch(word.upper()):
            break
        words.append(word.upper())
    return " ".join(words) or "statement"


def with_literals(statement: str, bindings: Sequence[str]) -> str:
    """A statement with a literal for each `?`, for sessions that take no bindings.

    Args:
        statement: SQL. A `?` in a literal or a quoted name is left.
        bindings: A text for each `?`.

    Returns:
        The statement.

    Raises:
        ValueError: If there are more or fewer of them.
    """
    left = list(bindings)

    def replaced(piece: re.Match[str]) -> str:
        if piece[0] != "?":
            return piece[0]
        if not left:
            raise ValueError("the statement has more ? than there are bindings")
        return literal(left.pop(0))

    bound = _PIECES.sub(replaced, statement)
    if left:
        raise ValueError("the statement has fewer ? than there are bindings")
    return bound


def scope(database: str | None = None, schema: str | None = None) -> str:
    """The IN clause for an account, a database or a schema."""
    if database is None:
        return "IN ACCOUNT"
    if schema is None:
        return f"IN DATABASE {quoted(database)}"
    return f"IN SCHEMA {quoted(database)}.{quoted(schema)}"


def show_services(within: str) -> str:
    """The services of a scope, without jobs."""
    return f"SHOW SERVICES EXCLUDE JOBS {within}"


def show_services_on(pool: str) -> str:
    """The services on a compute pool, without jobs."""
    return f"SHOW SERVICES EXCLUDE JOBS IN COMPUTE POOL {quoted(pool)}"


def show_named_service(service: QualifiedName) -> str:
    """The services of one schema whose name is like this one's: `_` stands for any character."""
    return f"SHOW SERVICES LIKE {literal(service.name)} {scope(service.database, service.schema)}"


def show_endpoints(service: QualifiedName) -> str:
    """The endpoints of a service. It needs USAGE on the service."""
    return f"SHOW ENDPOINTS IN SERVICE {service.sql}"


def show_gateways(within: str) -> str:
    """The gateways of a scope. It needs USAGE on each."""
    return f"SHOW GATEWAYS {within}"


def show_containers(service: QualifiedName) -> str:
    """The containers of a service, one row with NULLs where there are none. It needs MONITOR on the service."""
    return f"SHOW SERVICE CONTAINERS IN SERVICE {service.sql}"


def show_instances(service: QualifiedName) -> str:
    """The instances of a service, one row with NULLs where there are none. It needs MONITOR on the service."""
    return f"SHOW SERVICE INSTANCES IN SERVICE {service.sql}"


def show_named_pool(pool: str) -> str:
    """The pools whose name is like this one: `_` stands for any character."""
    return f"{SHOW_POOLS} LIKE {literal(pool)}"


def describe_pool(pool: str) -> str:
    """A compute pool with the reason for which it does not start. It needs MONITOR on the pool."""
    return f"DESCRIBE COMPUTE POOL {quoted(pool)}"


def show_nodes(pool: str) -> str:
    """The nodes of a compute pool. It needs USAGE on the pool."""
    return f"SHOW NODES IN COMPUTE POOL {quoted(pool)}"


def show_models(within: str) -> str:
    """The models of the registry in a scope."""
    return f"SHOW MODELS {within}"


def show_versions(model: QualifiedName) -> str:
    """The versions of a model, with the services that serve each."""
    return f"SHOW VERSIONS IN MODEL {model.sql}"


def show_model_functions(model: QualifiedName, version: str) -> str:
    """The functions of a version of a model, with their arguments."""
    return f"SHOW FUNCTIONS IN MODEL {model.sql} VERSION {quoted(version)}"


def show_jobs(beginning: str, database: str, schema: str) -> str:
    """The jobs of a schema whose names begin so: `_` stands for any character."""
    return f"SHOW JOB SERVICES LIKE {literal(beginning + '%')} {scope(database, schema)}"


def describe_service(service: QualifiedName) -> str:
    """A service or a job."""
    return f"DESCRIBE SERVICE {service.sql}"


def show_grants_on_schema(database: str, schema: str) -> str:
    """Who may do what in a schema."""
    return f"SHOW GRANTS ON SCHEMA {quoted(database)}.{quoted(schema)}"


def suspend(service: QualifiedName) -> str:
    """Stops a service. It needs OPERATE on the service."""
    return f"ALTER SERVICE {service.sql} SUSPEND"


def resume(service: QualifiedName) -> str:
    """Starts a service. It needs OPERATE on the service."""
    return f"ALTER SERVICE {service.sql} RESUME"


def grant_operate(service: QualifiedName, role: str | None) -> str:
    """The statement that lets a role suspend and resume a service, for an administrator to run."""
    return f"GRANT OPERATE ON SERVICE {service.sql} TO ROLE {grantee(role)}"


def grant_monitor(service: QualifiedName, role: str | None) -> str:
    """The statement that lets a role see a service's containers, for an administrator to run."""
    return f"GRANT MONITOR ON SERVICE {service.sql} TO ROLE {grantee(role)}"


def grant_database_role(database_role: str, role: str | None) -> str:
    """The statement that lets a role read usage views, for an account administrator to run."""
    return f"GRANT DATABASE ROLE SNOWFLAKE.{database_role} TO ROLE {grantee(role)}"


def logs(
    service: QualifiedName,
    container: str,
    lines: int = 200,
    instance: str = "0",
    *,
    before_restart: bool = False,
) -> str:
    """The last lines of a container's log, or of the log that it had before its last restart."""
    previous = ", TRUE" if before_restart else ""
    return (
        f"SELECT SYSTEM$GET_SERVICE_LOGS({literal(service.sql)}, {literal(instance)}, {literal(container)}, {lines}"
        f"{previous})"
    )


def events(service: QualifiedName, count: int = 50) -> str:
    """What happened to a service in the last day. It needs MONITOR on the service, and an event table that collects."""
    return (
        'SELECT TIMESTAMP AS "timestamp", SEVERITY AS "severity", EVENT_NAME AS "event", EVENT_DETAILS AS "details", '  # noqa: S608 - quoted
        f'CONTAINER_NAME AS "container" FROM TABLE({service.sql}!SPCS_GET_EVENTS()) '
        f'ORDER BY "timestamp" DESC LIMIT {count}'
    )


def metrics(service: QualifiedName, count: int = 600) -> str:
    """What a service used in the last day. It needs MONITOR on it, and `platformMonitor` in its specification."""
    return (
        'SELECT TIMESTAMP AS "timestamp", METRIC_NAME AS "metric", VALUE AS "value", UNIT AS "unit", '  # noqa: S608 - quoted
        f'CONTAINER_NAME AS "container" FROM TABLE({service.sql}!SPCS_GET_METRICS()) '
        f"WHERE METRIC_NAME IN ({', '.join(map(literal, SHOWN_METRICS))}) "
        f'ORDER BY "timestamp" DESC LIMIT {count}'
    )
