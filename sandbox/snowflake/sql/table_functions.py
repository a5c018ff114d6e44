"""TABLE(...): earlier results, and what a service logged.

Columns of the SPCS functions: Snowflake docs, monitoring services and GET_JOB_HISTORY.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.snowflake.catalog import Service
from sandbox.snowflake.sql.errors import SqlError, unknown_function
from sandbox.snowflake.sql.results import SELECT, Result, columns, listing
from sandbox.snowflake.sql.run import Run, instant

LOGS = columns(
    "TIMESTAMP timestamp_ntz:9", "INSTANCE_ID", "CONTAINER_NAME", "LOG", "RECORD_ATTRIBUTES object"
)  # fmt: skip
EVENTS = columns(
    "TIMESTAMP timestamp_ntz:9", "SEVERITY", "EVENT_NAME", "EVENT_DETAILS object", "INSTANCE_ID null",
    "CONTAINER_NAME null", "RECORD object", "RECORD_ATTRIBUTES object",
)  # fmt: skip
METRICS = columns(
    "TIMESTAMP timestamp_ntz:9", "METRIC_NAME", "VALUE", "UNIT null", "INSTANCE_ID null", "CONTAINER_NAME null",
    "RESOURCE object", "RECORD object", "RECORD_ATTRIBUTES object",
)  # fmt: skip
JOBS = columns(
    "QUERY_ID null", "ID fixed", "NAME", "DATABASE_NAME", "SCHEMA_NAME", "CREATED_TIME timestamp_ltz",
    "COMPLETED_TIME timestamp_ltz null", "DELETED_TIME timestamp_ltz null", "STATUS", "MESSAGE null",
    "INSTANCE_STATUSES object null", "COMPUTE_POOL_NAME", "OWNER", "OWNER_ROLE_TYPE", "PARAMETERS object null",
    "MANAGING_OBJECT object null",
)  # fmt: skip


def table_function(run: Run, name: str, plain: Sequence[Any], named: Mapping[str, Any]) -> Result:
    if name == "RESULT_SCAN":
        found = run.result_of(str(plain[0])) if len(plain) == 1 else None
        if found is None:
            raise SqlError("000709", "02000", f"Statement {plain[0] if plain else ''} not found")
        return found
    if name == "SNOWFLAKE.SPCS.GET_JOB_HISTORY":
        return _jobs(run, int(named.get("RESULT_LIMIT", 100)))
    owner, separator, function = name.partition("!")
    told = {"SPCS_GET_LOGS": _logs, "SPCS_GET_EVENTS": _events, "SPCS_GET_METRICS": _metrics}
    if not separator or function not in told:
        raise unknown_function(name)
    service = run.service(tuple(owner.split(".")))
    run.require(service.securable, "service", service.name, "MONITOR")
    return told[function](run, service)


def _logs(run: Run, service: Service) -> Result:
    started = instant(service.resumed_on or service.created_on)
    assert started is not None
    container = next(iter(service.images))
    when = started.replace(tzinfo=None)
    rows = [[when, "0", container, line, {"log.iostream": "stdout"}] for line in service.log(run.now)]
    return listing(LOGS, rows, SELECT)


def _metrics(run: Run, service: Service) -> Result:
    """What a test or a demo says that the service used; without `platformMonitor` a service has none."""
    container = next(iter(service.images))
    rows: list[list[Any]] = []
    for seconds_ago, name, value, unit in service.metrics:
        when = instant(run.now - seconds_ago)
        assert when is not None
        rows.append([when.replace(tzinfo=None), name, str(value), unit, "0", container, {}, {}, {}])
    return listing(METRICS, rows, SELECT)


def _events(run: Run, service: Service) -> Result:
    moments = [("ready", "READY", service.created_on), ("resuming", "PENDING", service.resumed_on)]
    moments += [("suspended", "SUSPENDED", service.suspended_on)]
    rows: list[list[Any]] = []
    for message, status, seconds in moments:
        when = instant(seconds)
        if when is not None:
            details = {"message": message, "status": status}
            record = {"name": "SERVICE.STATUS_CHANGE", "severity_text": "INFO"}
            rows.append([when.replace(tzinfo=None), "INFO", record["name"], details, None, None, record, {}])
    rows.sort(key=lambda row: str(row[0]))
    return listing(EVENTS, rows, SELECT)


def _jobs(run: Run, limit: int) -> Result:
    """The jobs of the current role only, newest first; those that were dropped stay in it."""
    kept = [(service, None) for service in run.catalog.services.values()]
    found = [(s, t) for s, t in [*kept, *run.catalog.dropped] if s.is_job and s.owner == run.session.role]
    rows = [
        [
            None, s.number, s.name, s.database, s.schema, instant(s.created_on), None, instant(dropped),
            s.shown_status(run.now), None, None, s.pool.name, s.owner, "ROLE", None, None,
        ]
        for s, dropped in sorted(found, key=lambda pair: -pair[0].created_on)
    ]  # fmt: skip
    return listing(JOBS, rows[:limit], SELECT)
